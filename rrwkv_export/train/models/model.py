"""A model to be trained, and the state between its calls.

B rows   T tokens   C channels   L layers   V vocabulary        h, h', M as in the reference
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, linear

from rrwkv_export.architectures.config import ModelConfig
from rrwkv_export.architectures.reference.layer import Layer, norm
from rrwkv_export.errors import TrainingError
from rrwkv_export.train.models import mediums, rwkv4, rwkv7
from rrwkv_export.train.models.mediums import Segments, Told, adaptive_segments, fixed_segments

LayerState = dict[str, Tensor]
_ROOMS: dict[str, ModuleType] = {"rwkv4": rwkv4, "rrwkv": rwkv4, "rwkv7": rwkv7}
ARCHITECTURES = tuple(_ROOMS)


@dataclass(frozen=True)
class State:
    """What is carried on. position: tokens seen, in every row as many. layers: of each its arrays [B, ...] by name.

    told: of an adaptive interval, and None of tokens that have not come.
    """

    position: int
    layers: tuple[LayerState, ...]
    told: Told | None = None

    def detached(self) -> State:
        """The same values, through which no gradient goes back."""
        layers = tuple({name: x.detach() for name, x in layer.items()} for layer in self.layers)
        return State(self.position, layers, self.told)


class Model(nn.Module):
    """Its parameters bear the names of `config.shapes()`. What is one number alone is a row of one here, since FSDP
    shares out nothing less.

    weights: by canonical name; they are copied, in the dtype of the embedding. Raises TrainingError for an architecture
    that is not trained here. kept: names of those that stay as they are.
    """

    kept: frozenset[str] = frozenset()

    def __init__(self, config: ModelConfig, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        require_trained(config.architecture)
        self.config = config
        dtype = weights["emb.weight"].dtype
        self._numbers = [name for name, shape in config.shapes().items() if not shape]
        for name, shape in config.shapes().items():
            module, _, last = name.rpartition(".")
            value = weights[name].to(dtype, copy=True).view(shape or (1,))
            self._at(module).register_parameter(last, nn.Parameter(value))

    def _at(self, path: str) -> nn.Module:
        module: nn.Module = self
        for part in path.split("."):
            if part not in module._modules:
                module.add_module(part, nn.Module())
            module = module.get_submodule(part)
        return module

    def forward(self, ids: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Logits [B, T, V] of ids int64 [B, T], and the state after them. state: None for rows that begin a text."""
        config, weights = self.config, self.values()
        state = state or self.initial(len(ids))
        x = self.embedded(ids)
        room, crossing = _ROOMS[config.architecture], dict[str, Tensor]()
        segments, told = self._segments(weights, ids, state)
        after = []
        for i, before in enumerate(state.layers):
            w = Layer(config, weights, i, dtype=x.dtype)
            h = w.norm(x, "ln1")
            kept: LayerState = {"att_shift": h[:, -1]}
            M = mediums.retrospect(w, config.medium, h, segments, before, kept) if config.medium and segments else None
            x = x + room.time_mix(w, h, _shifted(h, before["att_shift"]), M, before, kept, crossing)
            h = w.norm(x, "ln2")
            kept["ffn_shift"] = h[:, -1]
            x = x + room.channel_mix(w, h, _shifted(h, before["ffn_shift"]), M)
            after.append(kept)
        logits = linear(norm(config, weights, x, "ln_out"), weights["head.weight"])
        return logits, State(state.position + ids.shape[1], tuple(after), told)

    def _segments(
        self, weights: Mapping[str, Tensor], ids: Tensor, state: State
    ) -> tuple[Segments | None, Told | None]:
        medium = self.config.medium
        if medium is None:
            return None, None
        if medium.adaptive is None:
            return fixed_segments(medium, state.position, ids), None
        return adaptive_segments(self.config, weights, ids, state.told)

    def values(self) -> dict[str, Tensor]:
        """What is computed with, by canonical name."""
        found: dict[str, Tensor] = dict(self.named_parameters())
        return found | {name: found[name].view(()) for name in self._numbers}

    def embedded(self, ids: Tensor) -> Tensor:
        """The embedding's rows after their norm [B, T, C]."""
        weights = dict(self.named_parameters())
        return norm(self.config, weights, embedding(ids, weights["emb.weight"]), "blocks.0.ln0")

    def initial(self, rows: int) -> State:
        """Before the first token."""
        config, like = self.config, self.get_parameter("emb.weight")
        shapes = dict.fromkeys(("att_shift", "ffn_shift"), (config.hidden_size,))
        shapes |= _ROOMS[config.architecture].state_shapes(config) | mediums.state_shapes(config)
        layer = {name: like.new_zeros(rows, *shape) for name, shape in shapes.items()}
        layer |= _ROOMS[config.architecture].state_fills(layer)
        return State(0, (layer,) * config.num_layers)

    def weights(self) -> dict[str, Tensor]:
        """A copy of every value by its canonical name, on the CPU: what a checkpoint of the model holds."""
        with torch.no_grad():
            return {name: value.detach().to("cpu", copy=True).contiguous() for name, value in self.values().items()}


def require_trained(architecture: str) -> None:
    """Raises TrainingError for an architecture that is not trained here."""
    if architecture not in _ROOMS:
        raise TrainingError(f"{architecture}: training knows {', '.join(ARCHITECTURES)}; give one of these")


def _shifted(h: Tensor, carried: Tensor) -> Tensor:
    """h' [B, T, C]: the carried row, then all rows but the last."""
    return torch.cat([carried[:, None], h[:, :-1]], dim=1)
