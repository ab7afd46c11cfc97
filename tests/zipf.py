"""Random sentences whose words are as unevenly frequent as those of a language."""

import random


def sentences_of(count: int, words: int, seed: int, length: int = 8) -> list[list[str]]:
    """`count` sentences of fewer than `length` words, of a vocabulary of `words`."""
    source = random.Random(seed)
    vocabulary = [f"W{number:02}" for number in range(words)]
    weights = [1 / (number + 1) for number in range(words)]
    return [source.choices(vocabulary, weights, k=source.randrange(length)) for _ in range(count)]
