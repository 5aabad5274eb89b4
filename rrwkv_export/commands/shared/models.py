"""A bundle loaded for a command, which says on standard error where it runs if that is not plain."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rrwkv_export.commands.shared.say import note

if TYPE_CHECKING:
    from rrwkv_runtime.model import Model


def load_model(bundle: Path, provider: str, threads: int | None = None, **options: Any) -> Model:
    """`Model.load`, and a line if "auto" chose, or if nodes are on the CPU."""
    from rrwkv_runtime.model import Model

    model = Model.load(bundle, provider, threads, **options)
    if said := model.provider_note(provider):
        note(f"rrwkv: {said}")
    return model
