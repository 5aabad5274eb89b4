"""What quantization costs in tasks: a float32 bundle beside others of its model, in one table.

python -m benchmarks.quality.tasks FLOAT BUNDLE … --name NAME --out docs

Written between the marks of evaluate.md that bear NAME. Half a minute a bundle of 13 million parameters.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.machine import describe
from rrwkv_export.bench.plan import scheme
from rrwkv_export.evaluate.answers import Answers, Estimate, difference
from rrwkv_export.evaluate.run import evaluate
from rrwkv_export.markdown import between, table
from rrwkv_runtime import Model

PAGE = "evaluate.md"
COLUMNS = (
    "task", "weights", "accuracy", "by character", "perplexity", "change of accuracy", "of log p", "lost", "won"
)  # fmt: skip


def row(name: str, answers: Answers, reference: Answers) -> list[str]:
    """Figures with their standard errors, and what changed against the reference, if this is another."""
    by_character, perplexity = answers.accuracy_by_character, answers.perplexity
    figures = [
        percent(answers.accuracy),
        percent(by_character) if by_character else "–",
        plain(perplexity, ".0f") if perplexity else "–",
    ]
    if answers is reference:
        return [answers.task.name, name, *figures, *["–"] * 4]
    changed = difference(answers, reference)
    changes = [percent(changed.accuracy, "+"), plain(changed.log_p, "+.3f"), str(changed.lost), str(changed.won)]
    return [answers.task.name, name, *figures, *changes]


def percent(value: Estimate, sign: str = "") -> str:
    return f"{100 * value.mean:{sign}.1f} ± {100 * (value.error or 0):.1f} %"


def plain(value: Estimate, form: str) -> str:
    return f"{value.mean:{form}} ± {value.error or 0:{form.removeprefix('+')}}"


def main(bundles: list[Path], name: str, out: Path) -> None:
    page = out / PAGE
    between(page.read_text(encoding="utf-8"), name, "")  # before the minutes
    found = []
    for bundle in bundles:
        model = Model.load(bundle)
        found.append((scheme(model.manifest), evaluate(model)))
    reference = found[0][1]
    rows = [row(what, its[i], reference[i]) for i in range(len(reference)) for what, its in found]
    written = f"Written by `python -m benchmarks.quality.tasks`. {describe()}.\n\n{table(COLUMNS, rows)}"
    page.write_text(between(page.read_text(encoding="utf-8"), name, written), encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", type=Path, nargs="+", help="a float32 bundle, and what was made of it")
    parser.add_argument("--name", required=True, help="whose marks")
    parser.add_argument("--out", type=Path, required=True, help="where evaluate.md is")
    given = parser.parse_args()
    main(given.bundles, given.name, given.out)
