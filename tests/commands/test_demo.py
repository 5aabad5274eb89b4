"""What an earlier demo left is taken again if it is whole and what one would make now; damage to it is seen."""

from __future__ import annotations

import json
import shutil
from contextlib import nullcontext

import pytest

from rrwkv_export.checkpoint import open_checkpoint
from rrwkv_export.commands.demo import _export_step as export_step
from rrwkv_export.commands.shared import cached_demo
from rrwkv_export.commands.shared import demo as _demo
from rrwkv_export.errors import OutputError
from rrwkv_export.quantize.quantize import quantize
from rrwkv_export.quantize.recipes import TEXT, shipped_recipe
from rrwkv_export.quantize.source import Calibration
from rrwkv_export.report import FILES, Gates, write_report
from rrwkv_export.report.earlier import read_earlier
from rrwkv_runtime.manifest import file_sha256

HOW = {"tokens": 300, "speed": False}


@pytest.fixture(scope="module")
def made(small_bundle, tmp_path_factory):
    """(a folder with a bundle, its int8 and their report; recipe and calibration). Read only."""
    folder = tmp_path_factory.mktemp("made")
    shutil.copytree(small_bundle, folder / "float")
    (folder / "text.txt").write_text("The cat sat on the mat, and the dog sat by the door. " * 60)
    recipe, calibration = shipped_recipe("int8-dynamic"), Calibration.read([TEXT], small_bundle, 2)
    quantize(folder / "float", folder / "int8", recipe, calibration)
    write_report(folder / "int8", folder / "float", [folder / "text.txt"], folder / "report", **HOW)
    return folder, recipe, calibration


@pytest.fixture
def left(made, tmp_path):
    """A copy of all of it, to be damaged."""
    return shutil.copytree(made[0], tmp_path / "left"), *made[1:]


def earlier(folder, **options):
    text = file_sha256(folder / "text.txt")
    return read_earlier(folder / "report", folder / "int8", folder / "float", text, **{**HOW, **options})


def spoil(path):
    """One byte in its middle."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_what_is_whole_and_the_same_is_taken(made, small_checkpoint):
    folder, recipe, calibration = made
    assert _demo.exported(folder / "float", open_checkpoint(small_checkpoint))
    assert _demo.quantized(folder / "int8", folder / "float", recipe, calibration)
    found = earlier(folder)
    assert (found.reference, found.bundle) == ("float", "int8")
    assert [row.name for row in found.rows][:2] == ["perplexity", "mean KL divergence"]


@pytest.mark.parametrize("name", ["model.onnx.data", "model.onnx", "tokenizer.json", "manifest.json"])
def test_damage_to_a_bundle_is_seen(left, small_checkpoint, name):
    folder, recipe, calibration = left
    checkpoint = open_checkpoint(small_checkpoint)
    for bundle in ("float", "int8"):
        spoil(folder / bundle / name)
    assert not _demo.exported(folder / "float", checkpoint)
    assert not _demo.quantized(folder / "int8", folder / "float", recipe, calibration)
    assert _demo.is_ours(folder / "float", checkpoint)


def test_what_lost_its_manifest_is_made_anew_and_what_is_not_the_demos_stays(left, small_checkpoint, monkeypatch):
    folder, checkpoint = left[0], open_checkpoint(small_checkpoint)
    monkeypatch.setattr(cached_demo, "demo_checkpoint", lambda: nullcontext(checkpoint))
    (folder / "float/manifest.json").unlink()
    (folder / "float/mine.txt").touch()
    with pytest.raises(OutputError):
        export_step(folder / "float", force=False, own=False)
    assert (folder / "float/mine.txt").exists()
    (folder / "float/mine.txt").unlink()
    export_step(folder / "float", force=False, own=False)
    assert _demo.exported(folder / "float", checkpoint)
    (folder / "empty").mkdir()
    with pytest.raises(OutputError):
        export_step(folder / "empty", force=False, own=False)
    export_step(folder / "empty", force=False, own=True)
    (folder / "report/report.json").unlink()
    _demo.discard_remains(folder / "report", "report.json", FILES)
    assert not (folder / "report").exists()


@pytest.mark.parametrize("name", sorted(FILES))
def test_damage_to_a_report_is_seen(left, name):
    spoil(left[0] / "report" / name)
    assert earlier(left[0]) is None
    (left[0] / "report" / name).unlink()
    assert earlier(left[0]) is None


def test_what_one_would_make_otherwise_now_is_not_taken(made, small_checkpoint, monkeypatch):
    folder, recipe, calibration = made
    checkpoint = open_checkpoint(small_checkpoint)
    assert not _demo.exported(folder / "int8", checkpoint)
    assert not _demo.quantized(folder / "float", folder / "float", recipe, calibration)
    assert not _demo.quantized(folder / "int8", folder / "float", shipped_recipe("int8-weight"), calibration)
    assert earlier(folder, tokens=301) is None
    assert earlier(folder, chunk=64) is None
    assert earlier(folder, threads=1) is None
    assert read_earlier(folder / "report", folder / "int8", folder / "float", "0" * 64, **HOW) is None
    assert read_earlier(folder / "report", folder / "float", folder / "float", "0" * 64, **HOW) is None
    monkeypatch.setattr(_demo, "versions", lambda: {"rrwkv-export": "0.0"})
    assert not _demo.exported(folder / "float", checkpoint)
    assert not _demo.quantized(folder / "int8", folder / "float", recipe, calibration)


def test_a_report_with_gates_or_more_texts_is_another(made, tmp_path):
    folder = made[0]
    text, bundles = folder / "text.txt", (folder / "int8", folder / "float")
    for name, texts, gates in (("gated", [text], Gates(max_kl=9)), ("more", [text, text], Gates())):
        write_report(*bundles, texts, tmp_path / name, gates=gates, **HOW)
        assert read_earlier(tmp_path / name, *bundles, file_sha256(text), **HOW) is None


def test_a_stranger_is_not_ours(made, small_checkpoint, tmp_path):
    checkpoint = open_checkpoint(small_checkpoint)
    assert not _demo.is_ours(tmp_path, checkpoint)
    (tmp_path / "manifest.json").write_text(json.dumps({"format": "another"}))
    (tmp_path / "tokenizer.json").write_text("{}")
    assert not _demo.is_ours(tmp_path, checkpoint)


def test_speeds_of_a_busy_machine_are_measured_again_on_a_quiet_one(made, tmp_path, monkeypatch):
    folder = made[0]
    monkeypatch.setattr("rrwkv_export.report.run.load_average", lambda: 99.0)
    monkeypatch.setattr("rrwkv_export.report.run.fresh", lambda *_, **__: None)
    text, bundles, how = folder / "text.txt", (folder / "int8", folder / "float"), {"tokens": 8, "speed": True}
    write_report(*bundles, [text], tmp_path / "report", **how)
    for load, taken in ((99.0, True), (0.0, False)):
        monkeypatch.setattr("rrwkv_export.report.earlier.load_average", lambda load=load: load)
        assert bool(read_earlier(tmp_path / "report", *bundles, file_sha256(text), **how)) is taken
