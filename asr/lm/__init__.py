"""Language models: n-grams (estimated, read, queried) and networks that predict characters.

The n-gram part needs numpy alone; `asr.lm.neural` and what is built on it need torch.
"""
