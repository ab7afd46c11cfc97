"""Benchmarks: what the recurrent core costs, beside what it could cost. Imports `asr.grid`, torch and matplotlib.

workload      sizes, and the FLOPs and bytes that follow from them by closed formulas
candidates    what is compared, each as a function to be called
loops         the loops over cells among them
timing        turns of all candidates, round after round
memory        the peak of one candidate, in a process of its own
rows          measurements -> rows -> a table
plot          rows of a sweep -> a picture
command       `asr bench`
step          `asr bench step`: training steps of whole configurations
comparison    how long `asr compare` takes, and its memory
"""
