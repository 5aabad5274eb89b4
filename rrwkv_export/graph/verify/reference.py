"""What is right: the float64 reference over some ids, and what the same arithmetic in float32 makes of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, from_numpy

from rrwkv_export import model
from rrwkv_export.config import ModelConfig
from rrwkv_export.errors import ParityError
from rrwkv_export.graph.verify.bound import KeyBound, key_bound
from rrwkv_export.graph.verify.compare import Array, logits_error, states_error
from rrwkv_export.graph.verify.ids import Sample
from rrwkv_runtime.session import Model

FLOAT64, CPU = "the float64 reference", "this bundle on the CPU"


@dataclass(frozen=True)
class Float32Cost:
    """By how much the reference is off in float32, in logits and in states: what no graph in float32 can be held to."""

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
    state: model.State
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
    logits, state = model.forward(
        config, weights, sample.ids, observe=lambda _, key: largest.append(float(key.abs().max()))
    )
    if not bool(logits.isfinite().all()):
        raise ParityError("the checkpoint itself gives logits that are not finite; its weights are unusable")
    exact = logits.numpy()
    logits, rounded = model.forward(config, weights, sample.ids, dtype=torch.float32)
    values = {name: np.asarray(value) for name, value in vars(rounded).items()}
    cost = Float32Cost(logits_error(exact, logits.numpy()), states_error(state, values))
    return Reference(sample, exact, state, max(largest), bound or key_bound(config, weights), cost)


def cpu_reference(bundle: Path, sample: Sample) -> Reference:
    """What the bundle gives on the CPU, to hold another provider against. Magnitudes of keys are not known."""
    logits, state = Model.load(bundle).forward(sample.ids, num_logits=len(sample.ids))
    values = {name: from_numpy(np.array(value)) for name, value in state.values.items() if name != "position"}
    after = model.State(int(state.values["position"]), **values)
    return Reference(sample, logits, after, name=CPU)
