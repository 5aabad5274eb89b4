"""A state is found by exactly the tokens that led to it, and nothing takes more bytes than allowed."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
from fakes import FakeModel
from hypothesis import given
from hypothesis import strategies as st

from rrwkv_runtime.sampling import Sampling
from rrwkv_server.engine.generation import Generation, Request
from rrwkv_server.engine.prefix_cache import Prefix, PrefixCache
from rrwkv_server.engine.prompts import Prompt

TOKENS = st.lists(st.integers(0, 2), min_size=1, max_size=8)


@dataclass(frozen=True)
class Seen:
    """A state that is the tokens that led to it."""

    tokens: tuple[int, ...]
    nbytes: int = 100


def prefix(tokens, logits=True):
    return Prefix(np.array(tokens, np.int64), Seen(tuple(tokens)), np.zeros(3, np.float32) if logits else None)


def find(cache, tokens):
    found = cache.longest(np.array(tokens, np.int64))
    return None if found is None else found.state.tokens


@given(st.lists(st.tuples(st.booleans(), TOKENS, st.booleans())), st.integers(0, 6000))
def test_what_is_found_are_the_first_tokens_and_the_longest_that_are_kept(steps, most):
    cache, latest = PrefixCache(most), None
    for keeps, tokens, logits in steps:
        if keeps:
            cache.keep(prefix(tokens, logits))
            latest = tuple(tokens)
        elif (found := find(cache, tokens)) is not None:
            assert found == tuple(tokens[: len(found)])
        stats = cache.stats()
        assert stats.bytes <= most
        if latest and keeps and stats.entries:
            assert find(cache, [*latest, 0])[: len(latest)] == latest
    assert cache.stats().bytes == sum(entry.nbytes for entry in cache._entries.values())


def test_the_longest_one_is_found():
    cache = PrefixCache(1 << 20)
    for tokens in ([1], [1, 2], [1, 2, 3, 4], [2, 2, 3]):
        cache.keep(prefix(tokens))
    assert find(cache, [1, 2, 3]) == (1, 2)
    assert find(cache, [1, 2, 3, 4]) == (1, 2, 3, 4)
    assert find(cache, [3]) is None
    assert (cache.stats().hits, cache.stats().misses) == (2, 1)


def test_without_logits_only_a_longer_prompt_goes_on():
    cache = PrefixCache(1 << 20)
    cache.keep(prefix([1, 2], logits=False))
    assert find(cache, [1, 2]) is None
    assert find(cache, [1, 2, 0]) == (1, 2)
    cache.keep(prefix([1, 2]))
    cache.keep(prefix([1, 2], logits=False))
    assert find(cache, [1, 2]) == (1, 2)


def test_what_was_not_used_the_longest_leaves_first():
    size = prefix([1]).nbytes
    cache = PrefixCache(2 * size)
    cache.keep(prefix([1]))
    cache.keep(prefix([2]))
    assert find(cache, [1]) == (1,)
    cache.keep(prefix([0]))
    assert (find(cache, [1]), find(cache, [2]), find(cache, [0])) == ((1,), None, (0,))
    assert cache.stats().evicted == 1


def test_what_is_too_large_is_not_kept():
    cache = PrefixCache(prefix([1]).nbytes - 1)
    cache.keep(prefix([1]))
    assert cache.stats().entries == 0


@given(st.lists(st.lists(st.integers(1, 3), min_size=1, max_size=90), min_size=1, max_size=6))
def test_a_reply_is_the_same_whoever_asked_before(prompts):
    """The fake model writes what depends on every token that it saw: a state of other tokens would write others."""
    model, shared = FakeModel(lambda ids: 1 + zlib.crc32(np.array(ids, np.int64).tobytes()) % 3), PrefixCache(20_000)

    def reply(cache, ids):
        request = Request(Prompt(tuple(ids), marks=(len(ids) // 2,)), Sampling(temperature=0), 0, max_tokens=9)
        return [token.id for token in Generation(model, cache, request) if token]

    for ids in (*prompts, *prompts[::-1]):
        assert reply(shared, ids) == reply(PrefixCache(0), ids)
