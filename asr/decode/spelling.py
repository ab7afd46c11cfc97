"""How tokens spell words: which of them begin a new word, and with which characters they go on."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from asr.decode.greedy import BLANK_ID, WORD_MARK
from asr.errors import InputError

OUTSIDE = 0
"""Node of a `WordTrie` that stands for every beginning of a word that no word of the trie has."""
ROOT = 1
"""Node of the empty word."""


class Spelling:
    """The V tokens of a model as pieces of words.

    A token that begins with the space (a character token set) or with "▁" (sentencepiece) ends the word before it. The
    token that is nothing but that, if there is one, is the separator: it says nothing after another separator or at
    the beginning of a text, because white space between words counts once.

    Args:
        tokens: by id, the blank at 0.

    Attributes:
        separator: id of the separator; None if there is none.
        breaks: bool (V,), whether a token ends the word before it.
        characters: every character of the tokens but the space, sorted; characters are numbered by their place here.
        spelled: int32 (V, L), numbers of the characters that a token adds to its word, filled up with -1.
        sizes: int64 (V,), how many these are.

    >>> spelling = Spelling(["<blank>", " ", "A", "B"])
    >>> spelling.separator, spelling.breaks.tolist(), spelling.characters, spelling.spelled.tolist()
    (1, [False, True, False, False], 'AB', [[-1], [-1], [0], [1]])

    Raises:
        InputError: a token has white space elsewhere than at its beginning.
    """

    def __init__(self, tokens: Sequence[str]) -> None:
        texts = ["", *(token.replace(WORD_MARK, " ") for token in tokens[1:])]
        inner = [token for token, text in zip(tokens, texts, strict=True) if " " in text[1:]]
        if inner:
            raise InputError(f"the beam search needs tokens with white space at their beginning only, found {inner}")
        self.tokens = tuple(tokens)
        self.breaks = np.array([text.startswith(" ") for text in texts])
        self.separator = next((index for index, text in enumerate(texts) if text == " "), None)
        added = [text.removeprefix(" ") for text in texts]
        self.characters = "".join(sorted({character for text in added for character in text}))
        number = {character: index for index, character in enumerate(self.characters)}
        self.sizes = np.array([len(text) for text in added])
        self.spelled = np.full((len(tokens), max(1, *self.sizes)), -1, dtype=np.int32)
        for row, text in zip(self.spelled, added, strict=True):
            row[: len(text)] = [number[character] for character in text]
        self.spelled[BLANK_ID] = -1

    def can_spell(self, word: str) -> bool:
        """Whether all characters of a word are there."""
        return bool(word) and not set(word) - set(self.characters)


class WordTrie:
    """Words as a tree of characters in arrays, so that many places in it are moved at once.

    Node `OUTSIDE` (0) leads to itself, `ROOT` (1) is the empty word.

    Args:
        words: distinct words of `characters`.
        characters: see `Spelling`.

    Attributes:
        transitions: int32 (nodes, characters), the next node.
        word: int32 (nodes,), the place in `words` of the word that ends there, else -1.

    >>> trie = WordTrie(["AB", "A"], "AB")
    >>> trie.transitions.tolist()
    [[0, 0], [2, 0], [0, 3], [0, 0]]
    >>> trie.word.tolist()
    [-1, -1, 1, 0]
    """

    def __init__(self, words: Sequence[str], characters: str) -> None:
        codes = _codes(words, characters)  # (words, longest), -1 beyond the end
        self._at = np.full(len(words), ROOT, dtype=np.int64)  # where each word has got to
        links: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []
        nodes = ROOT + 1
        for column in codes.T:
            here = np.flatnonzero(column >= 0)
            edges, inverse = np.unique(self._at[here] * len(characters) + column[here], return_inverse=True)
            links.append((edges, nodes + np.arange(len(edges))))
            self._at[here] = nodes + inverse
            nodes += len(edges)
        self.transitions = np.full((nodes, len(characters)), OUTSIDE, dtype=np.int32)
        for edges, targets in links:
            self.transitions.reshape(-1)[edges] = targets
        self.word = np.full(nodes, -1, dtype=np.int32)
        self.word[self._at] = np.arange(len(words), dtype=np.int32)

    def walk(self, nodes: NDArray[np.int32], spelled: NDArray[np.int32]) -> NDArray[np.int32]:
        """The nodes after further characters: nodes (...,), spelled (..., L) with -1 for none -> (...,)."""
        width = self.transitions.shape[1]
        flat = self.transitions.reshape(-1)
        for place in range(spelled.shape[-1]):
            codes = spelled[..., place]
            moved = flat.take(nodes.astype(np.int64) * width + np.maximum(codes, 0))
            nodes = np.where(codes >= 0, moved, nodes)
        return nodes

    def highest_below(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """The highest of the values (words,) among the words that end at or below each node; -inf if none does."""
        best = np.full(len(self.word), -np.inf)
        ends = self.word >= 0
        best[ends] = values[self.word[ends]]
        parents = np.full(len(self.word), OUTSIDE, dtype=np.int64)
        rows, columns = np.nonzero(self.transitions)
        parents[self.transitions[rows, columns]] = rows
        for node in range(len(parents) - 1, ROOT, -1):  # children have higher numbers than their parents
            parent = parents[node]
            if best[node] > best[parent]:
                best[parent] = best[node]
        best[OUTSIDE] = -np.inf
        return best


def _codes(words: Sequence[str], characters: str) -> NDArray[np.int32]:
    number = {character: index for index, character in enumerate(characters)}
    codes = np.full((len(words), max(map(len, words), default=0)), -1, dtype=np.int32)
    for row, word in zip(codes, words, strict=True):
        row[: len(word)] = [number[character] for character in word]
    return codes


def spellable(words: Iterable[str], spelling: Spelling) -> tuple[list[str], list[str]]:
    """Split words into those that the tokens can spell and those that they cannot.

    >>> spellable(["BAD", "BÄD"], Spelling(["<blank>", "A", "B", "D"]))
    (['BAD'], ['BÄD'])
    """
    kept: list[str] = []
    lost: list[str] = []
    for word in words:
        (kept if spelling.can_spell(word) else lost).append(word)
    return kept, lost
