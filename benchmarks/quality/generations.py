"""What quantization costs a trained model of another generation: every scheme, what each role costs, drift by head.

python -m benchmarks.quality.generations CHECKPOINT --out docs [--text FILE]

Written between the marks of quantize.md that bear the architecture's name. Half an hour on two cores for 13 million
parameters.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.machine import describe
from benchmarks.quality.quantization import SCHEMES, TOKENS, Bench, Row, drift, size
from rrwkv_export.markdown import between, table
from rrwkv_export.quantize.recipes import EVALUATION_TEXT, TEXT, shipped_recipe
from rrwkv_export.quantize.search.sensitivity import SAMPLES, Cost, Scale, sensitivity
from rrwkv_export.quantize.source import Source

KINDS = ("static 8", "weight 8", "weight 4")
_SIZE = "Size: of the float32 bundle's graphs and weights."
_ROLES = "Each role rounded alone, mean KL in 1e-4 nats on 2,048 tokens of the calibration text that are not observed:"
_MEAN = "mean over layers (and heads) and each quarter of the text"


def schemes_table(rows: Sequence[Row], whole: int) -> str:
    """The schemes by what they cost and what part of the float32 bundle's graphs and weights they take."""
    cells = [
        [
            r.name,
            f"{r.bytes / whole:.3f}",
            f"{r.found[0].perplexity:.3f}",
            f"{r.found[0].kl:.5f}",
            f"{r.found[0].top1:.2%}",
        ]
        for r in rows
    ]
    return table(["scheme", "size", "perplexity", "mean KL", "top-1"], cells)


def roles_table(costs: Sequence[Cost]) -> str:
    """Mean KL of each role rounded alone, in 1e-4 nats."""
    by_role: dict[str, dict[str, float]] = {}
    for cost in costs:
        by_role.setdefault(cost.role, {})[cost.kind] = cost.kl
    cells = [
        [role, *(f"{1e4 * kl[kind]:.2f}" if kind in kl else "–" for kind in KINDS)] for role, kl in by_role.items()
    ]
    return table(["role", *KINDS], cells)


def main(checkpoint: Path, out: Path, text: Path) -> None:
    there = out / "quantize.md"
    with tempfile.TemporaryDirectory() as temporary:
        bench = Bench(Path(temporary), out, TEXT, [text], checkpoint)
        source = Source.open(bench.reference)
        name = source.config.architecture
        between(there.read_text(encoding="utf-8"), name, "")  # before the half hour
        bundles = {scheme: bench.make(scheme, shipped_recipe(scheme, name)) for scheme in SCHEMES}
        rows = [bench.row(scheme, bundle) for scheme, bundle in bundles.items()]
        observed, ids = bench.calibration.split(2048, SAMPLES)
        base = shipped_recipe("int8-static", name)
        costs = sensitivity(source, observed, Scale(source, ids), kinds=KINDS, base=base)
        about = f"Calibrated on {bench.calibration.tokens:,} tokens; measured on the first {TOKENS:,} predictions of"
        perplexity = rows[0].found[0].reference_perplexity
        written = [
            f"Written by `python -m benchmarks.quality.generations`. {describe()}.\n",
            f"{about} {text.name} against float32 (perplexity {perplexity:.3f}). {_SIZE}\n",
            schemes_table(rows, size(bench.reference)),
            f"\n{_ROLES}\n",
            roles_table(costs),
            f"\nDrift of int8's states over {TOKENS:,} tokens, {_MEAN}:\n",
            drift(bundles["int8"], bench.reference, text),
        ]
    there.write_text(between(there.read_text(encoding="utf-8"), name, "\n".join(written)), encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--text", type=Path, default=EVALUATION_TEXT)
    given = parser.parse_args()
    main(given.checkpoint, given.out, given.text)
