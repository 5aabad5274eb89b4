"""Sweeps: what is asked is checked first, what is finished stays, and the page says what nothing beats."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import pytest

from rrwkv_export.errors import OutputError, RecipeError, RunError, TextError
from rrwkv_export.quantize.quantize import quantize
from rrwkv_export.quantize.recipes import recipe_text, shipped_recipe
from rrwkv_export.quantize.source import Calibration
from rrwkv_export.report import measure
from rrwkv_export.runs import Store
from rrwkv_export.sweep import Settings, make_plan, sweep
from rrwkv_export.sweep.points import Point, Speed, frontier, staircase
from rrwkv_runtime.errors import UsageError
from rrwkv_runtime.manifest import Manifest

REPOSITORY = Path(__file__).resolve().parents[2]
RECIPES = ("float16", "int8-weight")
SHORT = Settings(tokens=60, chunk=32)


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("texts")
    for seed in (3, 5):
        (folder / f"{seed}.ids").write_text(" ".join(str(seed * i * i % 300) for i in range(80)))
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def plan(small_bundle, texts):
    return make_plan([small_bundle], RECIPES, texts, settings=SHORT)


@pytest.fixture(scope="module")
def swept(plan, tmp_path_factory):
    """(what a sweep of two recipes and two texts came to, its folder)."""
    out = tmp_path_factory.mktemp("sweep") / "out"
    return sweep(plan, out, speed=False, say=lambda line: None), out


def point(kl, size, decode=None):
    return Point("b", "r", "t", size, 9.0, kl, kl, 1.0, 0.0, Speed(decode, 1.0) if decode else None)


def test_the_frontier_is_what_nothing_beats():
    best = [point(0.0, 9, 9.0), point(0.1, 5, 5.0), point(0.2, 4, 8.0), point(0.3, 6, 1.0)]
    beaten = [point(0.1, 6, 5.0), point(0.4, 9, 9.0), point(None, 5, 5.0)]
    assert frontier([*beaten, *best]) == best
    assert frontier([point(0.1, 5), point(0.2, 4), point(0.2, 5)]) == [point(0.1, 5), point(0.2, 4)]
    assert staircase([(3, 1), (1, 3), (2, 4), (2, 2), (4, 1)]) == [(1, 3), (2, 2), (3, 1)]


def test_figures_are_those_of_a_report(swept, small_bundle, texts):
    points = {(p.recipe, p.text): p for p in swept[0].points}
    (folder,) = (swept[1] / "bundles").glob("*int8-weight*")
    made = measure(folder, small_bundle, [texts[0]], tokens=60, chunk=32, speed=False)
    found, figures = points["int8-weight", texts[0].name], made.main.first.figures
    assert (found.kl, found.perplexity) == pytest.approx((figures.kl.mean, figures.perplexity), rel=1e-6)
    assert (found.bytes, found.top1) == (made.main.subject.size.graphs, figures.top1_agreement)
    assert points["float32", texts[0].name].perplexity == pytest.approx(figures.reference_perplexity, rel=1e-6)
    assert len(points) == 6


def test_each_bundle_is_quantized_once_for_all_texts(swept):
    names = [run.name for run in Store(swept[1] / "sweep.sqlite").finished()]
    assert sum(name.startswith("quantize") for name in names) == 2
    assert sum(name.startswith("measure") for name in names) == 4


def test_the_page_is_whole_and_loads_nothing(swept, texts):
    page, markdown = ((swept[1] / name).read_text() for name in ("sweep.html", "sweep.md"))
    assert page.rstrip().endswith("</html>")
    assert page.count("<svg") == 2
    assert not any(word in page for word in ("<script", "http://", "https://", "src="))
    assert all(f"bundle on {text.name}" in markdown and recipe in markdown for text in texts for recipe in RECIPES)


def test_what_is_finished_is_not_run_again(swept, plan, small_bundle, texts):
    said = []
    sweep(make_plan([small_bundle], RECIPES[:1], texts, settings=SHORT), swept[1], speed=False, say=said.append)
    assert said == ["1 of 1 runs are finished already", "2 of 2 runs are finished already"]
    sweep(plan, swept[1], speed=False, say=said.append)
    assert said[2:] == ["2 of 2 runs are finished already", "4 of 4 runs are finished already"]


def test_names_of_bundles_and_recipes_may_change(bundle, texts, tmp_path):
    mine, out = tmp_path / "mine.toml", tmp_path / "out"
    mine.write_text(recipe_text("int8-weight", "rwkv4"))
    sweep(make_plan([bundle], [str(mine)], texts[:1], settings=SHORT), out, speed=False, say=lambda line: None)
    moved, other = bundle.rename(tmp_path / "moved"), mine.rename(tmp_path / "other.toml")
    found = sweep(make_plan([moved], [str(other)], texts, settings=SHORT), out, speed=False, say=lambda line: None)
    found.require()
    assert [(p.bundle, p.recipe) for p in found.points] == [("moved", "float32"), ("moved", "other")] * 2
    (made,) = (out / "bundles").iterdir()
    assert f"bundles/{made.name}" in (out / "sweep.html").read_text()


def emptied(folder, other):
    shutil.rmtree(folder)


def cut_short(folder, other):
    os.truncate(folder / "model.onnx.data", 100)


def replaced(folder, other):
    shutil.rmtree(folder)
    shutil.copytree(other, folder)


@pytest.mark.parametrize("harm", [emptied, cut_short, replaced])
def test_a_bundle_that_is_gone_is_made_again(swept, small_bundle, texts, tmp_path, harm):
    out, more, said = Path(shutil.copytree(swept[1], tmp_path / "out")), tmp_path / "more.ids", []
    more.write_text(texts[0].read_text() + " 7")
    made, other = (next((out / "bundles").glob(f"{recipe}-*")) for recipe in ("int8-weight", "float16"))
    known = Manifest.load(made).bundle_id
    harm(made, other)
    plan = make_plan([small_bundle], RECIPES, [more], settings=SHORT)
    found = sweep(plan, out, speed=False, say=said.append)
    found.require()
    assert said[0] == f"quantize bundle int8-weight: not in {made}, so it is made again"
    assert said[1] == "1 of 2 runs are finished already"
    assert Manifest.load(made).bundle_id == known
    assert len(found.points) == 3


def test_what_is_in_the_way_of_a_bundle_is_left(swept, plan, tmp_path):
    out = Path(shutil.copytree(swept[1], tmp_path / "out"))
    made = next((out / "bundles").glob("float16-*"))
    (made / "manifest.json").unlink()
    found = sweep(plan, out, speed=False, say=lambda line: None)
    assert "is in the way and is no bundle; move it away" in found.failed["quantize bundle float16"]
    assert (made / "model.onnx").exists()


def test_what_comes_to_the_same_is_measured_once(bundle, small_bundle, texts, tmp_path):
    mine, text, out = tmp_path / "mine.toml", tmp_path / "copy.ids", tmp_path / "out"
    mine.write_text(recipe_text("int8-weight", "rwkv4") + "\n# the same\n")
    shutil.copy(texts[0], text)
    plan = make_plan([small_bundle, bundle], ["int8-weight", str(mine)], [texts[0], text], settings=SHORT)
    found = sweep(plan, out, say=lambda line: None)
    found.require()
    kinds = [run.name.split()[0] for run in Store(out / "sweep.sqlite").finished()]
    assert kinds == ["quantize", "quantize", "measure", "time"]
    assert [p.recipe for p in found.points] == ["float32", "int8-weight", "mine"] * 4
    one, other = found.points[1:3]
    assert replace(other, recipe=one.recipe) == one
    assert "</html>" in (out / "sweep.html").read_text()


def test_what_fails_is_told_and_stops_nothing_else(small_bundle, texts, tmp_path):
    plan = make_plan([small_bundle], ["qnn", "float16"], texts[:1], settings=SHORT)
    made = sweep(plan, tmp_path / "out", speed=False, say=lambda line: None)
    with pytest.raises(RunError, match=r"quantize bundle qnn failed: RecipeError: .* no graphs in fixed shapes"):
        made.require()
    assert [p.recipe for p in made.points] == ["float32", "float16"]
    assert "no graphs in fixed shapes" in (tmp_path / "out/sweep.html").read_text()


def test_a_folder_of_something_else_is_left(swept, small_bundle, texts, plan, tmp_path):
    other = make_plan([small_bundle], RECIPES, texts, settings=Settings(tokens=50, chunk=32))
    with pytest.raises(OutputError, match=r"is another sweep \(tokens 60, not 50\); choose another name"):
        sweep(other, swept[1])
    (tmp_path / "notes").write_text("mine")
    with pytest.raises(OutputError, match="exists and is not a sweep; choose another name"):
        sweep(plan, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes"]


def test_a_full_disk_is_said_before_anything_is_quantized(plan, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total free")(10**9, 1000)
    monkeypatch.setattr("rrwkv_export.atomic.shutil.disk_usage", lambda path: usage)
    with pytest.raises(OutputError, match="the disk has 0 MB left; free some space or write elsewhere"):
        sweep(plan, tmp_path / "out")
    assert not (tmp_path / "out/bundles").exists()


def test_what_cannot_be_swept_is_refused_at_once(small_bundle, texts, tmp_path):
    done = tmp_path / "done"
    quantize(small_bundle, done, shipped_recipe("float16"), Calibration((), None, 0))
    with pytest.raises(RecipeError, match="int9: no scheme and no file; the schemes are float16"):
        make_plan([small_bundle], ["int9"], texts)
    with pytest.raises(RecipeError, match=r"already quantized \(float16\); give the float32 bundle"):
        make_plan([done], RECIPES, texts)
    with pytest.raises(TextError, match=r"gone.ids: no such file; give a text's path"):
        make_plan([small_bundle], RECIPES, [tmp_path / "gone.ids"])
    with pytest.raises(UsageError, match="at least one recipe"):
        make_plan([small_bundle], [], texts)
    mine = tmp_path / "int8.toml"
    mine.write_text('scheme = "mine"\n')
    with pytest.raises(RecipeError, match="two recipes are called int8; give their files other names"):
        make_plan([small_bundle], ["int8", str(mine)], texts)


def started(bundle, text, out):
    options = ["--recipe", *RECIPES, "--text", text, "-o", out, "--tokens", 60, "--no-speed"]
    return [sys.executable, str(REPOSITORY / "cli.py"), "sweep", *map(str, [bundle, *options])]


def test_a_killed_sweep_goes_on(small_bundle, texts, tmp_path):
    out = tmp_path / "out"
    with subprocess.Popen(started(small_bundle, texts[0], out), stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 120
        while not (out / "sweep.sqlite").exists() or not Store(out / "sweep.sqlite").finished_keys():
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    before = {run.key: run.at for run in Store(out / "sweep.sqlite").finished()}
    assert not (out / "sweep.html").exists()
    done = subprocess.run(started(small_bundle, texts[0], out), capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    after = {run.key: run.at for run in Store(out / "sweep.sqlite").finished()}
    assert len(after) == 4
    assert before.items() <= after.items()
    assert "</html>" in (out / "sweep.html").read_text()
    assert json.loads((out / "sweep.json").read_text())["settings"]["tokens"] == 60


@pytest.mark.slow  # what Ray does with a run that is lost is tests/runs' affair
def test_on_ray_figures_are_the_same(swept, plan, tmp_path, monkeypatch):
    pytest.importorskip("ray", reason="ray is not installed: pip install '.[ray]'")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    found = sweep(plan, tmp_path / "out", speed=False, ray="local", workers=2, say=lambda line: None)
    found.require()
    key = [(p.recipe, p.text) for p in swept[0].points]
    assert [(p.recipe, p.text) for p in found.points] == key
    for one, other in zip(found.points, swept[0].points):
        assert one.kl == pytest.approx(other.kl, rel=1e-3, abs=1e-9)


def test_speeds_are_of_all_that_was_made(plan, swept):
    found = sweep(plan, swept[1], say=lambda line: None)
    assert all(p.speed and p.speed.decode_ms > 0 and p.speed.prefill > 0 for p in found.points)
    assert "onnxruntime" in (found.machine or "")
    assert "ms" in (swept[1] / "sweep.md").read_text()
