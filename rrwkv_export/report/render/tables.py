"""The tables of a report, which the page and the Markdown share."""

from __future__ import annotations

from typing import Any

from rrwkv_export.architectures.linears import ROLES
from rrwkv_export.human import MISSING, count, megabytes, milliseconds, number, percent, ratio, verdict
from rrwkv_export.report.measure.drift import GROWTH, RULED_OUT
from rrwkv_export.report.render.table import Table
from rrwkv_export.report.render.tasks import tasks
from rrwkv_export.report.result import Measured, Report

_MOST_ROWS, _LONGEST = 80, 200


def tables(report: Report) -> list[Table]:
    """All that have something to say, in the order of the page."""
    made = [
        texts(report),
        comparison(report),
        tasks(report),
        drift(report),
        *heads(report),
        layers(report),
        size_and_speed(report),
        placement(report),
        recipe(report),
        sources(report),
        machine(report),
    ]
    return [table for table in made if table.rows]


def gates(report: Report) -> Table:
    rows = [
        (f"--{gate.name}", number(gate.limit), number(gate.value, 4), gate.text, "passed" if gate.passed else "broken")
        for gate in report.gates
    ]
    return Table("Gates", ("gate", "limit", "value", "text", ""), rows)


def headline(report: Report) -> Table:
    columns = ("", report.reference.name, report.main.subject.name, "")
    return Table("Headline", columns, [tuple(r) for r in report.headline()])


def texts(report: Report) -> Table:
    """One column for each text."""
    comparisons = report.main.comparisons
    found: dict[str, list[str]] = {}
    for each in comparisons:
        f = each.figures
        figures = {
            "predictions": count(f.tokens),
            "perplexity of the reference": number(f.reference_perplexity, 5),
            "perplexity": number(f.perplexity, 5),
            "perplexity ratio": number(f.perplexity_ratio, 5),
            "KL divergence, mean (nats)": number(f.kl.mean),
            "KL divergence, median": number(f.kl.median),
            "KL divergence, p90": number(f.kl.p90),
            "KL divergence, p99": number(f.kl.p99),
            "KL divergence, max": number(f.kl.max),
            "top-1 agreement": percent(f.top1_agreement),
            "top-5 agreement": percent(f.top5_agreement),
            "correct token's probability, mean change": number(f.probability_change.mean),
            "correct token's probability, RMS change": number(f.probability_change.rms),
            "drift, largest last quarter": percent(each.drift.largest),
            "drift": verdict(each.drift.flat),
        }
        for name, value in figures.items():
            found.setdefault(name, []).append(value)
    note = (
        "Perplexity: exp of the mean of −log p of the token that came. KL(reference ‖ bundle): Σ p (log p − log q); 90 "
        "and 99 of 100 predictions have less than p90 and p99. Top-1: predictions whose likeliest token is the same. "
        "Top-5: the share of the reference's five likeliest tokens that are among the bundle's five. The change of the "
        "correct token's probability is the bundle's less the reference's, from -1 to 1. Drift: the relative error of "
        "the state farthest off, mean over the last quarter of the text."
    )
    columns = ("", *(each.text.name for each in comparisons))
    return Table("Accuracy", columns, [(name, *values) for name, values in found.items()], note)


def comparison(report: Report) -> Table:
    """The bundle and those beside it: a line for each, on each text."""
    if not report.against:
        return Table("Comparison", (), [])
    columns = (
        "bundle", "text", "scheme", "graph and weights", "perplexity", "mean KL", "p99 KL", "top-1", "top-5", "drift",
        "decode",
    )  # fmt: skip
    rows = [row for measured in (report.main, *report.against) for row in _comparison_rows(measured)]
    note = f"All against {report.reference.name}, measured as above; KL in nats, decode a token."
    return Table("Comparison", columns, rows, note)


def _comparison_rows(measured: Measured) -> list[tuple[str, ...]]:
    subject, speed = measured.subject, measured.speed
    return [
        (
            subject.name,
            each.text.name,
            subject.scheme,
            megabytes(subject.size.graphs),
            number(each.figures.perplexity, 5),
            number(each.figures.kl.mean),
            number(each.figures.kl.p99),
            percent(each.figures.top1_agreement),
            percent(each.figures.top5_agreement),
            verdict(each.drift.flat),
            milliseconds(speed[1].decode_ms) if speed else MISSING,
        )
        for each in measured.comparisons
    ]


def drift(report: Report) -> Table:
    first = report.main.first
    rows = []
    for name, state in first.drift.states.items():
        quarters = [percent(value) for value in state.quarters] if state.quarters else [MISSING] * 4
        rows.append((name, *quarters, ratio(state.ratio), verdict(state.flat)))
    note = (
        "‖a − b‖ / ‖b‖ after every chunk, mean over the layers and each quarter of the text. Growing: from the second "
        f"quarter to the last by more than {GROWTH:g} times and more than three standard errors; flat: two of them "
        f"rule out {RULED_OUT:g} times; else the text is too short to tell. wkv is A / B, matrix is S; shift.att and "
        "shift.ffn are the last LayerNorm outputs."
    )
    columns = ("state", "1st quarter", "2nd", "3rd", "4th", "4th / 2nd", "")
    return Table(f"Drift over {count(first.figures.tokens)} tokens", columns, rows, note)


