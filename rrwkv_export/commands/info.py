"""`rrwkv info`"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rrwkv_export.commands._options import bundle_argument, json_option

if TYPE_CHECKING:
    from rich.table import Table

    from rrwkv_runtime.manifest import Manifest


@click.command()
@bundle_argument
@json_option
def info(bundle: Path, as_json: bool) -> None:
    """Say what BUNDLE holds: config, states, files, parameters, parity.

    The files' sizes are checked, their content is not: `rrwkv chat` and `generate` do that whenever they load a bundle.
    """
    from rrwkv_export.commands._console import console
    from rrwkv_runtime.manifest import Manifest, check_sizes

    manifest = Manifest.load(bundle)
    check_sizes(bundle, manifest)
    if as_json:
        click.echo(json.dumps(manifest.to_json(), indent=2, ensure_ascii=False))
        return
    screen = console()
    for table in (_model(bundle, manifest), _states(manifest), _files(manifest)):
        screen.print(table)


def _table(title: str, *columns: str) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title), title_justify="left", title_style="bold", show_header=len(columns) > 2)
    for name in columns:
        table.add_column(name, overflow="fold")
    return table


def _model(bundle: Path, manifest: Manifest) -> Table:
    graph, config = manifest.graphs["main"], manifest.config
    from rich.text import Text

    table = _table(str(bundle), "field", "value")
    facts: list[tuple[str, Any]] = [
        ("architecture", config["architecture"]),
        ("parameters", f"{manifest.parameters:,}"),
        *((name, value) for name, value in config.items() if name not in ("architecture", "medium")),
        *((f"medium {name}", value) for name, value in (config.get("medium") or {}).items()),
        ("weights", _weights(manifest)),
        ("wkv", graph.wkv),
        ("graph", f"{graph.file}, opset {graph.opset}, chunks of {graph.chunk} tokens"),
        ("tokenizer", manifest.tokenizer.type if manifest.tokenizer else "none: it works on token ids"),
        ("chat", repr(f"{manifest.chat.user}…{manifest.chat.turn_end}{manifest.chat.assistant}")),
        ("parity", _parity(manifest.parity)),
        ("bundle id", manifest.bundle_id),
        ("model id", manifest.model_id),
    ]
    for name, value in facts:
        table.add_row(name, Text(str(value)))
    return table


def _weights(manifest: Manifest) -> str:
    said = manifest.quantization
    if said is None:
        return manifest.graphs["main"].dtype
    text = said.get("calibration") or {}
    return f"quantized: {said['scheme']}" + (f", calibrated on {text['tokens']:,} tokens" if text else "")


def _parity(parity: dict[str, Any] | None) -> str:
    if not parity:
        return "not measured"
    error = "not finite" if parity["error"] is None else f"{parity['error']:.2e} of the largest value"
    return f"{error}, {len(parity['checks'])} runs, {parity['tokens']} tokens"


def _states(manifest: Manifest) -> Table:
    table = _table("states", "name", "shape", "dtype", "bytes")
    for spec in manifest.states:
        table.add_row(spec.input, " × ".join(map(str, spec.shape)) or "scalar", spec.dtype, f"{spec.nbytes:,}")
    table.add_row("all", "", "", f"{sum(spec.nbytes for spec in manifest.states):,}", style="bold")
    return table


def _files(manifest: Manifest) -> Table:
    table = _table("files", "name", "bytes", "sha256")
    for entry in manifest.files:
        table.add_row(entry.name, f"{entry.bytes:,}", entry.sha256)
    table.add_row("all", f"{sum(entry.bytes for entry in manifest.files):,}", "", style="bold")
    return table
