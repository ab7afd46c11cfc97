"""Hypotheses and references -> error counts, rates and alignments."""
