"""The loss on text that is not trained on, over all positions of a row and by how far into it they are."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch

from rrwkv_export.texts import Ids
from rrwkv_export.train.models import Model
from rrwkv_export.train.objective import Loss

_FIRST, _FACTOR = 16, 4  # 0 to 15, 16 to 63, 64 to 255 …


@dataclass(frozen=True)
class HeldOut:
    """Mean loss in nats a token: of all, and of each range of positions, "0-15", "16-63" …"""

    loss: float
    by_position: dict[str, float]


def buckets(length: int) -> list[tuple[int, int]]:
    """Ranges of positions, the end excluded, that cover a row."""
    edges = [0]
    while edges[-1] < length:
        edges.append(min(length, max(_FIRST, edges[-1] * _FACTOR)))
    return list(pairwise(edges))


def names(length: int) -> list[str]:
    return [f"{first}-{end - 1}" for first, end in buckets(length)]


@torch.no_grad()
def held_out_loss(model: Model, loss: Loss, rows: Ids, batch: int) -> HeldOut:
    """rows: [n, length + 1], each from the initial state; `batch` of them are computed at once."""
    device, total = model.get_parameter("emb.weight").device, torch.zeros(rows.shape[1] - 1, dtype=torch.float64)
    for first in range(0, len(rows), batch):
        ids = torch.from_numpy(rows[first : first + batch]).to(device)
        logits, _ = model(ids[:, :-1])
        total += loss(logits, ids).double().sum(dim=0).cpu()
    mean = total / len(rows)
    ranges = buckets(len(mean))
    return HeldOut(
        float(mean.mean()), {name: float(mean[a:b].mean()) for name, (a, b) in zip(names(len(mean)), ranges)}
    )
