"""Which tokens a step sees: rows of one long sequence, in an order that is a function of the seed and the step alone.

So nothing of it has to be kept: a run that is gone on with sees what it would have seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from rrwkv_export.texts import Ids


@dataclass(frozen=True)
class Rows:
    """Rows of length + 1 tokens, each but the last the input and each but the first what is to be predicted.

    An epoch is all rows once, in an order of its own, cut from a place of its own.
    """

    ids: Ids
    length: int
    seed: int

    @property
    def epoch(self) -> int:
        """Rows in it; one less than fit, so that there is room to cut elsewhere."""
        return max(1, (len(self.ids) - 1) // self.length - 1)

    def step(self, step: int, batch: int) -> Ids:
        """[batch, length + 1]"""
        return np.stack([self._row(i) for i in range(step * batch, (step + 1) * batch)])

    def _row(self, index: int) -> Ids:
        epoch, place = divmod(index, self.epoch)
        room = min(len(self.ids) - 1 - self.epoch * self.length, self.length - 1)
        first, order = _drawn(self.seed, epoch, room, self.epoch)
        start = first + int(order[place]) * self.length
        return self.ids[start : start + self.length + 1]


@lru_cache(maxsize=2)
def _drawn(seed: int, epoch: int, room: int, count: int) -> tuple[int, Ids]:
    """Where an epoch's first row begins, 0 to `room`, and the order of its rows."""
    random = np.random.default_rng((seed, epoch))
    return int(random.integers(0, room + 1)), random.permutation(count)


def windows(ids: Ids, length: int, most: int) -> Ids:
    """Rows of what is held out, [n, at most length + 1], of `most` predictions at most: one after the other, or where
    there are more of them, from places evenly along all of it, which may be several texts.
    """
    length = min(length, len(ids) - 1)
    fit = (len(ids) - 1) // length
    count = max(1, min(fit, most // length))
    starts = [i * fit // count * length for i in range(count)]
    return np.stack([ids[start : start + length + 1] for start in starts])
