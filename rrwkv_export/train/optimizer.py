"""AdamW, which weights it decays, and the learning rate's course.

As in BlinkDL/RWKV-LM: betas 0.9 and 0.99, an epsilon of 1e-18; matrices decay whose name
begins with "weight" (torch's LSTM and GRU have weight_ih_l0 and the like), which low-rank ones have not; what decides
how long a channel remembers is trained faster (RWKV-7's w0 twice, RWKV-4's time_decay twice, its time_first three
times).

Of a model that is rounded, scales are trained 3 times as fast, by so much of themselves, and weights that are counted
in levels 30 times: 0.001 of a level in a step at 3e-5. At twenty times that, levels change by the million, for the
worse.
"""

from __future__ import annotations

import math
from collections import defaultdict

import torch

from rrwkv_export.architectures.mediums import is_mediums
from rrwkv_export.train.models import Model
from rrwkv_export.train.models.rounded import STRETCH, RoundedModel
from rrwkv_export.train.settings import Settings

_FASTER = {"att.w0": 2.0, "att.time_decay": 2.0, "att.time_first": 3.0, f".{STRETCH}": 3.0}
_LEVELS_FASTER = 30.0
SCALE = "scale"  # of a group: its learning rate over the run's


def adamw(model: torch.nn.Module, settings: Settings) -> torch.optim.AdamW:
    """A group for each learning rate and decay."""
    in_levels = model.in_levels if isinstance(model, RoundedModel) else frozenset[str]()
    groups: dict[tuple[float, float], list[torch.nn.Parameter]] = defaultdict(list)
    for name, value in model.named_parameters():
        decay = settings.weight_decay if value.ndim == 2 and name.rpartition(".")[2].startswith("weight") else 0.0
        scale = next((faster for part, faster in _FASTER.items() if name.endswith(part)), 1.0)
        scale = _LEVELS_FASTER if name in in_levels else scale
        groups[scale * (1.0 if is_mediums(name) else settings.base_rate), decay].append(value)
    listed = [{"params": values, "weight_decay": decay, SCALE: scale} for (scale, decay), values in groups.items()]
    return torch.optim.AdamW(listed, lr=settings.learning_rate, betas=(0.9, 0.99), eps=1e-18)


def learning_rate(settings: Settings, step: int, fraction: float) -> float:
    """Before a step. fraction: of the run that is done."""
    along = settings.last_rate + (1 - settings.last_rate) * (1 + math.cos(math.pi * fraction)) / 2
    return settings.learning_rate * min(1.0, (step + 1) / max(1, settings.warm_up)) * along


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate * group[SCALE]


def choose_trained(model: Model, settings: Settings, fraction: float) -> None:
    """Lets gradients reach what is trained at this point of the run: mediums alone at first, then everything."""
    everything = fraction >= settings.mediums_first
    for name, value in model.named_parameters():
        trained = name not in model.kept and (everything or is_mediums(name))
        value.requires_grad_(trained)
        if not trained:
            value.grad = None
