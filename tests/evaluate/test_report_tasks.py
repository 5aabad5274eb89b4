"""`rrwkv report --tasks`."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from rrwkv_export.commands.report import report as command
from rrwkv_export.errors import GateError
from rrwkv_export.evaluate.answers import Answers, difference
from rrwkv_export.evaluate.run import evaluate
from rrwkv_export.evaluate.tasks import TASKS
from rrwkv_export.quantize.quantize import quantize
from rrwkv_export.quantize.recipes import shipped_recipe
from rrwkv_export.quantize.source import Calibration
from rrwkv_export.report.gates import Gates, check_gates, require
from rrwkv_export.report.measure.tasks import answered
from rrwkv_runtime.errors import UsageError
from rrwkv_runtime.model import Model


@pytest.fixture(scope="module")
def rounded(small_bundle):
    """The small bundle, its weights in 8 bits."""
    out = small_bundle.with_name("rounded")
    quantize(small_bundle, out, shipped_recipe("int8-weight"), Calibration((), None, 0))
    return out


def asked(bundle, reference, out, *options):
    given = [bundle, "--reference", reference, "--no-speed", "--tokens", 40, "--threads", 1, "-o", out, *options]
    command.main([str(argument) for argument in given], standalone_mode=False)


def test_tasks_are_a_section_of_the_report(rounded, small_bundle, tmp_path):
    asked(rounded, small_bundle, tmp_path / "out", "--tasks", "--against", small_bundle, "--max-task-loss", "0.9")
    fields = json.loads((tmp_path / "out/report.json").read_text())
    first, second = (evaluate(Model.load(path, threads=1)) for path in (small_bundle, rounded))
    for said, reference, own in zip(fields["tasks"], first, second, strict=True):
        assert (said["task"], said["items"]) == (own.task.name, len(own))
        assert said["bundle"]["accuracy"]["mean"] == pytest.approx(own.accuracy.mean, rel=1e-8)
        assert said["reference"]["accuracy"]["error"] == pytest.approx(reference.accuracy.error, rel=1e-8)
        assert said["difference"]["lost"] == difference(own, reference).lost
    assert fields["gates"][0]["passed"] is True
    assert all(task["difference"]["log_p"] == {"mean": 0, "error": 0} for task in fields["comparison"][0]["tasks"])
    for page in ("report.md", "report.html"):
        text = (tmp_path / "out" / page).read_text()
        assert "which of four replies a dialogue goes on with" in text
        assert "change of accuracy" in text


def test_a_task_that_loses_too_much_breaks_a_gate():
    kept, lost = (Answers(task, np.array([True] * 10), None, np.zeros(10)) for task in TASKS)
    worse = dataclasses.replace(lost, right=np.array([True] * 7 + [False] * 3))
    (gate,) = check_gates(Gates(max_task_loss=0.2), [], answered((kept, lost), (kept, worse)))
    with pytest.raises(GateError, match=r"accuracy lost 0\.3 > 0\.2 \(--max-task-loss, rrwkv_last_word\)"):
        require([gate])
    with pytest.raises(UsageError, match="takes a share of the items, below 1, not 3; for 3 % give 0"):
        Gates(max_task_loss=3)


def test_a_gate_on_tasks_needs_them(rounded, small_bundle, tmp_path):
    with pytest.raises(UsageError, match="--max-task-loss is about tasks, which are asked with --tasks alone"):
        asked(rounded, small_bundle, tmp_path / "out", "--max-task-loss", "0.1")
    assert not (tmp_path / "out").exists()
