"""What is right: the float64 reference over some ids, and what the same arithmetic in float32 makes of them."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, from_numpy

from rrwkv_export import architectures
from rrwkv_export.architectures import reference
from rrwkv_export.architectures.config import ModelConfig
from rrwkv_export.architectures.reference import State
from rrwkv_export.errors import ParityError
from rrwkv_export.verify.bound import KeyBound, key_bound
from rrwkv_export.verify.compare import Array, logits_error, states_error
from rrwkv_export.verify.ids import Sample
from rrwkv_runtime.model import Model

_NUDGED_RUNS = 3
_LARGEST_EXPONENT = 700.0  # of a float64
FLOAT64, CPU = "the float64 reference", "this bundle on the CPU"


@dataclass(frozen=True)
class Float32Cost:
    """By how much the reference is off in float32, in logits and in states: what no graph in float32 can be held to.

    The most of four runs: one with the weights as they are, three with every weight rounded to one of its neighbours,
    which is arithmetic of the same precision in another order. One run alone may be lucky: of 86 trials our graphs were
    off by up to 36 times as much as one run, by at most 4.2 times as much as the worst of four.
    """

    logits: float
    states: float


@dataclass(frozen=True)
class Reference:
    """What is right: logits [T, V] for the sample's ids, and the state after them.

    largest_key: of any |k| that was computed. bound: what none can exceed. float32: what float32 costs. None, and a
    largest_key of NaN: not known. name: what it is.
    """

    sample: Sample
    logits: Array
    state: State
    largest_key: float = math.nan
    bound: KeyBound | None = None
    float32: Float32Cost | None = None
    name: str = FLOAT64

    @property
    def ids(self) -> tuple[int, ...]:
        return self.sample.ids

    @property
    def largest_logit(self) -> float:
        return float(np.abs(self.logits).max())


def compute_reference(
    config: ModelConfig, weights: Mapping[str, Tensor], ids: Sample | Sequence[int], bound: KeyBound | None = None
) -> Reference:
    """Run the reference over ids in float64 and in float32, one layer's weights in memory at a time.

    bound: if it is known already. Raises ParityError, TensorError.
    """
    sample = ids if isinstance(ids, Sample) else Sample(tuple(ids))
    largest = [0.0]

    def observe(name: str, value: Tensor) -> None:
        if name.endswith(".time_mix.key"):
            largest.append(float(value.abs().max()))

    logits, state = reference.of(config).forward(config, weights, sample.ids, observe=observe)
    if not bool(logits.isfinite().all()):
        why = (
            f"has keys of {max(largest):.1e}, and exp of them is no number" if max(largest) > _LARGEST_EXPONENT else ""
        )
        why = why or "itself gives logits that are not finite"
        raise ParityError(f"the checkpoint {why}; its weights are unusable")
    exact = logits.numpy()
    cost = _float32_cost(config, weights, sample.ids, exact, state)
    if bound is None and len(architectures.of(config).FORMS) > 1:  # it is what decides between them
        bound = key_bound(config, weights)
    return Reference(sample, exact, state, max(largest), bound, cost)


class _Nudged(Mapping[str, Tensor]):
    """Each weight as float32, next to what it is: above or below at random, but always the same with a seed."""

    def __init__(self, weights: Mapping[str, Tensor], seed: int) -> None:
        self._weights, self._seed = weights, seed

    def __getitem__(self, name: str) -> Tensor:
        value = self._weights[name].float()
        generator = torch.Generator().manual_seed(self._seed << 32 | zlib.crc32(name.encode()))
        up = torch.randint(0, 2, value.shape, dtype=torch.int8, generator=generator).bool()
        return torch.nextafter(value, torch.where(up, torch.inf, -torch.inf))

    def __iter__(self) -> Iterator[str]:
        return iter(self._weights)

    def __len__(self) -> int:
        return len(self._weights)


def _float32_cost(
    config: ModelConfig, weights: Mapping[str, Tensor], ids: Sequence[int], exact: Array, state: State
) -> Float32Cost:
    logits, states = [], []
    for rounded in (weights, *(_Nudged(weights, seed) for seed in range(_NUDGED_RUNS))):
        found, after = reference.of(config).forward(config, rounded, ids, dtype=torch.float32)
        logits.append(logits_error(exact, found.numpy()))
        states.append(states_error(state, {name: np.asarray(value) for name, value in vars(after).items()}))
    return Float32Cost(max(logits), max(states))


def cpu_reference(bundle: Path, sample: Sample) -> Reference:
    """What the bundle gives on the CPU, to hold another provider against. Magnitudes of keys are not known."""
    loaded = Model.load(bundle)
    logits, state = loaded.forward(sample.ids, num_logits=len(sample.ids))
    values = {name: from_numpy(np.array(value)) if value.ndim else int(value) for name, value in state.values.items()}
    config = ModelConfig.from_json(loaded.manifest.config)
    after = reference.of(config).State(**values)
    return Reference(sample, logits, after, name=CPU)