def heads(report: Report) -> list[Table]:
    """Of each state that has heads, a row for every layer."""
    made = []
    for name, state in report.main.first.drift.states.items():
        if state.by_head is None:
            continue
        rows = [
            (str(layer), percent(float(row.mean())), percent(float(row.max())), " ".join(f"{100 * e:.2g}" for e in row))
            for layer, row in enumerate(state.by_head)
        ]
        note = "‖a − b‖ / ‖b‖ of each head, mean over the last quarter of the text."
        made.append(Table(f"Drift of {name} by layer and head", ("layer", "mean", "worst", "by head, %"), rows, note))
    return made


def layers(report: Report) -> Table:
    errors = {(linear.role, linear.layer): error for linear, error in report.layers.errors.items()}
    rows = []
    for role in ROLES:
        values = [error for (its, _), error in errors.items() if its == role]
        if values:
            by_layer = " ".join(f"{100 * value:.2g}" for value in values)
            rows.append((role, percent(sum(values) / len(values)), percent(max(values)), by_layer))
    note = (
        f"‖a − b‖ / ‖b‖ of each product's output over {count(report.layers.tokens)} tokens, with what reaches it from "
        "the layers before. Outputs through which scales can be moved (att.value, low_rank.g2, ffn.key, medium.down) "
        "are compared channel by channel up to one factor."
    )
    return Table("Error by layer and role", ("role", "mean", "worst", "by layer, %"), rows, note)


def size_and_speed(report: Report) -> Table:
    theirs, mine = report.reference.size, report.main.subject.size
    sizes: list[tuple[str, int | None, int | None]] = [
        ("graph and weights", theirs.graphs, mine.graphs),
        ("whole bundle", theirs.bundle, mine.bundle),
        ("state of a conversation", theirs.state, mine.state),
        ("peak memory of a process", theirs.peak, mine.peak),
        ("memory above imports", theirs.above_imports, mine.above_imports),
    ]
    rows = [
        (name, megabytes(a), megabytes(b), ratio(b / a if a else None))
        for name, a, b in sizes
        if a is not None and b is not None
    ]
    note = "MB are 10⁶ bytes."
    if mine.peak is not None:
        note += (
            " Memory: the most that is resident at a time in a process that loads the bundle, reads 256 tokens and "
            "generates 32, mapped files included; above imports is what came after Python and the packages."
        )
    if report.main.speed:
        a, b = report.main.speed
        decode = (
            "decode, a token",
            milliseconds(a.decode_ms),
            milliseconds(b.decode_ms),
            ratio(b.decode_ms / a.decode_ms),
        )
        prefill = ("prefill, tokens/s", count(a.prefill), count(b.prefill), ratio(b.prefill / a.prefill))
        rows += [decode, prefill]
        note += " Speeds were measured in alternation, medians; other work on the machine shows in them."
    columns = ("", report.reference.name, report.main.subject.name, "ratio")
    return Table("Size and speed", columns, rows, note)


def placement(report: Report) -> Table:
    rows = []
    for provider, operators in report.placement.items():
        listed = ", ".join(f"{operator} {number_of}" for operator, number_of in operators.items())
        rows.append((provider, count(sum(operators.values())), listed))
    on_cpu = report.machine["provider"] == "cpu"
    note = "After onnxruntime's own optimizations." if on_cpu else "As assigned, before the provider compiles them."
    return Table("Where each node ran", ("provider", "nodes", "operators"), rows, note)


def recipe(report: Report) -> Table:
    """The recipe in short; the page and report.json hold all of it."""
    rows = [row for row in _flat(report.main.subject.recipe or {}) if 0 < len(row[1]) <= _LONGEST]
    return Table("Recipe", ("", ""), rows[:_MOST_ROWS])


def _flat(value: Any, name: str = "") -> list[tuple[str, str]]:
    """Nested fields by dotted names. A mapping of plain values is one line; so are equal ones side by side."""
    if not isinstance(value, dict):
        plain = value if isinstance(value, list) else [value]
        return [(name, ", ".join(str(item) for item in plain))]
    if name and not any(isinstance(item, dict) for item in value.values()):
        return [(name, ", ".join(f"{key} {item}" for key, item in value.items()))]
    rows: list[tuple[str, str]] = []
    for key, item in value.items():
        for its, shown in _flat(item, f"{name}.{key}" if name else str(key)):
            if rows and isinstance(item, dict) and rows[-1][1] == shown:
                its, shown = f"{rows.pop()[0]}, {its.removeprefix(f'{name}.')}", shown
            rows.append((its, shown))
    return rows


def sources(report: Report) -> Table:
    """What was compared, by hash."""
    bundles = [("reference", report.reference), ("bundle", report.main.subject)]
    bundles += [("beside it", measured.subject) for measured in report.against]
    rows = [(what, s.name, f"{s.scheme}, bundle id {s.bundle_id}") for what, s in bundles]
    rows += [("text", each.text.name, f"sha256 {each.text.sha256}") for each in report.main.comparisons]
    rows.append(("model", "", f"model id {report.reference.model_id}"))
    rows.append(("read", "", f"in chunks of {report.chunk} tokens, the state carried throughout"))
    return Table("What was compared", ("", "", ""), rows)


def machine(report: Report) -> Table:
    return Table("Machine and versions", ("", ""), list(report.machine.items()))
