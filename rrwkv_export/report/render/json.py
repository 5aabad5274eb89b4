"""report.json: all figures, for programs. What is not finite is null."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from rrwkv_export.evaluate.answers import Answers
from rrwkv_export.report.measure.compare import Comparison
from rrwkv_export.report.measure.drift import Drift, StateDrift
from rrwkv_export.report.measure.metrics import EDGES, Figures
from rrwkv_export.report.measure.speed import Speed
from rrwkv_export.report.measure.tasks import Answered
from rrwkv_export.report.result import Measured, Report, Subject
from rrwkv_runtime.common.printable import json_escaped

Json = dict[str, Any]
FORMAT_VERSION = 1


def render_json(report: Report, files: Mapping[str, str] | None = None) -> str:
    """files: the sha256 of the files beside it, by name."""
    fields = {**to_json(report), "files": dict(files or {})}
    fields["report_id"] = report_id(fields)
    return json_escaped(json.dumps(fields, indent=1, ensure_ascii=False, allow_nan=False)) + "\n"


def report_id(fields: Mapping[str, Any]) -> str:
    """sha256 over all of report.json but this field; `files` brings the other files' own sha256 in."""
    content = {name: value for name, value in fields.items() if name != "report_id"}
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def to_json(report: Report) -> Json:
    """The report as plain values; the headline's fields are of the first text."""
    first, *further = (_comparison(each) for each in report.main.comparisons)
    fields = {
        "format": "rrwkv-report",
        "format_version": FORMAT_VERSION,
        "verdict": report.verdict(),
        "headline": report.headline(),
        "reference": _subject(report.reference),
        "bundle": _subject(report.main.subject),
        "chunk": report.chunk,
        "asked": report.main.first.asked,
        **first,
        "texts": further,
        "layers": {
            "tokens": report.layers.tokens,
            "errors": {linear.name: error for linear, error in report.layers.errors.items()},
            "missing": [linear.name for linear in report.layers.missing],
        },
        "bytes": {"reference": asdict(report.reference.size), "bundle": asdict(report.main.subject.size)},
        "speed": _speed(report.main.speed),
        "tasks": [_task(task) for task in report.main.tasks],
        "nodes": report.placement,
        "continuations": [asdict(each) for each in report.continuations],
        "gates": [{**asdict(gate), "passed": gate.passed} for gate in report.gates],
        "comparison": [_measured(measured) for measured in report.against],
        "recipe": report.main.subject.recipe,
        "machine": report.machine,
        "notes": report.notes(),
    }
    cleaned: Json = _cleaned(fields)
    return cleaned


def _subject(subject: Subject) -> Json:
    names = ("name", "bundle_id", "model_id", "scheme")
    return {name: getattr(subject, name) for name in names}


def _comparison(comparison: Comparison) -> Json:
    text, kl = comparison.text, asdict(comparison.figures.kl)
    fields = _figures(comparison.figures)
    fields["kl"] = {**kl, "histogram": {"edges": EDGES, "counts": comparison.histogram}}
    return {
        "text": {"name": text.name, "sha256": text.sha256},
        **fields,
        "by_position": [{"start": place.start, **_figures(place.figures)} for place in comparison.places],
        "drift": _drift(comparison.drift),
    }


def _figures(figures: Figures) -> Json:
    return {**asdict(figures), "perplexity_ratio": figures.perplexity_ratio}


def _drift(drift: Drift) -> Json:
    states = {name: _state_drift(state) for name, state in drift.states.items()}
    return {"flat": drift.flat, "largest": drift.largest, "states": states}


def _state_drift(state: StateDrift) -> Json:
    return {
        "flat": state.flat,
        "ratio": state.ratio,
        "log_ratio_standard_error": state.growth[1] if state.growth else None,
        "quarters": state.quarters,
        "positions": state.positions,
        "by_layer": state.by_layer,
        **({} if state.by_head is None else {"by_head_last_quarter": state.by_head}),
    }


def _speed(speed: tuple[Speed, Speed] | None) -> Json | None:
    if speed is None:
        return None
    reference, own = speed
    return {
        "decode_ms": {"reference": reference.decode_ms, "bundle": own.decode_ms},
        "prefill_tokens_per_second": {"reference": reference.prefill, "bundle": own.prefill},
    }


def _task(task: Answered) -> Json:
    changed = task.difference
    return {
        "task": task.name,
        "items": len(task.own),
        "reference": _answers(task.reference),
        "bundle": _answers(task.own),
        "difference": {
            "accuracy": asdict(changed.accuracy),
            "log_p": asdict(changed.log_p),
            "lost": changed.lost,
            "won": changed.won,
        },
    }


def _answers(answers: Answers) -> Json:
    """Means with their standard errors; null for what the task has not."""
    figures = {
        "accuracy": answers.accuracy,
        "accuracy_by_character": answers.accuracy_by_character,
        "perplexity": answers.perplexity,
    }
    return {name: asdict(figure) if figure else None for name, figure in figures.items()}


def _measured(measured: Measured) -> Json:
    return {
        "bundle": _subject(measured.subject),
        "bytes": asdict(measured.subject.size),
        "speed": _speed(measured.speed),
        "tasks": [_task(task) for task in measured.tasks],
        "texts": [
            {
                "text": each.text.name,
                **_figures(each.figures),
                "drift": {"flat": each.drift.flat, "largest": each.drift.largest},
            }
            for each in measured.comparisons
        ],
    }


def _cleaned(value: Any) -> Any:
    """Plain lists and numbers; floats to 9 digits."""
    if isinstance(value, dict):
        return {str(key): _cleaned(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return _cleaned(value.tolist())
    if isinstance(value, list | tuple):
        return [_cleaned(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.9g}") if math.isfinite(value) else None
    return value
