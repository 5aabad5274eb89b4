"""Two tasks whose answers are in the text, a distance back: associative recall, and a passkey.

    associative recall   lead  k1 v1 … kP vP  filler × distance  k … (each key again, in another order)
    passkey              lead  OPEN d1 … dD CLOSE  filler × distance  ASK d1 … dD

The distance is the number of filler tokens between what is to be recalled and the first question. A lead of filler, 0
to LEAD - 1 tokens, keeps what is to be recalled from beginning at one place. A value is asked for at its key and not
shown after it: the values that are left would tell who knows which there were, but not whose. Digits are shown one
after the other, and drawn with replacement. The filler of associative recall is noise, drawn token by token; that of a
passkey a phrase of FILLER tokens over and over, begun anywhere, as the sentences are that passkeys are usually hidden
in: after some training it tells nothing, and what is hidden in it does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

LEAD = 32
FILLER = 16
Ids = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True)
class Rows:
    """ids [rows, tokens], and what is to be predicted at each, the next token or an answer. Of every row, answered: the
    positions of answers; recalled: where that is which is to be recalled.
    """

    ids: Ids
    predicted: Ids
    answered: Ids
    recalled: slice

    @property
    def answers(self) -> Ids:
        """[rows, answers]"""
        return self.predicted[:, self.answered]


@dataclass(frozen=True)
class AssociativeRecall:
    """An answer is a value; one in `values` is right by chance."""

    pairs: int = 4
    keys: int = 8
    values: int = 8

    @property
    def vocabulary(self) -> int:
        return FILLER + self.keys + self.values

    @property
    def chance(self) -> float:
        return 1 / self.values

    def rows(self, rng: np.random.Generator, rows: int, distance: int) -> Rows:
        P, first = self.pairs, FILLER
        keys = rng.permuted(np.tile(np.arange(self.keys), (rows, 1)), axis=1)[:, :P]
        values = rng.integers(0, self.values, (rows, P))
        pairs = np.stack([first + keys, first + self.keys + values], axis=2)
        order = rng.permuted(np.tile(np.arange(P), (rows, 1)), axis=1)
        asked = np.take_along_axis(pairs, order[:, :, None], axis=1)
        lead = int(rng.integers(0, LEAD))
        noise = rng.integers(0, FILLER, (rows, lead + distance))
        keys, values = asked[:, :, 0], asked[:, :, 1]
        ids = np.concatenate([noise[:, :lead], pairs.reshape(rows, -1), noise[:, lead:], keys], axis=1)
        predicted = np.concatenate([ids[:, 1:-P], keys[:, :1], values], axis=1)
        return Rows(ids, predicted, np.arange(ids.shape[1] - P, ids.shape[1]), slice(lead, lead + 2 * P))


@dataclass(frozen=True)
class Passkey:
    """An answer is a digit; one in `symbols` is right by chance."""

    digits: int = 5
    symbols: int = 10

    @property
    def vocabulary(self) -> int:
        return FILLER + self.symbols + 3

    @property
    def chance(self) -> float:
        return 1 / self.symbols

    def rows(self, rng: np.random.Generator, rows: int, distance: int) -> Rows:
        opening, closing, ask = range(FILLER + self.symbols, self.vocabulary)
        digits = FILLER + rng.integers(0, self.symbols, (rows, self.digits))
        lead = int(rng.integers(0, LEAD))
        phrases = (rng.integers(0, FILLER, (rows, 1)) + np.arange(lead + distance)) % FILLER
        hidden = np.concatenate([_mark(rows, opening), digits, _mark(rows, closing)], axis=1)
        parts = [phrases[:, :lead], hidden, phrases[:, lead:], _mark(rows, ask), digits]
        ids = np.concatenate(parts, axis=1)
        answered = np.arange(ids.shape[1] - 1 - self.digits, ids.shape[1] - 1)
        return Rows(ids[:, :-1], ids[:, 1:], answered, slice(lead, lead + hidden.shape[1]))


Task = AssociativeRecall | Passkey
TASKS: dict[str, type[AssociativeRecall] | type[Passkey]] = {
    "associative recall": AssociativeRecall,
    "passkey": Passkey,
}


def _mark(rows: int, token: int) -> Ids:
    return np.full((rows, 1), token)
