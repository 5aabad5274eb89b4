"""What a trained model makes of a text: the information of every token, and the passage that it is of."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from rrwkv_export.architectures import reference
from rrwkv_export.architectures.mediums import UNIT
from rrwkv_export.architectures.reference.mediums import segments
from rrwkv_export.checkpoint import open_checkpoint


@dataclass(frozen=True)
class Followed:
    """information [T]: ι of every token. kinds [T]: of the passage that it is of."""

    information: np.ndarray
    kinds: tuple[str, ...]

    def interval(self, kind: str) -> float:
        """Tokens that make a medium in passages of a kind, on average."""
        return float(1 / self.information[[found == kind for found in self.kinds]].mean())


def followed(run: Path, passages: Path) -> Followed:
    checkpoint = open_checkpoint(run)
    assert checkpoint.tokenizer is not None
    tokenizer = checkpoint.tokenizer.open()
    ids: list[int] = []
    kinds: list[str] = []
    for passage in json.loads(passages.read_text(encoding="utf-8")):
        found = tokenizer.encode(passage["text"])
        ids += found
        kinds += [passage["kind"]] * len(found)
    config = checkpoint.config
    state = reference.of(config).State.initial(config)
    with torch.no_grad():
        member = segments(config, checkpoint.weights, ids, state).member
    return Followed((member.sum(dim=0) * UNIT).round().numpy() / UNIT, tuple(kinds))
