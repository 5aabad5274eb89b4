"""LoRA's pairs of matrices: found among a file's tensors, and what they add to a weight.

LoRA (Hu et al. 2021) trains W + scale * B A with B [out, r] and A [r, in]; scale is alpha / r, and alpha / sqrt(r) in
rank-stabilized LoRA (Kalajdzievski 2023). Names are RWKV-LM-LoRA's (`blocks.0.att.key.lora_A`) and PEFT's
(`blocks.0.attention.key.lora_A.weight`, with an adapter's name in it where a whole model was saved).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from rrwkv_export.checkpoint.containers.entries import DTYPES, Entry, brackets
from rrwkv_export.errors import CheckpointError, TensorError

_HALF = re.compile(r"(.+)\.lora_(embedding_)?([AB])(?:\.(?!weight$)([^.]+))?(?:\.weight)?$")
_PLACE = re.compile(
    r"(?:^|\.)(?:blocks|layers)\.\d+\.(?:att|ffn|attn|attention|feed_forward)\.|"
    r"^(?:rwkv\.|model\.)?(?:emb|embeddings|head|lm_head)$"
)
_MATRIX = re.compile(r"blocks\.\d+\.(?:att|attention)\.\w+\.weight$")
# Names of adapters that add something else than B A.
_OTHERS = re.compile(
    r"\.(?:lora_magnitude_vector|ia3_l|hada_[wt]\d\w*|lokr_[wt]\d\w*|oft_[rsR]|boft_[rsR]|vera_lambda_[bd]|vblora_\w+|"
    r"randlora_\w+|spectrum|hra_u|shira_weight|bone|miss|disha|road_\w+|trainable_tokens_\w+|modules_to_save|"
    r"original_module|lora_E|ranknum|lora_[AB](?:\.\w+)?\.bias)\b|(?:^|\.)prompt_(?:embeddings|encoder)\b"
)
_ROWS = 1024  # of a weight that are merged at a time, so that float64 costs little memory
MERGE_THERE = (
    "merge it where it was trained (peft: model.merge_and_unload(), then save_pretrained) and export the result"
)


@dataclass(frozen=True)
class Pair:
    """A and B for one weight, of which one may be missing. embedding: B A is the weight's transpose."""

    a: Entry | None = None
    b: Entry | None = None
    embedding: bool = False


@dataclass(frozen=True)
class Halves:
    """Every pair of a file, by the module that it belongs to."""

    pairs: Mapping[str, Pair]

    @property
    def first(self) -> Entry:
        pair = next(iter(self.pairs.values()))
        found = pair.a or pair.b
        assert found is not None
        return found

    @property
    def is_pefts(self) -> bool:
        """Whether the file's names are PEFT's, which writes an adapter_config.json."""
        return self.first.name.startswith("base_model.")

    def fits_rwkv(self) -> bool:
        """Whether any of it is for a weight that an RWKV has, by its name."""
        return any(_PLACE.search(module) for module in self.pairs)


def split_halves(path: Path, entries: Mapping[str, Entry]) -> tuple[dict[str, Entry], Halves]:
    """The other tensors, and the pairs. Raises CheckpointError for an adapter of another kind, or several in one."""
    rest: dict[str, Entry] = {}
    pairs: dict[str, Pair] = {}
    adapters = set()
    for name, entry in entries.items():
        if _OTHERS.search(name):
            raise CheckpointError(f"{path}: {entry.name!r} is of an adapter that is no plain LoRA; {MERGE_THERE}")
        if (found := _HALF.match(name)) is None:
            rest[name] = entry
            continue
        module, embedding, half, adapter = found.groups()
        adapters.add(adapter)
        before = pairs.get(module, Pair())
        a, b = (entry, before.b) if half == "A" else (before.a, entry)
        pairs[module] = Pair(a, b, bool(embedding))
    if len(adapters) > 1:
        named = ", ".join(sorted(map(str, adapters)))
        raise CheckpointError(f"{path}: holds several adapters ({named}); save the one that is wanted alone")
    return rest, Halves(pairs)


def is_adapter_alone(rest: Mapping[str, Entry], halves: Halves) -> bool:
    """Whether the weights that the pairs are added to are elsewhere."""
    if not halves.pairs:
        return False
    whole = all(f"{module}.weight" in rest for module in halves.pairs)
    return not (whole and any(_MATRIX.search(name) for name in rest))


@dataclass(frozen=True)
class Delta:
    """scale * B A, to be added to one weight. a: [r, in], b: [out, r]; for an embedding its transpose is added."""

    a: Entry
    b: Entry
    scale: float
    embedding: bool

    def added_to(self, base: Entry) -> Entry:
        """The sum as a tensor of its own, float32, made when it is read; rounded once."""
        if base.dtype not in DTYPES:
            return base  # refused by its own name when weights are matched

        def load() -> torch.Tensor:
            return self._sum(base)

        return Entry(base.file, base.name, base.shape, "float32", load)

    def _sum(self, base: Entry) -> torch.Tensor:
        weight = base.load()
        a, b = (entry.load().to(torch.float64) for entry in (self.a, self.b))
        left, right = (a.T, b.T) if self.embedding else (b, a)
        made = torch.empty(weight.shape, dtype=torch.float32)
        for start in range(0, weight.shape[0], _ROWS):
            rows = slice(start, start + _ROWS)
            made[rows] = weight[rows].to(torch.float64) + self.scale * (left[rows] @ right)
        if not all(_is_finite(half) for half in (a, b)):
            raise TensorError(
                f"{self.a.file}: {self.a.name!r} or its other half holds NaN or infinity; take an adapter from before "
                "its training diverged"
            )
        if _is_finite(weight) and not _is_finite(made):
            raise TensorError(
                f"{self.a.file}: {self.a.name!r} times its other half and {self.scale:g}, alpha / rank, is more than "
                "float32 holds; give the alpha that the adapter was trained with"
            )
        return made


def _is_finite(tensor: torch.Tensor) -> bool:
    return bool(torch.isfinite(torch.stack(torch.aminmax(tensor))).all())


def delta(pair: Pair, name: str, shape: tuple[int, ...], scale: float) -> Delta:
    """What a pair adds to the weight `name` of this shape. Raises TensorError for halves that do not fit it."""
    if pair.a is None or pair.b is None:
        lone = pair.a or pair.b
        assert lone is not None
        raise TensorError(f"{lone.file}: {lone.name!r} has no other half; save the adapter with both lora_A and lora_B")
    for half in (pair.a, pair.b):
        if half.dtype not in DTYPES:
            raise TensorError(f"{half.file}: {half.name!r} is {half.dtype}; save it as one of {', '.join(DTYPES)}")
    a, b = pair.a.shape, pair.b.shape
    product = (a[1:] + b[:1]) if pair.embedding else (b[:1] + a[1:])
    if len(a) != 2 or len(b) != 2 or a[0] != b[1] or a[0] == 0 or product != shape:
        raise TensorError(
            f"{pair.a.file}: {pair.a.name!r} {brackets(a)} and its other half {brackets(b)} make no {brackets(shape)}, "
            f"which {name} is; give the base that the adapter was trained on"
        )
    return Delta(pair.a, pair.b, scale, pair.embedding)


def rank(pair: Pair) -> int:
    """r, of whichever half is there."""
    half = pair.a if pair.a is not None else pair.b
    assert half is not None
    shape = half.shape if half is pair.a else half.shape[::-1]
    return shape[0] if shape else 0
