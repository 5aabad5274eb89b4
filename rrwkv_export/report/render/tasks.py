"""The table of tasks: what the reference and each bundle answer."""

from __future__ import annotations

from rrwkv_export.evaluate.answers import Answers, Estimate
from rrwkv_export.human import MISSING, count, number
from rrwkv_export.report.render.table import Table
from rrwkv_export.report.result import Report


def tasks(report: Report) -> Table:
    """The reference's answers and each bundle's, task by task."""
    rows = []
    for at, task in enumerate(report.main.tasks):
        rows.append((task.name, report.reference.name, *_answers(task.reference), *[MISSING] * 4))
        for measured in (report.main, *report.against):
            its = measured.tasks[at]
            changed = its.difference
            differences = (_signed_percent(changed.accuracy), _signed(changed.log_p))
            counts = (count(changed.lost), count(changed.won))
            rows.append((task.name, measured.subject.name, *_answers(its.own), *differences, *counts))
    listed = "; ".join(f"{task.name}, {count(len(task.own))} items: {task.own.task.what}" for task in report.main.tasks)
    note = (
        f"{listed}. Figures with their standard errors. By character: log-likelihoods over the choices' lengths. "
        "Perplexity: of the right continuation. Change: the bundle's less the reference's, item by item, which is why "
        "its error is the smaller one; of accuracy, and of log p of the right continuation in nats. Lost and won: "
        "items that the reference alone had right, and the bundle alone."
    )
    columns = (
        "task", "bundle", "accuracy", "by character", "perplexity", "change of accuracy", "of log p", "lost", "won"
    )  # fmt: skip
    return Table("Tasks", columns, rows, note)


def _answers(answers: Answers) -> tuple[str, ...]:
    by_character, perplexity = answers.accuracy_by_character, answers.perplexity
    return (
        _percent(answers.accuracy),
        _percent(by_character) if by_character else MISSING,
        f"{number(perplexity.mean, 4)} ± {number(perplexity.error, 2)}" if perplexity else MISSING,
    )


def _percent(value: Estimate) -> str:
    error = MISSING if value.error is None else f"{100 * value.error:.1f}"
    return f"{100 * value.mean:.1f} ± {error} %"


def _signed_percent(value: Estimate) -> str:
    return ("+" if value.mean > 0 else "") + _percent(value)


def _signed(value: Estimate) -> str:
    return f"{value.mean:+.4f} ± {number(value.error, 2)}"
