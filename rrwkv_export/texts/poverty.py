"""Whether a text shows enough of a model to stand for others."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rrwkv_export.texts.corpus import Ids

# What English is to a tokenizer that knows it: 16 for letters, 21 for bytes, 128 for the demo's; to one that does not
# (of DNA, of Chinese, of chemistry, of a few words): 1 to 4, and 70 to 99 in 100 are unknown.
_FEW_ALTERNATIVES, _MANY_UNKNOWN = 8.0, 1 / 4


def poverty(ids: Sequence[int] | Ids, vocab_size: int, unknown: int | None = None) -> str | None:
    """Why a text shows too little of its model to stand for others, for people; None if it does not.

    Measured by the tokenizer's unknown token, if it has one, and by how many tokens the text would have if all were
    equally frequent: exp of the entropy of their frequencies.
    """
    tokens, counts = np.unique(np.asarray(ids, np.int64), return_counts=True)
    total = int(counts.sum())
    if not total:
        return "it has no tokens"
    share = counts / total
    missing = float(share[tokens == unknown].sum()) if unknown is not None else 0.0
    if missing > _MANY_UNKNOWN:
        return f"{missing:.0%} of its {total:,} tokens are the unknown token ({unknown})"
    alternatives = float(np.exp(-(share * np.log(share)).sum()))
    if alternatives < min(_FEW_ALTERNATIVES, vocab_size / 4):
        most = int(counts.argmax())
        return f"of its {total:,} tokens {len(tokens):,} are distinct, and {share[most]:.0%} are token {tokens[most]}"
    return None
