"""`rrwkv info`"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from rrwkv_export.commands.shared.options import bundle_argument, json_option, provider_options

if TYPE_CHECKING:
    from rich.table import Table

    from rrwkv_runtime.execution.placement import Node
    from rrwkv_runtime.manifest import Manifest
    from rrwkv_runtime.model import Model


@click.command()
@bundle_argument
@json_option
@provider_options
@click.option(
    "--nodes",
    is_flag=True,
    help="With --provider: every node by name, not only how many of each operator.",
)
@click.pass_context
def info(
    context: click.Context,
    bundle: Path,
    as_json: bool,
    provider: str,
    provider_options: dict[str, str],
    strict: bool,
    nodes: bool,
) -> None:
    """Say what BUNDLE holds, and where its nodes go.

    It holds config, parameters, parity, states and files; nodes are listed with --provider. The files' sizes are
    checked, their content is not: that is done whenever a bundle is loaded.

    \b
    rrwkv info BUNDLE
    rrwkv info BUNDLE --json
    rrwkv info BUNDLE --provider openvino --nodes
    """
    from rrwkv_export.commands.shared.console import console
    from rrwkv_runtime.common.printable import json_escaped
    from rrwkv_runtime.manifest import Manifest, check_sizes

    asked = (strict, nodes, provider_options, context.get_parameter_source("provider") is not ParameterSource.DEFAULT)
    manifest = Manifest.load(bundle)
    check_sizes(bundle, manifest)
    model = _load(bundle, provider, provider_options, strict) if any(asked) else None
    if as_json:
        placed = {"placement": _placement_json(model, nodes)} if model else {}
        click.echo(json_escaped(json.dumps({**manifest.to_json(), **placed}, indent=2, ensure_ascii=False)))
        return
    screen = console()
    for table in (_model(bundle, manifest), _states(manifest), _files(manifest)):
        screen.print(table)
    for name, there in (model.nodes if model else {}).items():
        screen.print(_placement(f"{name}: where its nodes go", there, named=nodes))


def _load(bundle: Path, provider: str, options: dict[str, str], strict: bool) -> Model:
    from rrwkv_runtime.model import Model

    return Model.load(bundle, provider, provider_options=options, strict=strict)


def _placement_json(model: Model, named: bool) -> dict[str, Any]:
    """Per graph: onnxruntime's provider -> operator -> how many; and every node, if named."""
    from rrwkv_runtime.execution.placement import count
    from rrwkv_runtime.providers import import_onnxruntime

    made: dict[str, Any] = {"provider": model.provider, "onnxruntime": import_onnxruntime().__version__}
    made["graphs"] = {name: count(nodes) for name, nodes in model.nodes.items()}
    if named:
        made["nodes"] = {name: [vars(node) for node in nodes] for name, nodes in model.nodes.items()}
    return made


def _placement(title: str, nodes: list[Node], named: bool) -> Table:
    from rrwkv_runtime.execution.placement import count

    if named:
        table = _table(title, "node", "operator", "provider")
        for node in sorted(nodes, key=lambda node: (node.provider, node.name)):
            table.add_row(node.name, node.operator, node.provider.removesuffix("ExecutionProvider"))
        return table
    table = _table(title, "provider", "nodes", "operators")
    for provider, operators in count(nodes).items():
        listed = ", ".join(f"{operator} {number}" for operator, number in operators.items())
        table.add_row(provider.removesuffix("ExecutionProvider"), f"{sum(operators.values()):,}", listed)
    return table


def _table(title: str, *columns: str) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title), title_justify="left", title_style="bold", show_header=len(columns) > 2)
    for name in columns:
        table.add_column(name, overflow="fold")
    return table


def _model(bundle: Path, manifest: Manifest) -> Table:
    graph, config = manifest.main, manifest.config
    from rich.text import Text

    from rrwkv_export.architectures.mediums import medium_from_json
    from rrwkv_export.commands.shared.endings import describe_ending, describe_thinking

    medium = medium_from_json(config.get("medium"), "manifest.json")
    table = _table(str(bundle), "field", "value")
    facts: list[tuple[str, Any]] = [
        ("architecture", config["architecture"]),
        ("parameters", f"{manifest.parameters:,}"),
        *((name, value) for name, value in config.items() if name not in ("architecture", "medium")),
        *((f"medium {name}", value) for name, value in (vars(medium).items() if medium else ())),
        ("weights", _weights(manifest)),
        ("wkv", manifest.form or "in its only form"),
        ("graph", f"{graph.file}, opset {graph.opset}, chunks of {graph.chunk} tokens"),
        ("tokenizer", manifest.tokenizer.type if manifest.tokenizer else "none: it works on token ids"),
        ("kernels", _kernels(manifest)),
        ("chat", repr(f"{manifest.chat.user}…{manifest.chat.turn_end}{manifest.chat.assistant}")),
        ("end", describe_ending(manifest.chat)),
        *([("thought", thought)] if (thought := describe_thinking(manifest.chat)) else []),
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
        return manifest.main.dtype
    text = said.get("calibration")  # which a bundle from elsewhere may have in any form, as its scheme
    tokens = text.get("tokens") if isinstance(text, dict) else None
    observed = f", calibrated on {tokens:,} tokens" if isinstance(tokens, int) else ""
    return f"quantized: {said.get('scheme', 'by an unknown scheme')}{observed}"


def _kernels(manifest: Manifest) -> str:
    """What computes its graphs on this machine's CPU."""
    from rrwkv_runtime.errors import InputError, ProviderError
    from rrwkv_runtime.execution import native

    if manifest.quantization is None or manifest.main.over != "loop":
        return "onnxruntime's own; those of rrwkv-native are for bundles that are quantized for a CPU"
    try:
        if used := native.find("cpu", None):
            here = ", ".join(native.tables())
            return f"{used.name}, of rrwkv-native {native.version()}; this processor runs {here} (--native)"
        why = native.missing()
    except (InputError, ProviderError) as error:
        return str(error)
    if why:
        return f"none: {why}"
    return f"onnxruntime's own; of rrwkv-native this processor runs {', '.join(native.tables())} (--native)"


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
