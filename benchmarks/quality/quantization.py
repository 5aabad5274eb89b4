"""What quantization costs the demo model: every scheme, 4-bit recipes, and onnxruntime's plain quantizers.

python -m benchmarks.quality.quantization --out docs [--text FILE …] [--calibration FILE]

Calibrates on the text that comes along, measures on the first 16,384 predictions of each text, with the state carried
from dialogue to dialogue, and writes quantization.svg and the measured part of quantize.md, which must be there. Takes
about half an hour on two cores.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np

from benchmarks.machine import describe, peak_memory
from benchmarks.quality.plain import round_to_nearest, static_min_max
from rrwkv_export.checkpoint import open_checkpoint
from rrwkv_export.divergence import Divergence, measure
from rrwkv_export.export import export
from rrwkv_export.human import verdict
from rrwkv_export.markdown import between, table
from rrwkv_export.quantize.quantize import quantize
from rrwkv_export.quantize.recipe import Recipe, parse_recipe
from rrwkv_export.quantize.recipes import EVALUATION_TEXT, TEXT, shipped_recipe
from rrwkv_export.quantize.source import Calibration
from rrwkv_export.report.run import measure as measure_report
from rrwkv_export.texts import read_text
from rrwkv_runtime import Model
from rrwkv_runtime.manifest import Manifest

ASSET = Path(__file__).parents[2] / "rrwkv_export/assets/rrwkv-chat"
TOKENS = 16_384
SCHEMES = ("int8", "int8-static", "int8-dynamic", "int8-weight", "int4", "float16")
_FOUR = """
[default]
weights = 4
inputs = "float"
equalize = 0
rounding = "{rounding}"
block = {block}
[roles.emb]
weights = 8
"""
_EIGHT = """
[roles."{role}"]
weights = 8
block = 64
rounding = "nearest"
"""


def four_bits(rounding: str, block: int, *in_eight: str) -> str:
    """A recipe's TOML: 4 bits, but for the roles that are kept in 8."""
    return _FOUR.format(rounding=rounding, block=block) + "".join(_EIGHT.format(role=role) for role in in_eight)


FRONTIER = {
    "nearest, block 32": four_bits("nearest", 32),
    "GPTQ, block 64": four_bits("gptq", 64),
    "GPTQ, block 32": four_bits("gptq", 32),
    "GPTQ, block 64; head in 8": four_bits("gptq", 64, "head"),
    "GPTQ, block 32; head in 8": four_bits("gptq", 32, "head"),
    "GPTQ, block 32; head, ffn.key in 8": four_bits("gptq", 32, "head", "ffn.key"),
    "GPTQ, block 32; head, att.output, ffn.* in 8": four_bits("gptq", 32, "head", "att.output", "ffn.*"),
}


@dataclass(frozen=True)
class Row:
    """A bundle measured: bytes of graphs and weights, and its figures on each text."""

    name: str
    bytes: int
    found: tuple[Divergence, ...]


class Bench:
    """The float bundle, the texts, and bundles made from it."""

    def __init__(
        self, folder: Path, out: Path, calibration: Path, texts: Sequence[Path], checkpoint: Path = ASSET
    ) -> None:
        self.folder, self.out, self.reference = folder, out, folder / "float32"
        self.labels = [path.name for path in texts]
        export(open_checkpoint(checkpoint), self.reference)
        self.calibration = Calibration.read([calibration], self.reference)
        self.ids = [read_text(path, self.reference).ids[: TOKENS + 1] for path in texts]
        self._model = Model.load(self.reference)

    def make(self, name: str, recipe: Recipe) -> Path:
        out = self.folder / "".join(c if c.isalnum() else "-" for c in name)
        quantize(self.reference, out, recipe, self.calibration)
        return out

    def row(self, name: str, bundle: Path, chunk: int | None = None) -> Row:
        model = Model.load(bundle)
        found = tuple(measure(self._model, model, ids, other_chunk=chunk) for ids in self.ids)
        print(f"{name}: KL {found[0].kl:.5f}", file=sys.stderr, flush=True)
        return Row(name, size(bundle), found)


def size(bundle: Path) -> int:
    """Bytes of graphs and weights."""
    manifest = Manifest.load(bundle)
    files = {name for graph in manifest.graphs.values() for name in (graph.file, *graph.data)}
    return sum(entry.bytes for entry in manifest.files if entry.name in files)


def show(rows: Sequence[Row], texts: Sequence[str]) -> str:
    heads = ["recipe", "MB", *(f"{text}: {what}" for text in texts for what in ("perplexity", "mean KL", "top-1"))]
    body = [
        [
            row.name,
            f"{row.bytes / 1e6:.2f}",
            *(x for d in row.found for x in (f"{d.perplexity:.3f}", f"{d.kl:.5f}", f"{d.top1:.2%}")),
        ]
        for row in rows
    ]
    return table(heads, body)


def itself(bundle: Path, ids: np.ndarray) -> Divergence:
    """The same bundle in chunks of 256 tokens and token by token."""
    return measure(Model.load(bundle), Model.load(bundle), ids, other_chunk=1)


