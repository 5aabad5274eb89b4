"""examples/recall: its tasks, models of one size, and a tiny grid from its first run to its page."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from examples.recall.__main__ import main
from examples.recall.cost import GROWS, exported
from examples.recall.grid import BASES, GENERATIONS, PLAIN, best_rate, recall_runs, variants
from examples.recall.models import Sizes, build, count
from examples.recall.models.recurrent import RecurrentStep
from examples.recall.models.transformer import TransformerStep
from examples.recall.page import _axis_caption
from examples.recall.page.results import Spread
from examples.recall.page.tables import _verdict
from examples.recall.paths import shortest_path
from examples.recall.plan import Plan
from examples.recall.tasks import FILLER, AssociativeRecall, Passkey
from rrwkv_export.runs import Finished, Store

ROOT = Path(__file__).parents[2]
TINY = {
    "parameters": 75_000,
    "seeds": 1,
    "rates": [3e-3],
    "steps": 2,
    "tokens": 80,
    "longest": 8,
    "distances": [8, 40],
    "tested": 2,
    "pairs": 2,
    "slots": [],
    "digits": 2,
    "text_parameters": 105_000,
    "text_steps": 2,
    "text_length": 16,
    "text_measured": 32,
    "text_rows": 2,
    "cost_parameters": 200_000,
    "cost_vocabulary": 64,
    "cost_layers": 2,
    "cost_channels": 64,
    "cost_head": 32,
    "cost_positions": [8, 40],
    "cost_window": 4,
}


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize("distance", [1, 64])
def test_associative_recall_is_answered_by_its_text(rng, distance):
    task = AssociativeRecall(pairs=4)
    rows = task.rows(rng, 50, distance)
    first, last = rows.recalled.start, rows.recalled.stop
    for ids in rows.ids:
        told = dict(ids[first:last].reshape(-1, 2))
        assert len(told) == 4
        assert sorted(ids[rows.answered]) == sorted(told)
    asked = [[dict(ids[first:last].reshape(-1, 2))[key] for key in ids[rows.answered]] for ids in rows.ids]
    np.testing.assert_array_equal(rows.answers, asked)
    np.testing.assert_array_equal(rows.predicted[:, : -task.pairs], rows.ids[:, 1 : -task.pairs + 1])
    filler = np.delete(rows.ids, [*range(first, last), *rows.answered], axis=1)
    assert (filler < FILLER).all()
    assert rows.answered[0] - last == distance
    assert rows.ids.max() < task.vocabulary


@pytest.mark.parametrize("distance", [1, 64])
def test_a_passkey_is_in_its_text(rng, distance):
    task = Passkey(digits=5)
    rows = task.rows(rng, 50, distance)
    hidden = rows.ids[:, rows.recalled]
    np.testing.assert_array_equal(rows.answers, hidden[:, 1:-1])
    np.testing.assert_array_equal(rows.predicted[:, :-1], rows.ids[:, 1:])
    assert rows.answered[0] - rows.recalled.stop == distance
    filler = rows.ids[:, rows.recalled.stop : rows.answered[0]]
    np.testing.assert_array_equal((filler[:, 1:] - filler[:, :-1]) % FILLER, 1)
    assert rows.ids.max() < task.vocabulary


@pytest.mark.parametrize("vocabulary", [32, 256])
def test_all_models_are_of_one_size(vocabulary):
    plan = Plan()
    sizes = Sizes(vocabulary, parameters=plan.parameters if vocabulary < 256 else plan.text_parameters)
    varied = [entry for family in GENERATIONS for listed in variants(plan, family).values() for entry in listed]
    found = {entry.label: count(build(entry.variant, sizes, 0)) for entry in (*BASES, *varied)}
    assert len(found) == 21
    assert max(abs(each / sizes.parameters - 1) for each in found.values()) < 0.03


@pytest.mark.parametrize("entry", BASES, ids=lambda entry: entry.label)
def test_no_model_sees_what_comes(entry, rng):
    model = build(entry.variant, Sizes(32, parameters=75_000), 0)
    with torch.no_grad():
        for value in model.parameters():  # what begins as 0 too
            value.add_(0.1 * torch.randn(value.shape))
        ids = torch.from_numpy(rng.integers(0, 32, (1, 80)))
        torch.testing.assert_close(model(ids)[:, :70], model(ids[:, :70]), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("entry", PLAIN[:3], ids=lambda entry: entry.label)
def test_an_exported_step_is_the_model(entry, rng, tmp_path):
    model, ids = build(entry.variant, Sizes(32, parameters=75_000), 0), rng.integers(0, 32, 9)
    transformer = entry.family == "transformer"
    step = TransformerStep(model) if transformer else RecurrentStep(model)
    state = step.past(0) if transformer else step.empty()
    run = exported(step, step.past(1) if transformer else state, tmp_path / "step.onnx", GROWS if transformer else {})
    held, found = [each.numpy() for each in state], []
    for token in ids:
        logits, held = run(int(token), held)
        found.append(logits)
    with torch.no_grad():
        whole = model(torch.from_numpy(ids)[None])[0].numpy()
    np.testing.assert_allclose(np.concatenate(found), whole, atol=1e-5)


def test_the_shortest_path():
    medium = {"interval": 32, "slots": 16}
    assert shortest_path("lstm", None, 2, 100) == shortest_path("rwkv7", None, 2, 100) == 100
    assert shortest_path("transformer", None, 2, 4096) == 1
    assert shortest_path("rwkv4", medium, 2, 480) == 2  # squeezed and read
    assert shortest_path("rwkv4", medium, 2, 900) == 4  # again in the next layer
    assert shortest_path("rwkv4", medium, 1, 900) > 300  # and then by recurrence
    assert shortest_path("rwkv4", medium, 1, 1) == 1


@pytest.mark.parametrize(
    ("plain", "with_mediums", "said"),
    [
        ((0.1, 0.2), (0.3, 0.4), "help"),
        ((0.3, 0.4), (0.1, 0.2), "hurt"),
        ((0.1, 0.3), (0.2, 0.4), ""),
        ((0,), (1,), ""),
    ],
)
def test_mediums_help_only_where_all_seeds_say_so(plain, with_mediums, said):
    assert _verdict(Spread(plain), Spread(with_mediums)) == said


def test_the_page_says_which_slots_no_row_of_training_fills():
    assert "A row of training has 9 mediums or so at most" in _axis_caption(Plan(), "slots")
    assert "training" not in _axis_caption(Plan(), "squeeze")


@pytest.fixture
def command(tmp_path):
    (tmp_path / "plan.json").write_text(json.dumps(TINY))
    (tmp_path / "text").write_bytes(bytes(range(256)) * 4)
    path = os.pathsep.join([str(ROOT), str(ROOT / "runtimes" / "python"), os.environ.get("PYTHONPATH", "")])

    def made(name, *options, **how):
        words = [sys.executable, "-m", "examples.recall", name, "results.sqlite", "--plan", "plan.json", *options]
        environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(words, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True, **how)

    return made


def test_a_tiny_grid_killed_and_gone_on_with_to_its_page(command, tmp_path, monkeypatch):
    with command("run", "--text", "text") as begun:
        for _ in range(3):
            begun.stdout.readline()
        begun.send_signal(signal.SIGKILL)
    before = finished(tmp_path)
    told, _ = command("run", "--text", "text").communicate(timeout=300)
    assert f"{len(before)} of 14 runs are finished already" in told
    assert "RRWKV on RWKV-7, 8 to 64, 16 nats each" in told
    assert len(before) >= 2
    assert before < finished(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert main(["cost", "results.sqlite", "--plan", "plan.json"]) == 0
    Path("README.md").write_text("# Mine\n<!-- results: of the grid -->\nold\n<!-- end of results -->\nand more\n")
    given = ["page", "results.sqlite", "--plan", "plan.json", "--text", "text", "-o", "page.html"]
    assert main([*given, "--readme", "README.md"]) == 0
    tables = r"(?s)RRWKV on RWKV-7, mean squeeze \|.*Loss on real text.*What a token costs.*\nand more"
    assert re.search(tables, Path("README.md").read_text())
    assert main([*given, "--readme", "text"]) == 1
    page = (tmp_path / "page.html").read_text()
    assert page.count("<svg") == 7
    for shown in (
        "37 of 37 runs are finished",
        "What variants of mediums change",
        "What a token costs",
        "one seed, so nothing is shown",
        "Loss on real text",
    ):
        assert shown in page


def test_a_page_replaces_nothing_but_a_page(tmp_path, capsys):
    results, page = tmp_path / "results.sqlite", tmp_path / "page.html"
    run = recall_runs(Plan())(BASES[0], "passkey", Plan().rates[0], 0)
    Store(results).finish(run, {"accuracy": {str(d): 0.5 for d in Plan().distances}}, 1.0)
    before = results.read_bytes()
    assert main(["page", str(results), "-o", str(results)]) == 1
    assert "is there already, and no page; give another name" in capsys.readouterr().err
    assert results.read_bytes() == before
    assert [main(["page", str(results), "-o", str(page)]) for _ in range(2)] == [0, 0]


def finished(folder):
    return set(sqlite3.connect(folder / "results.sqlite").execute("SELECT key, at FROM finished"))


def test_the_better_rate_is_chosen_by_trained_distances():
    plan = Plan()
    make = recall_runs(plan)

    def result(rate, trained, far):
        run = make(BASES[0], "passkey", rate, 0)
        accuracy = {str(d): trained if d <= plan.longest else far for d in plan.distances}
        return Finished(run.key, run.name, run.function, {}, {"accuracy": accuracy}, 1.0, "")

    high, low = plan.rates
    assert best_rate(make, BASES[0], "passkey", plan, [result(high, 0.4, 0.9), result(low, 0.5, 0.0)]) == low
    assert best_rate(make, BASES[0], "passkey", plan, [result(high, 0.4, 0.9)]) == high
    assert best_rate(make, BASES[1], "passkey", plan, [result(high, 0.4, 0.9)]) is None


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["page", "results", "-o", "page"], "results: no such file; begin with `run`"),
        (
            ["run", "results", "--text", "gone"],
            "gone: cannot be read (No such file or directory); give a text that can",
        ),
        (["run", "other"], "other: cannot be used for results (file is not a database); move it away"),
        (["run", "results", "--plan", "other"], "other: not valid JSON"),
        (
            ["run", "results", "--plan", '{"seeds": "x"}'],
            "plan: seeds must be a whole number above 0",
        ),
        (
            ["run", "results", "--plan", '{"seeds": -1}'],
            "plan: seeds must be a whole number above 0",
        ),
        (["run", "results", "--plan", '{"nats": "x"}'], "plan: nats must be a number above 0, below 1e+09, not 'x'"),
        (
            ["run", "results", "--plan", '{"rates": 5}'],
            "plan: rates must be a list of numbers",
        ),
        (["run", "results", "--plan", '{"rates": []}'], "plan: rates must be one number at least"),
        (["run", "results", "--plan", '{"slots": [1, 1]}'], "plan: slots must be a list of numbers, each of them once"),
        (["run", "results", "--plan", '{"distances": null}'], "plan: distances must be a list of numbers"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(words, error, tmp_path, monkeypatch, capsys):
    (tmp_path / "other").write_text("no results, and no plan\n" * 50)
    (tmp_path / "plan").write_text(words[-1])
    monkeypatch.chdir(tmp_path)
    assert main(["plan" if word.startswith("{") else word for word in words]) == 1
    assert capsys.readouterr().err.startswith(f"error: {error}")
    assert not (tmp_path / "page").exists()
