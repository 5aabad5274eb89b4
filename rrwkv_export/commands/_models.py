"""A bundle loaded for a command, which says on standard error where it runs if that is not plain."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rrwkv_runtime.session import Model


def load_model(bundle: Path, provider: str, threads: int | None = None, **options: Any) -> Model:
    """`Model.load`, and a line if "auto" chose, or if nodes are on the CPU."""
    from rrwkv_runtime.printable import one_line
    from rrwkv_runtime.session import Model

    model = Model.load(bundle, provider, threads, **options)
    if note := model.provider_note(provider):
        click.echo(f"rrwkv: {one_line(note)}", err=True)
    return model
