"""Scores -> tables and pictures."""