def drift(bundle: Path, reference: Path, text: Path) -> str:
    """Whether each state's error grows with the horizon."""
    made = measure_report(bundle, reference, [text], tokens=TOKENS, speed=False)
    rows = []
    for name, state in made.main.first.drift.states.items():
        quarters = state.quarters or (0.0,) * 4
        ratio = quarters[3] / quarters[1] if quarters[1] else 0.0
        cells = [f"{value:.4f}" for value in quarters]
        rows.append([name, *cells, f"{ratio:.3f}", verdict(state.flat)])
    return table(["state", "1st quarter", "2nd", "3rd", "last", "last / 2nd", ""], rows)


def plot(path: Path, points: Sequence[Row], plain: Sequence[Row]) -> None:
    """KL against megabytes, and the line of what no other point is better than."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "rrwkv-export"
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 5), layout="constrained")
    for rows, marker, label in ((points, "o", "rrwkv quantize"), (plain, "s", "onnxruntime's own quantizer")):
        axes.scatter([r.bytes / 1e6 for r in rows], [r.found[0].kl for r in rows], marker=marker, label=label)
        for i, r in enumerate(sorted(rows, key=lambda r: r.found[0].kl)):
            above = (5, 4 if i % 2 else -9)  # neighbours' names in turn above and below
            axes.annotate(r.name, (r.bytes / 1e6, r.found[0].kl), above, textcoords="offset points", fontsize=7)
    best = [r for r in points if not any(o.bytes < r.bytes and o.found[0].kl < r.found[0].kl for o in points)]
    best.sort(key=lambda r: r.bytes)
    axes.plot([r.bytes / 1e6 for r in best], [r.found[0].kl for r in best], linewidth=1, zorder=0)
    axes.set(xlabel="graphs and weights, MB", ylabel="mean KL divergence, nats", yscale="log")
    axes.margins(x=0.35)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, metadata={"Date": None})


def plain_rows(bench: Bench) -> list[Row]:
    static = static_min_max(bench.reference, bench.folder, bench.calibration)
    nearest = {block: round_to_nearest(bench.reference, bench.folder, block) for block in (32, 128)}
    return [
        bench.row("onnxruntime: static int8, min-max", static),
        *(bench.row(f"onnxruntime: 4 bits, nearest, block {block}", bundle) for block, bundle in nearest.items()),
    ]


def page(bench: Bench, cost: str, schemes: list[Row], four: list[Row], bundles: dict[str, Path], text: Path) -> str:
    reference = ", ".join(f"{d.reference_perplexity:.3f}" for d in schemes[0].found)
    plain = plain_rows(bench)
    points = [*four, next(row for row in schemes if row.name == "int4")]
    plot(bench.out / "quantization.svg", points, plain[1:])
    agreement = itself(bundles["int8-static"], bench.ids[0])
    return "\n".join(
        [
            f"Written by `python -m benchmarks.quality.quantization`. {describe()}.\n",
            f"Calibrated on {bench.calibration.tokens:,} tokens; measured on the first {TOKENS:,} predictions of "
            f"{' and '.join(bench.labels)} against float32 (perplexity {reference}). MB of graphs and weights.\n",
            show([*schemes, *plain], bench.labels),
            "\nonnxruntime's own leave the embedding and the mediums in float; their 4 bits are symmetric.\n",
            "### Four bits\n\n![KL against bytes](quantization.svg)\n",
            show(points, bench.labels),
            "\n### int8-static agrees with itself\n",
            f"In chunks of 256 tokens and token by token: mean KL {agreement.kl:.1e}, top-1 {agreement.top1:.2%}.\n",
            f"### Drift of int8's states over {TOKENS:,} tokens\n",
            "Relative error, mean over layers and each quarter of the text.\n",
            drift(bundles["int8"], bench.reference, text),
            f"\n### The cost of quantizing\n\n{cost}\n",
        ]
    )


def main(out: Path, calibration: Path, texts: Sequence[Path]) -> None:
    there = out / "quantize.md"
    between(there.read_text(encoding="utf-8"), "measured", "")  # half an hour before it is written
    with tempfile.TemporaryDirectory() as temporary:
        bench = Bench(Path(temporary), out, calibration, texts)
        with peak_memory() as memory:
            memory.lap()
            started = perf_counter()
            bundles = {"int8": bench.make("int8", shipped_recipe("int8"))}
            cost = f"int8: {perf_counter() - started:.0f} s, {memory.lap() / 1e6:.0f} MB of anonymous memory at most."
        bundles |= {name: bench.make(name, shipped_recipe(name)) for name in SCHEMES if name not in bundles}
        schemes = [bench.row(name, bundle) for name, bundle in bundles.items()]
        schemes.append(bench.row("int8-dynamic, token by token", bundles["int8-dynamic"], chunk=1))
        recipes = {name: parse_recipe(f'scheme = "{name}"\n{text}') for name, text in FRONTIER.items()}
        four = [bench.row(name, bench.make(name, recipe)) for name, recipe in recipes.items()]
        written = page(bench, cost, schemes, four, bundles, texts[0])
        there.write_text(between(there.read_text(encoding="utf-8"), "measured", written), encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--calibration", type=Path, default=TEXT)
    parser.add_argument("--text", type=Path, nargs="+", default=[EVALUATION_TEXT])
    given = parser.parse_args()
    main(given.out, given.calibration, given.text)
