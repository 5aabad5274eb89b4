"""States after prefixes that were read before, so that nobody reads them again.

A prefix is found by exactly its tokens and by nothing else: their digest says where to look, and the tokens that lie
there are compared. Bounded in bytes; what was not used the longest leaves first.
"""

from __future__ import annotations

import hashlib
import threading
from collections import Counter, OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from rrwkv_runtime import State

_ENTRY_BYTES = 1024  # what Python's own objects of an entry take, roughly


@dataclass(frozen=True)
class Prefix:
    """tokens [T] int64, T >= 1; the state after them; logits [V] float32 of the last one. Not to be written to.

    Without logits only a longer prompt can go on from it.
    """

    tokens: np.ndarray
    state: State
    logits: np.ndarray | None = None

    @property
    def nbytes(self) -> int:
        logits = 0 if self.logits is None else self.logits.nbytes
        return self.tokens.nbytes + self.state.nbytes + logits + _ENTRY_BYTES

    def begins(self, tokens: np.ndarray) -> bool:
        """Whether a prompt of these tokens can go on from it."""
        length = len(self.tokens)
        return np.array_equal(self.tokens, tokens[:length]) and (self.logits is not None or length < len(tokens))


@dataclass(frozen=True)
class PrefixCacheStats:
    """entries and bytes now; lookups that found something, that did not, and entries that had to leave."""

    entries: int
    bytes: int
    hits: int
    misses: int
    evicted: int


class PrefixCache:
    """most_bytes: what all entries may take together; 0 keeps nothing. For use from several threads."""

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._entries: OrderedDict[tuple[int, bytes], Prefix] = OrderedDict()  # the last used one last
        self._lengths: Counter[int] = Counter()
        self._lock = threading.Lock()
        self._bytes = self._hits = self._misses = self._evicted = 0

    def longest(self, tokens: np.ndarray) -> Prefix | None:
        """The longest prefix of these tokens, all of them at most, that is kept. tokens: [T] int64."""
        with self._lock:
            found = None
            for key in _keys(tokens, sorted(self._lengths)):
                entry = self._entries.get(key)
                if entry is not None and entry.begins(tokens):
                    found = key
            if found is None:
                self._misses += 1
                return None
            self._hits += 1
            self._entries.move_to_end(found)
            return self._entries[found]

    def keep(self, prefix: Prefix) -> None:
        """Keep it, unless it is larger than all may be together; others leave as needed."""
        if prefix.nbytes > self._most:
            return
        (key,) = _keys(prefix.tokens, [len(prefix.tokens)])
        with self._lock:
            if there := self._entries.get(key):
                prefix = prefix if prefix.logits is not None else there
                self._remove(key)
            self._entries[key] = prefix
            self._lengths[key[0]] += 1
            self._bytes += prefix.nbytes
            while self._bytes > self._most:
                self._remove(next(iter(self._entries)))
                self._evicted += 1

    def stats(self) -> PrefixCacheStats:
        with self._lock:
            return PrefixCacheStats(len(self._entries), self._bytes, self._hits, self._misses, self._evicted)

    def _remove(self, key: tuple[int, bytes]) -> None:
        self._bytes -= self._entries.pop(key).nbytes
        self._lengths[key[0]] -= 1
        if not self._lengths[key[0]]:
            del self._lengths[key[0]]


def _keys(tokens: np.ndarray, lengths: list[int]) -> Iterator[tuple[int, bytes]]:
    """Of each length (rising) that the tokens have: it and the digest of so many of them. Reads each token once."""
    digest, done = hashlib.sha256(), 0
    for length in lengths:
        if length > len(tokens):
            return
        digest.update(np.ascontiguousarray(tokens[done:length], np.int64).tobytes())
        done = length
        yield length, digest.copy().digest()
