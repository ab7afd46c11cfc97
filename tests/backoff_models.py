"""ARPA models as the format defines them: a dictionary and one recursion."""

import random
from collections.abc import Sequence
from pathlib import Path

Entries = dict[tuple[str, ...], tuple[float, float | None]]
"""n-gram -> log10 P and log10 back-off weight (None: the line has none)."""


def probability(entries: Entries, history: Sequence[str], word: str) -> float:
    """log10 P(word | history): of the longest n-gram that is there, with the weights of the longer contexts."""
    known = {words[0] for words in entries if len(words) == 1}
    if word not in known:
        word = "<unk>"
    history = tuple(w if w in known else "<unk>" for w in history)
    if (*history, word) in entries:
        return entries[(*history, word)][0]
    weight = entries.get(history, (0.0, 0.0))[1] or 0.0
    return weight + probability(entries, history[1:], word)


def random_entries(order: int, words: int, count: int, seed: int, prefixes: bool = True) -> Entries:
    """A model that no estimator made: with n-grams whose suffixes (and perhaps prefixes) are not there."""
    source = random.Random(seed)
    vocabulary = ["<unk>", "<s>", "</s>", *(f"W{number}" for number in range(words))]
    entries: Entries = {(word,): (-source.uniform(1, 3), -source.uniform(0, 1)) for word in vocabulary}
    entries["<s>",] = (-99.0, -0.25)
    entries["</s>",] = (-1.5, None)
    inner = [word for word in vocabulary if word not in ("<s>", "</s>")]
    for length in range(2, order + 1):
        contexts = [key for key in entries if len(key) == length - 1 and key[-1] != "</s>"]
        for _ in range(count):
            if prefixes:
                context = source.choice(contexts)
            else:
                context = (source.choice([*inner, "<s>"]), *source.choices(inner, k=length - 2))
            weight = None if length == order or source.random() < 0.3 else -source.uniform(0, 1)
            entries[*context, source.choice([*inner, "</s>"])] = (-source.uniform(0, 2), weight)
    return entries


def arpa_text(entries: Entries, separator: str = "\t") -> str:
    """The file of such a model."""
    order = max(map(len, entries))
    levels = [[key for key in entries if len(key) == n] for n in range(1, order + 1)]
    lines = ["\\data\\", *(f"ngram {n}={len(level)}" for n, level in enumerate(levels, start=1))]
    for n, level in enumerate(levels, start=1):
        lines += ["", f"\\{n}-grams:"]
        for key in level:
            log_prob, weight = entries[key]
            lines.append(
                separator.join([f"{log_prob:.7f}", " ".join(key), *([] if weight is None else [f"{weight:.7f}"])])
            )
    return "\n".join([*lines, "", "\\end\\", ""])


def write_arpa_text(path: Path, entries: Entries, separator: str = "\t") -> Path:
    path.write_text(arpa_text(entries, separator), encoding="utf-8")
    return path
