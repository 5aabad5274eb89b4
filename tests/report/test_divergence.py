"""Two models over one text: KL divergence, agreement, and that chunks do not matter."""

from __future__ import annotations

import numpy as np
import pytest
from checkpoint_files import RRWKV, RWKV4
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from rrwkv_export.architectures.rwkv4 import RWKV4Config
from rrwkv_export.divergence import Rows, log_softmax, measure, side_by_side
from rrwkv_export.errors import TextError

LOGITS = arrays.arrays(np.float32, (3, 7), elements=st.floats(-50, 50, width=32))


def rows(p, q, targets=(0,)):
    with np.errstate(divide="ignore"):
        return Rows(0, np.array(targets), np.log(np.array(p, float)), np.log(np.array(q, float)), None, None)


def test_kl_by_hand():
    both = rows([[0.5, 0.5]], [[0.25, 0.75]])
    assert both.kl == pytest.approx(0.5 * np.log(2) + 0.5 * np.log(2 / 3))
    assert both.targets_log_p == pytest.approx(np.log(0.5))
    assert both.targets_log_q == pytest.approx(np.log(0.25))


@given(LOGITS, LOGITS)
def test_kl_is_never_negative_and_zero_between_equals(first, second):
    p, q = log_softmax(first), log_softmax(second)
    assert np.exp(p).sum(axis=-1) == pytest.approx(1)
    assert (Rows(0, np.zeros(3, int), p, q, None, None).kl >= 0).all()
    assert (Rows(0, np.zeros(3, int), p, p, None, None).kl == 0).all()


def test_agreement_by_hand():
    likely, other = np.arange(1.0, 9), np.arange(1.0, 9)[::-1]
    both = rows([likely / 36, likely / 36], [likely / 36, other / 36], (0, 0))
    assert both.top1.tolist() == [True, False]
    assert both.top5.tolist() == [1.0, 0.4]  # 3 and 4 are among the five of both


def test_five_likeliest_of_a_vocabulary_of_two():
    assert rows([[0.5, 0.5]], [[0.25, 0.75]]).top5.tolist() == [1.0]


def test_chunks_do_not_matter(make_tiny):
    first, second = make_tiny(RRWKV, 0).model, make_tiny(RRWKV, 1).model
    ids = np.random.default_rng(0).integers(0, RRWKV.vocab_size, 60)
    whole = measure(first, second, ids)
    assert whole.tokens == 59
    assert whole.kl > 0.01
    for options in ({"chunk": 7}, {"chunk": 1}, {"chunk": 16, "other_chunk": 5}):
        cut = measure(first, second, ids, **options)
        assert cut.kl == pytest.approx(whole.kl, rel=1e-4)
        assert cut.perplexity == pytest.approx(whole.perplexity, rel=1e-4)


def test_rows_tell_where_they_are_and_carry_the_states(make_tiny):
    model, ids = make_tiny(RWKV4).model, np.arange(10)
    found = [(r.start, r.targets.tolist(), r.other.position) for r in side_by_side(model, model, ids, chunk=4)]
    assert found == [(0, [1, 2, 3, 4], 4), (4, [5, 6, 7, 8], 8), (8, [9], 9)]


def test_a_model_beside_itself(make_tiny):
    same = measure(make_tiny(RRWKV).model, make_tiny(RRWKV).model, np.arange(20))
    assert (same.kl, same.top1) == (0, 1)
    assert same.perplexity == same.reference_perplexity


def test_other_vocabularies_cannot_be_compared(make_tiny):
    larger = make_tiny(RWKV4Config(41, 16, 2, 48)).model
    with pytest.raises(TextError, match="40 tokens and the other 41"):
        measure(make_tiny(RWKV4).model, larger, np.arange(5))
