"""The tables of the page, and what they say in words."""

from __future__ import annotations

from collections.abc import Sequence

from examples.recall.grid import GENERATIONS, TEXT
from examples.recall.page.results import Model, Results, Spread
from examples.recall.tasks import TASKS
from rrwkv_export.report.render.table import Table


def accuracies(results: Results, task: str) -> Table:
    """Every model that is finished, RRWKV's variants too."""
    models = results.bases(task)
    for family in GENERATIONS:
        for listed in results.variants(task, family).values():
            models += [model for model in listed if model not in models]
    distances = results.plan.distances
    rows = [
        (model.entry.label, *(_share(model.accuracy(d)) for d in distances), f"{model.rate:g}", str(len(model.runs)))
        for model in models
    ]
    columns = ("", *(f"{d:,}{'' if d > results.plan.longest else ' •'}" for d in distances), "rate", "seeds")
    note = "Right answers in per cent: mean, and lowest to highest of the seeds. • trained on distances up to this."
    return Table(f"{task.capitalize()}, by distance", columns, rows, note)


def mediums(results: Results) -> tuple[Table, list[str]]:
    """What mediums change, everything else alike, and the same in words."""
    distances, rows, words = results.plan.distances, list[tuple[str, ...]](), list[str]()
    for task in TASKS:
        for plain, with_mediums in results.pairs(task):
            name = GENERATIONS[plain.entry.family]
            both = [(plain.accuracy(d), with_mediums.accuracy(d)) for d in distances]
            rows.append((f"{task}, {name}", *(_change(one, other) for one, other in both)))
            seeds = min(len(plain.runs), len(with_mediums.runs))
            words.append(_in_words(f"{task} on {name}", distances, [_verdict(*each) for each in both], seeds))
    return _changes("What mediums change", distances, rows), words


def variants(results: Results) -> Table:
    """What mediums change that are squeezed, kept or ended otherwise; none where none is finished."""
    distances, rows = results.plan.distances, list[tuple[str, ...]]()
    for task in TASKS:
        for plain, _ in results.pairs(task):
            for _, *varied in results.variants(task, plain.entry.family).values():
                for model in varied:
                    changes = (_change(plain.accuracy(d), model.accuracy(d)) for d in distances)
                    rows.append((f"{task}, {model.entry.label}", *changes))
    return _changes("What variants of mediums change", distances, rows)


def _changes(title: str, distances: Sequence[int], rows: Sequence[tuple[str, ...]]) -> Table:
    note = (
        "Points of per cent that mediums add to the mean; in brackets where the seeds of one reach into those of the "
        "other, or there are fewer than two of either."
    )
    return Table(title, ("", *(f"{d:,}" for d in distances)), rows, note)


def losses(results: Results) -> tuple[Table, list[str]]:
    """Of language modelling; none where none is finished."""
    models, words = results.bases(TEXT), list[str]()
    positions = sorted(models[0].runs[0].result["loss"], key=_first) if models else []
    rows = [
        (model.entry.label, *(_nats(model.loss(p)) for p in positions), f"{model.rate:g}", str(len(model.runs)))
        for model in models
    ]
    for plain, with_mediums in results.pairs(TEXT) if models else []:
        one, other = plain.loss("trained"), with_mediums.loss("trained")
        found = {"help": "lower it", "hurt": "raise it", "": "do not change it beyond the spread of the seeds"}
        change = found[_verdict(_negative(one), _negative(other))]
        seeds = _seeds(min(len(plain.runs), len(with_mediums.runs)))
        words.append(
            f"The loss on text of {GENERATIONS[plain.entry.family]}: mediums {change}, {one.mean:.3f} to "
            f"{other.mean:.3f} nats a byte ({seeds})."
        )
    columns = ("", *("trained rows" if p == "trained" else f"bytes {p}" for p in positions), "rate", "seeds")
    note = (
        f"Held-out loss in nats a byte: mean, and lowest to highest of the seeds; by position in rows of "
        f"{results.plan.text_measured:,} bytes, after training on rows of {results.plan.text_length}."
    )
    return Table("Loss on real text", columns, rows, note), words


def _first(positions: str) -> int:
    """Of a range of positions; all that rows of a training have come before any."""
    return -1 if positions == "trained" else int(positions.partition("-")[0])


def _in_words(what: str, distances: Sequence[int], verdicts: Sequence[str], seeds: int) -> str:
    """Where mediums help, where they do not, where they hurt."""
    by = {v: [f"{d:,}" for d, found in zip(distances, verdicts) if found == v] for v in ("help", "", "hurt")}
    said = {"help": "mediums help at", "": "do not help at", "hurt": "hurt at"}
    parts = [f"{said[verdict]} {', '.join(found)}" for verdict, found in by.items() if found]
    if parts and not parts[0].startswith("mediums"):
        parts[0] = f"mediums {parts[0]}"
    return f"{what[0].upper()}{what[1:]}: {'; they '.join(parts)} ({_seeds(seeds)})."


def _seeds(count: int) -> str:
    return "one seed, so nothing is shown" if count == 1 else f"{count} seeds"


def _verdict(plain: Spread, with_mediums: Spread) -> str:
    """ "help" or "hurt" where all seeds of one are above all of the other, at least two of each; "" else."""
    if min(len(plain.values), len(with_mediums.values)) < 2:
        return ""
    if with_mediums.low > plain.high:
        return "help"
    return "hurt" if with_mediums.high < plain.low else ""


def _change(plain: Spread, with_mediums: Spread) -> str:
    text = f"{100 * (with_mediums.mean - plain.mean):+.0f}"
    return text if _verdict(plain, with_mediums) else f"({text})"


def _negative(of: Spread) -> Spread:
    return Spread(tuple(-value for value in of.values))


def _share(of: Spread) -> str:
    mean = f"{100 * of.mean:.0f}"
    return mean if len(of.values) == 1 else f"{mean} ({100 * of.low:.0f}–{100 * of.high:.0f})"


def _nats(of: Spread) -> str:
    mean = f"{of.mean:.3f}"
    return mean if len(of.values) == 1 else f"{mean} ({of.low:.3f}–{of.high:.3f})"


def intervals(results: Results) -> Table:
    """What adaptive intervals became."""
    rows = []
    for task in TASKS:
        for family in GENERATIONS:
            for model in results.variants(task, family).get("interval", []):
                if model.runs[0].result["intervals"]:
                    rows.append(
                        (f"{task}, {model.entry.label}", *(_tokens(model, where) for where in ("filler", "recalled")))
                    )
    note = "Tokens per medium: mean, and lowest to highest of the seeds."
    return Table("What adaptive intervals became", ("", "in filler", "where what is recalled lies"), rows, note)


def costs(results: Results) -> Table:
    """Of larger models; none where none is measured."""
    found, positions = results.costs(), results.plan.cost_positions
    columns = ("", *(f"ms at {p:,}" for p in positions), *(f"kB at {p:,}" for p in (positions[0], positions[-1])))
    rows = []
    for entry, result in found:
        seconds, carried = ([float(result[what][str(p)]) for p in positions] for what in ("seconds", "bytes"))
        ends = (f"{carried[at] / 1e3:,.0f}" for at in (0, -1))
        rows.append((entry.label, *(f"{1e3 * each:.2f}" for each in seconds), *ends))
    note = "Milliseconds a token, and kilobytes that are carried, by position."
    return Table("What a token costs", columns, rows, note)


def _tokens(model: Model, where: str) -> str:
    found = model.spread(lambda result: float(result["intervals"][where]))
    return f"{found.mean:.1f} ({found.low:.1f}–{found.high:.1f})"
