"""Grids of runs: what is finished stays so, whatever stops the rest."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from grids import grid, told

from rrwkv_export.errors import RunError
from rrwkv_export.runs import Run, Store, execute

HERE = Path(__file__).parent


def results(store):
    return {run.parameters["number"]: run.result["square"] for run in store.finished()}


@pytest.fixture
def log(tmp_path):
    (tmp_path / "log").touch()
    return tmp_path / "log"


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "results" / "runs.sqlite")


def test_a_finished_run_is_not_run_again(store, log):
    assert execute(grid(log, "squared", [3, 4]), store).finished == 2
    done = execute(grid(log, "squared", [3, 4, 5]), store)
    assert (done.finished, done.before, done.failed) == (1, 2, ())
    assert told(log) == [3, 4, 5]
    assert results(store) == {3: 9, 4: 16, 5: 25}


def test_what_another_process_has_finished_meanwhile_is_passed_over(store, log):
    one, other = grid(log, "squared", [1, 2])
    done = execute([one, other], store, say=lambda line: store.finish(other, {"square": 4}, 0.0))
    assert (done.finished, done.before) == (1, 1)
    assert told(log) == [1]


def test_other_parameters_are_another_run_whatever_its_name(store, log):
    execute(grid(log, "squared", [3]), store)
    execute(grid(log, "squared", [3], seconds=0.001), store)
    assert told(log) == [3, 3]
    one, other = Run("a", "m:f", {"x": 1, "y": 2}), Run("b", "m:f", {"y": 2, "x": 1})
    assert one.key == other.key != Run("a", "m:g", {"x": 1, "y": 2}).key


def test_where_files_lie_makes_no_other_run(store, tmp_path):
    for name in ("log", "moved"):
        execute([Run("it", "grids:squared", {"number": 3}, {"log": str(tmp_path / name)})], store)
    assert (tmp_path / "log").read_text() == "3\n"
    assert not (tmp_path / "moved").exists()


def test_a_run_that_fails_is_recorded_and_tried_again(store, log, capsys):
    runs = grid(log, "failing", [1]) + grid(log, "squared", [2])
    assert execute(runs, store).failed == ("failing-1",)
    assert list(store.failed().values()) == ["ValueError: not 1, nor any other"]
    assert "[1/2] failing-1: failed after 0 s: ValueError: not 1, nor any other" in capsys.readouterr().out
    execute(runs, store)
    assert told(log) == [1, 2, 1]


def test_a_run_that_finishes_has_not_failed(store, log):
    (run,) = grid(log, "squared", [2])
    store.fail(run, "once")
    execute([run], store)
    assert not store.failed()


def test_a_run_that_another_process_has_finished_has_not_failed(store, log):
    (run,) = grid(log, "failing", [2])
    done = execute([run], store, say=lambda line: store.finish(run, {}, 0.0))
    assert (done.before, done.failed) == (1, ())
    store.fail(run, "later")
    assert not store.failed()


def test_a_run_that_is_forgotten_is_run_again(store, log):
    runs = grid(log, "squared", [2, 3])
    execute(runs, store)
    store.forget(runs[:1])
    assert execute(runs, store).finished == 1
    assert told(log) == [2, 3, 2]


def test_what_utf8_cannot_hold_fails_its_run_alone(store, log):
    runs = [run for function in ("of_a_file", "half_a_character", "untold") for run in grid(log, function, [1])]
    named = Run("of \udcff.txt", "grids:squared", {"log": str(log), "number": 2})
    said = []
    assert execute([*runs, named], store, say=said.append).failed == ("of_a_file-1", "half_a_character-1", "untold-1")
    errors = store.failed()
    of_a_file, half, untold = (errors[run.key] for run in runs)
    assert (of_a_file, untold) == (r"ValueError: file \udcff.txt is gone", "Untold")
    assert half.startswith("RunError: what half_a_character-1 gave: JSON cannot hold that (")
    assert "".join(said).encode()
    assert [run.name for run in store.finished()] == [r"of \udcff.txt"]


def test_progress_counts_what_was_finished_before(store, log):
    shown = []
    execute(grid(log, "squared", [1]), store)
    execute(grid(log, "squared", [1, 2, 3]), store, progress=lambda *told: shown.append(told))
    assert shown == [("runs", 2, 3), ("runs", 3, 3)]


def test_a_killed_process_loses_no_finished_run(store, log):
    command = [sys.executable, str(HERE / "grids.py"), str(store.path), str(log)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 60
        while told(log) != [0, 1, 2] and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    assert results(store) == {0: 0, 1: 1}
    execute(grid(log, "squared", range(5)), store)
    assert told(log) == [0, 1, 2, 2, 3, 4]
    assert sorted(results(store)) == [0, 1, 2, 3, 4]


def test_a_grid_has_no_run_twice(store, log):
    (run,) = grid(log, "squared", [1])
    with pytest.raises(RunError, match="squared-1 and again with the same function and parameters; leave one out"):
        execute([run, Run("again", run.function, run.parameters)], store)
    with pytest.raises(RunError, match="the same name"):
        execute([run, Run(run.name, run.function, {})], store)


@pytest.mark.parametrize("parameters", [{"x": float("nan")}, {"x": {1}}, {"x": b"1"}, {"x": "\ud83d"}])
def test_parameters_are_json(parameters):
    with pytest.raises(RunError, match="the parameters of it: JSON cannot hold that"):
        Run("it", "m:f", parameters)


@pytest.mark.parametrize("function", ["nowhere:f", "grids:nothing", "grids"])
def test_a_function_that_is_not_there_is_a_failure(store, function):
    execute([Run("it", function, {})], store)
    assert next(iter(store.failed().values())).startswith(f"RunError: it: no function {function} (")


def test_a_file_of_others_is_refused_and_left(tmp_path):
    text, database = tmp_path / "text", tmp_path / "other.sqlite"
    text.write_bytes(b"no database, but long enough to be looked at as one\n" * 20)
    with sqlite3.connect(database) as other:
        other.execute("CREATE TABLE mine (x)")
    for path in (text, database, tmp_path):
        before = path.read_bytes() if path.is_file() else b""
        with pytest.raises(RunError, match="move it away"):
            Store(path)
        assert not path.is_file() or path.read_bytes() == before


@pytest.fixture
def on_ray(monkeypatch):
    pytest.importorskip("ray", reason="ray is not installed: pip install '.[ray]'")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), *sys.path]))


def test_a_killed_worker_of_ray_loses_no_finished_run(on_ray, store, log):
    runs = grid(log, "squared", range(3), seconds=0.1) + grid(log, "killed_at_first", [3]) + grid(log, "killed", [4])
    done = execute([*runs, *grid(log, "failing", [5])], store, ray="local", workers=2)
    assert results(store) == {0: 0, 1: 1, 2: 4, 3: 9}
    calls = told(log)
    assert [calls.count(number) for number in range(6)] == [1, 1, 1, 2, 3, 1]
    assert set(done.failed) == {"killed-4", "failing-5"}
    failing, lost = sorted(store.failed().values())
    assert failing == "ValueError: not 5, nor any other"
    assert lost.startswith("its worker was lost 3 times")


def test_an_address_without_ray_is_said(on_ray, store, log):
    with pytest.raises(RunError, match="--ray nowhere: no Ray there"):
        execute(grid(log, "squared", [1]), store, ray="nowhere")
