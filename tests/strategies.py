"""Configs of every architecture, for hypothesis."""

from __future__ import annotations

import dataclasses

from hypothesis import strategies as st

from rrwkv_export.architectures.config import MediumConfig, ModelConfig
from rrwkv_export.architectures.mediums import AdaptiveInterval
from rrwkv_export.architectures.rwkv4 import RWKV4Config
from rrwkv_export.architectures.rwkv5 import VERSIONS, RWKV5Config
from rrwkv_export.architectures.rwkv6 import RWKV6Config
from rrwkv_export.architectures.rwkv7 import RWKV7Config

small = st.integers(1, 6)
adaptive = st.builds(lambda a, b: AdaptiveInterval(min(a, b), max(a, b)), small, small)
mediums = st.none() | st.builds(
    MediumConfig,
    small | adaptive,
    st.sampled_from(["attention", "mean"]),
    slots=small,
    key_size=small,
    reduction=small,
)


@st.composite
def configs(
    draw: st.DrawFn, kinds: tuple[type[ModelConfig], ...] = (RWKV4Config, RWKV5Config, RWKV6Config, RWKV7Config)
) -> ModelConfig:
    """Head sizes, ranks, F, mediums."""
    H, N = draw(small), draw(small)
    sizes = {"vocab_size": 40, "hidden_size": H * N, "num_layers": draw(st.integers(1, 3)), "ffn_size": draw(small)}
    kind = draw(st.sampled_from(kinds))
    own = {field.name for field in dataclasses.fields(kind)}
    more = {name: draw(small) for name in sorted(own) if name.endswith("_rank")}
    more |= {"head_size": N} if "head_size" in own else {}
    more |= {"version": draw(st.sampled_from(VERSIONS))} if "version" in own else {}
    return kind(**sizes, **more, medium=draw(mediums))
