"""Grid after grid: quantize each bundle by each recipe once, read every text, time what was made; then the page.

    DIR/sweep.html, sweep.md   the frontier
    DIR/sweep.sqlite           what every run gave; DIR/sweep.json, what all of them depend on
    DIR/bundles                what was made; what is no longer there is made again

Speeds are measured here, bundles in alternation, even where other runs are on Ray: what another machine takes for a
token, or this one while it does something else, is not to be compared.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rrwkv_export.atomic import check_target, new_file, require_space
from rrwkv_export.errors import OutputError, RunError
from rrwkv_export.progress import Progress
from rrwkv_export.runs import Run, Store, execute
from rrwkv_export.sweep.page import render_html, render_markdown
from rrwkv_export.sweep.plan import BUNDLES, Bundle, Plan, Quantized
from rrwkv_export.sweep.points import Point, Speed, float_point, point
from rrwkv_export.sweep.work import this_machine
from rrwkv_runtime.common.reading import read_utf8
from rrwkv_runtime.errors import BundleError, InputError
from rrwkv_runtime.manifest import Manifest, check_sizes

STORE, SETTINGS, PAGE, MARKDOWN = "sweep.sqlite", "sweep.json", "sweep.html", "sweep.md"
_FORMAT = {"format": "rrwkv-sweep", "format_version": 1}
Say = Callable[[str], None]
Results = Mapping[str, dict[str, Any]]


@dataclass(frozen=True)
class Swept:
    """What a sweep came to. made: the bundle ids of what was quantized. machine: on what speeds were measured, and the
    share of timings that other work disturbed; None without. failed: name of a run, and its error.
    """

    plan: Plan
    made: Mapping[Quantized, str]
    points: tuple[Point, ...]
    machine: str | None
    disturbed: float
    failed: Mapping[str, str]

    def require(self) -> None:
        """Raises RunError if runs failed, naming the first."""
        for name, error in self.failed.items():
            more = f" (and {len(self.failed) - 1} more)" if len(self.failed) > 1 else ""
            raise RunError(f"{name} failed{more}: {error}; the same command tries again what failed")


def sweep(
    plan: Plan,
    out: Path,
    *,
    speed: bool = True,
    ray: str | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
    say: Say = print,
) -> Swept:
    """Run what of a plan is not finished in the folder, and write its page. Raises OutputError, RunError.

    A run that fails stops no other, nor the page: the result's `require` tells. ray, workers: as of `runs.execute`.
    """
    _begin(plan, out)
    store = Store(out / STORE)

    def done(runs: Sequence[Run], where: str | None) -> Results:
        execute(_once(runs), store, ray=where, workers=workers, progress=progress, say=say)
        kept = _kept(store)
        return {run.key: kept[run.key] for run in runs if run.key in kept}

    quantizing = {each: plan.quantizing(each) for each in plan.quantized(out)}
    _forget_gone(store, quantizing, say)
    _check_space(out, store, quantizing)
    results = dict(done(list(quantizing.values()), ray))
    made = {each: results[run.key] for each, run in quantizing.items() if run.key in results}
    measuring = {
        (each, text.name): plan.measuring(each, its["bundle_id"], text)
        for each, its in made.items()
        for text in plan.texts
    }
    results |= done(list(measuring.values()), ray)
    timing = {bundle: plan.timing(bundle, _folders(bundle, made), this_machine()) for bundle in plan.bundles if speed}
    results |= done(list(timing.values()), None)
    times = {bundle: results[run.key] for bundle, run in timing.items() if run.key in results}
    runs = [*quantizing.values(), *measuring.values(), *timing.values()]
    errors = store.failed()
    swept = Swept(
        plan,
        {each: its["bundle_id"] for each, its in made.items()},
        tuple(_points(plan, made, {cell: results.get(run.key) for cell, run in measuring.items()}, times)),
        next((its["machine"] for its in times.values()), None),
        max((its["disturbed"] for its in times.values()), default=0.0),
        {run.name: errors[run.key] for run in runs if run.key in errors},
    )
    for name, text in ((PAGE, render_html(swept)), (MARKDOWN, render_markdown(swept))):
        with new_file(out / name) as place:
            place.write_bytes(text.encode("utf-8", "replace"))
    return swept


def _once(runs: Sequence[Run]) -> list[Run]:
    """Each by its first name: copies of a bundle or a text share runs, and so do recipes that make the same bundle."""
    found: dict[str, Run] = {}
    for run in runs:
        found.setdefault(run.key, run)
    return list(found.values())


def _kept(store: Store) -> dict[str, dict[str, Any]]:
    return {finished.key: finished.result for finished in store.finished()}


def _forget_gone(store: Store, quantizing: Mapping[Quantized, Run], say: Callable[[str], None]) -> None:
    """Finished runs of which what they made is not in its folder, or is something else by now, are to be run again."""
    kept = _kept(store)
    finished = {each: kept[run.key] for each, run in quantizing.items() if run.key in kept}
    gone = {each: quantizing[each] for each, its in finished.items() if not _is_there(each.folder, its["bundle_id"])}
    for each, run in gone.items():
        say(f"{run.name}: not in {each.folder}, so it is made again")
    store.forget(gone.values())


def _is_there(folder: Path, known: str) -> bool:
    try:
        manifest = Manifest.load(folder)
        check_sizes(folder, manifest)
    except (BundleError, OSError):
        return False
    return manifest.bundle_id == known


def _folders(bundle: Bundle, made: Mapping[Quantized, dict[str, Any]]) -> dict[str, str]:
    return {its["bundle_id"]: str(each.folder) for each, its in made.items() if each.bundle is bundle}


def _points(
    plan: Plan,
    made: Mapping[Quantized, dict[str, Any]],
    figures: Mapping[tuple[Quantized, str], dict[str, Any] | None],
    times: Mapping[Bundle, dict[str, Any]],
) -> list[Point]:
    points = []
    for bundle in plan.bundles:
        mine = [each for each in made if each.bundle is bundle]
        for text in plan.texts:
            found = [(each, its) for each in mine if (its := figures[each, text.name]) is not None]
            if found:
                speed = _speed(times.get(bundle), bundle.id)
                points.append(float_point(bundle.name, text.name, bundle.bytes, found[0][1], speed))
            for each, its in found:
                speed = _speed(times.get(bundle), made[each]["bundle_id"])
                points.append(point(bundle.name, each.recipe.name, text.name, made[each]["bytes"], its, speed))
    return points


def _speed(times: dict[str, Any] | None, known: str) -> Speed | None:
    return Speed(times["decode_ms"][known], times["prefill"][known]) if times else None


def _begin(plan: Plan, out: Path) -> None:
    """Make the folder, or go on in it if it is of the same settings. Raises OutputError."""
    fields = {**_FORMAT, "settings": asdict(plan.settings), "calibration": [text.id for text in plan.calibration]}
    if not os.path.lexists(out):
        check_target(out)
        with new_file(out / SETTINGS) as place:
            place.write_text(json.dumps(fields, indent=1) + "\n", encoding="utf-8")
        return
    try:
        found = json.loads(read_utf8(out / SETTINGS, 1 << 20))
    except (InputError, ValueError, RecursionError):
        raise OutputError(f"{out} exists and is not a sweep; choose another name") from None
    if found != fields:
        other = next((name for name in fields if not isinstance(found, dict) or found.get(name) != fields[name]), "it")
        raise OutputError(f"{out} is another sweep ({_other(other, found, fields)}); choose another name")


def _other(what: str, found: Any, fields: Mapping[str, Any]) -> str:
    """What of its settings is another, for people."""
    if what == "settings" and isinstance(was := found.get("settings"), dict):
        name = next((name for name, value in fields["settings"].items() if was.get(name) != value), what)
        return f"{name} {was.get(name)}, not {fields['settings'].get(name)}"
    return "calibrated on another text" if what == "calibration" else f"its {what} is another"


def _check_space(out: Path, store: Store, quantizing: Mapping[Quantized, Run]) -> None:
    """Raises OutputError where what is to be made finds no room."""
    kept = store.finished_keys()
    # A byte each: what 8 bits take, and quantizing looks once more.
    needed = {run.key: each.bundle.parameters for each, run in quantizing.items() if run.key not in kept}
    require_space(out / BUNDLES, sum(needed.values()))
