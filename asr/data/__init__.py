"""Cuts -> batches. The parts that need no corpus (audio, features, tokens) import no lhotse and no Lightning."""
