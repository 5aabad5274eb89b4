"""`rrwkv report --tasks`."""

from __future__ import annotations

import json

import pytest

from rrwkv_export.commands.report import report as command
from rrwkv_export.errors import GateError
from rrwkv_export.evaluate.answers import difference
from rrwkv_export.evaluate.run import evaluate
from rrwkv_export.quantize.quantize import quantize
from rrwkv_export.quantize.recipes import shipped_recipe
from rrwkv_export.quantize.source import Calibration
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
    with pytest.raises(GateError, match=r"accuracy lost .* > 0 \(--max-task-loss, rrwkv_"):
        asked(rounded, small_bundle, tmp_path / "out", "--tasks", "--against", small_bundle, "--max-task-loss", "0")
    fields = json.loads((tmp_path / "out/report.json").read_text())
    first, second = (evaluate(Model.load(path, threads=1)) for path in (small_bundle, rounded))
    for said, reference, own in zip(fields["tasks"], first, second, strict=True):
        assert (said["task"], said["items"]) == (own.task.name, len(own))
        assert said["bundle"]["accuracy"]["mean"] == pytest.approx(own.accuracy.mean, rel=1e-8)
        assert said["reference"]["accuracy"]["error"] == pytest.approx(reference.accuracy.error, rel=1e-8)
        assert said["difference"]["lost"] == difference(own, reference).lost
    assert all(task["difference"]["log_p"] == {"mean": 0, "error": 0} for task in fields["comparison"][0]["tasks"])
    for page in ("report.md", "report.html"):
        text = (tmp_path / "out" / page).read_text()
        assert "which of four replies a dialogue goes on with" in text
        assert "change of accuracy" in text


def test_a_gate_on_tasks_needs_them(rounded, small_bundle, tmp_path):
    with pytest.raises(UsageError, match="--max-task-loss is about tasks, which are asked with --tasks alone"):
        asked(rounded, small_bundle, tmp_path / "out", "--max-task-loss", "0.1")
    assert not (tmp_path / "out").exists()
