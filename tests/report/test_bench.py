"""What a bench times and in which order, what it reads per token, what it prints, and what it compares with."""

from __future__ import annotations

import csv
import dataclasses
import io
import itertools
import json
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import onnx
import psutil
import pytest
from checkpoint_files import RRWKV, RWKV4, RWKV7
from test_cli import start

from rrwkv_export.bench import RENDERERS, Options, bench, read_earlier, subjects
from rrwkv_export.bench.alternate import Sample, alternate, share_of_others, timed
from rrwkv_export.bench.cold_start import fresh
from rrwkv_export.bench.readers import readers
from rrwkv_export.bench.record import Earlier, Record
from rrwkv_export.bench.weights import token_cost
from rrwkv_export.commands import _run as run_command
from rrwkv_export.errors import BenchError
from rrwkv_runtime.errors import BundleError, DamagedBundle, InputError
from rrwkv_runtime.manifest import Manifest

REPOSITORY = Path(__file__).resolve().parents[2]


def rrwkv(*arguments, cwd):
    command = [sys.executable, str(REPOSITORY / "cli.py"), *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def records(demo_bundle, make_tiny):
    """Of the demo at one thread, and of a tiny model too small for a roof."""
    tiny = make_tiny(RRWKV).path
    return bench([demo_bundle, tiny], prompts=(8,), generated=(4,), threads=(1,), repetitions=2)


def record(**changes):
    plain = Record(
        "int8", "b" * 64, "c" * 64, "int8", 10**6, 9, 2 * 10**6, 10**5, "cpu", 2, "tg128", 128, 2, 100.0, 1.5, 100.0,
        10.0, 0.1, 10.0, (9.9, 10.1), (0.0, 0.5), 0.25, 1, 2e9, "a pattern", 3 * 10**8, 1.05, 0.105, None, 3e9,
        50.0, 100.0, 2 * 10**8, 10**8, "2026-01-02T03:04:05+00:00",
        {"processor": "a", "load average before": "0.1", "caches": "L3 1 MiB"},
    )  # fmt: skip
    return replace(plain, **changes)


def test_rounds_turn_round_and_the_first_does_not_count():
    order, clock = [], itertools.count()

    def watch(run):
        order.append(run())
        return Sample(float(next(clock)), None)

    samples = alternate({name: (lambda name=name: name) for name in "abc"}, 3, watch=watch)
    assert "".join(order) == "cbaabccbaabc"
    assert [sample.seconds for sample in samples["a"]] == [3, 8, 9]
    assert [sample.seconds for sample in samples["b"]] == [4, 7, 10]


def test_late_rounds_are_left_out_but_two_are_not():
    samples = alternate({"a": lambda: None}, 50, most_seconds=0, watch=lambda run: Sample(1.0, None))
    assert len(samples["a"]) == 2


class Clock:
    """Time that passes only when it is told to."""

    def __init__(self, monkeypatch):
        self.now = self.busy = 0.0
        for name, read in (("perf_counter", lambda: self.now), ("process_time", lambda: 0.0)):
            monkeypatch.setattr(f"rrwkv_export.bench.alternate.{name}", read)
        monkeypatch.setattr("rrwkv_export.bench.alternate.busy_seconds", lambda: self.busy)

    def passes(self, seconds, busy=0.0):
        self.now, self.busy = self.now + seconds, self.busy + busy


def test_what_makes_ready_is_not_timed(monkeypatch):
    clock = Clock(monkeypatch)

    def prepare():
        clock.passes(5, busy=3)
        return lambda: clock.passes(2, busy=0.5)

    assert timed(prepare) == Sample(2, 0.25)


def test_others_who_disturb_are_noticed(monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    clock = Clock(monkeypatch)
    assert timed(lambda: lambda: clock.passes(0.01, busy=0.5)).others == 2
    assert Sample(1.0, 0.2).disturbed
    assert not Sample(1.0, 0.06).disturbed
    assert not Sample(0.05, 0.4).disturbed  # no more than the system's counters can be wrong by
    assert not Sample(1.0, None).disturbed
    assert share_of_others([Sample(1.0, 0.5), Sample(3.0, 0.1), Sample(9.0, None)]) == pytest.approx(0.2)
    assert share_of_others([Sample(1.0, None)]) is None


def test_every_bundle_and_thread_count_takes_its_turn(make_tiny, monkeypatch):
    seen = []

    def recorded(runs, rounds, **_):
        seen.extend((subject.path, subject.threads, test) for subject, test in runs)
        return {key: [Sample(1.0, None)] * rounds for key in runs}

    monkeypatch.setattr("rrwkv_export.bench.run.alternate", recorded)
    monkeypatch.setattr("rrwkv_export.bench.run.fresh", lambda *_, **__: None)
    paths = [make_tiny(RRWKV).path, make_tiny(RWKV4).path]
    made = bench(paths, prompts=(4, 0, 8), generated=(2,), threads=(1, 2), repetitions=3)
    assert seen == list(itertools.product(paths, (1, 2), ("pp4", "pp8", "tg2")))
    assert [r.median_ms for r in made[:3]] == [250, 125, 500]
    assert made[0].repetitions == 3
    assert made[0].load_ms is None


def test_a_token_reads_all_weights_but_one_row_of_the_embedding(demo_bundle):
    manifest = Manifest.load(demo_bundle)
    V, C = manifest.vocab_size, manifest.config["hidden_size"]
    medium, L = manifest.config["medium"], manifest.config["num_layers"]
    making = L * C * (2 * (C // medium["reduction"]) + medium["key_size"])  # of mediums: no step does it
    cost = token_cost(demo_bundle, manifest)
    assert cost.read == pytest.approx(4 * (manifest.parameters - (V - 1) * C - making), rel=0.005)
    main = {name: graph for name, graph in manifest.graphs.items() if name == "main"}
    outer = len(onnx.load(str(demo_bundle / "model.onnx"), load_external_data=False).graph.node)
    assert token_cost(demo_bundle, dataclasses.replace(manifest, graphs=main)).nodes > outer  # the loops' bodies


def test_a_token_of_rwkv7_reads_its_low_rank_matrices_and_moves_its_state_both_ways(make_tiny):
    made = make_tiny(RWKV7)
    config, manifest = made.config, made.model.manifest
    V, C, L = config.vocab_size, config.hidden_size, config.num_layers
    cost = token_cost(made.path, manifest)
    weights = 4 * (config.parameters() - (V - 1) * C)
    assert weights < cost.read < 1.05 * weights  # the mixes lie there twice; low-rank matrices are 0.13 of it
    kept = 2 * C + config.heads * config.head_size**2  # of a layer: two tokens' shifts and S
    assert cost.state == 2 * (4 * L * kept + 8)  # and the position
    assert cost.moved == cost.read + cost.state


def test_a_state_that_a_step_only_reads_counts_once(demo_bundle):
    manifest = Manifest.load(demo_bundle)
    decode = manifest.graphs[manifest.graph_that_runs("one")]
    assert decode.reads
    only = sum(spec.nbytes for spec in manifest.states if spec.input in decode.reads)
    whole = sum(spec.nbytes for spec in manifest.states)
    assert token_cost(demo_bundle, manifest).state <= 2 * whole - only


def test_the_step_graph_is_what_a_token_costs_where_there_is_one(make_tiny):
    made = make_tiny(RRWKV, target="cuda")
    cost = token_cost(made.path, made.model.manifest)
    assert cost.nodes == len(onnx.load(str(made.path / "decode.onnx"), load_external_data=False).graph.node)
    assert 0 < cost.read < 4.5 * made.config.parameters()


def test_a_damaged_graph_is_said(bundle):
    (bundle / "decode.onnx").write_bytes(b"\xff" * (bundle / "decode.onnx").stat().st_size)
    with pytest.raises(DamagedBundle, match=r"decode\.onnx"):
        subjects([bundle])


def test_records_hold_together(records):
    by_test = {(r.scheme, r.bundle, r.test): r for r in records}
    assert len(by_test) == 4
    for r in records:
        assert len(r.samples_ms) == r.repetitions == 2
        assert r.median_ts == pytest.approx(1e3 / r.median_ms)
        assert r.avg_ms == pytest.approx(np.mean(r.samples_ms))
        assert r.stddev_ms == pytest.approx(np.std(r.samples_ms, ddof=1))
        assert 0 < r.above_imports_bytes < r.peak_bytes
        assert r.load_ms > 0
        assert r.machine["onnxruntime"]
    roofed = [r for r in records if r.roof_ms is not None]
    assert [(r.bundle, r.test) for r in roofed] == [("rrwkv-chat", "tg4")]
    roof = roofed[0]
    assert roof.roof_ms == pytest.approx(1e3 * (roof.weights_read + roof.state_moved) / roof.bandwidth)
    assert roof.roof_share == pytest.approx(roof.roof_ms / roof.median_ms)
    assert min(roof.bandwidth, roof.bandwidth_at_size) > 1e8
    assert roof.probe in readers()
    assert roof.probe_bytes > roof.weights_read


@pytest.mark.parametrize("form", ["json", "jsonl"])
def test_json_is_read_back(records, form, tmp_path):
    (tmp_path / "run").write_text(RENDERERS[form](records, None), encoding="utf-8")
    earlier = read_earlier(tmp_path / "run")
    assert earlier.median_ts == {r.key: r.median_ts for r in records}
    text = (tmp_path / "run").read_text()
    parsed = json.loads(text) if form == "json" else [json.loads(line) for line in text.splitlines()]
    assert parsed == json.loads(json.dumps([asdict(r) for r in records]))


def test_csv_is_read_back(records):
    rows = list(csv.DictReader(io.StringIO(RENDERERS["csv"](records, None))))
    assert [(row["bundle"], row["test"], float(row["median_ts"])) for row in rows] == [
        (r.bundle, r.test, r.median_ts) for r in records
    ]
    assert [tuple(json.loads(row["samples_ms"])) for row in rows] == [r.samples_ms for r in records]
    assert [row["roof_share"] == "" for row in rows] == [r.roof_share is None for r in records]


def test_markdown_says_what_to_know(records):
    said = RENDERERS["md"](records, None)
    widths = {len(line.replace("\\|", "").split("|")) for line in said.split("\n\n")[0].splitlines()}
    assert len(widths) == 1
    assert "rrwkv-chat | 1 | tg4" in said
    assert "GB/s" in said
    assert "±" in said


def test_markdown_marks_disturbed_repetitions_and_escapes_names():
    said = RENDERERS["md"]([record(bundle="a|b<script>")], None)
    assert "25% (!)" in said
    assert "in 1 of 2 repetitions" in said
    assert "a\\|b&lt;script&gt;" in said
    assert "(!)" not in RENDERERS["md"]([record(disturbed=0)], None)


def test_markdown_says_which_weights_a_cache_holds():
    said = RENDERERS["md"]([record(), record(bundle="tiny", cache="L2")], None)
    assert "| no cache |" in said
    assert "tiny in L2, 3.0 GB/s" in said
    assert "300.0 MB that no cache holds (a pattern" in said
    assert "L3 1 MiB" in said
    assert "over 1" not in RENDERERS["md"]([record(cache="L2", roof_share=1.5)], None)
    assert "over 1" in RENDERERS["md"]([record(roof_share=1.5)], None)


def test_ratios_to_an_earlier_run():
    before = record(machine={"processor": "b", "load average before": "3", "caches": "L3 1 MiB"})
    earlier = Earlier(Path("before.json"), {before.key: 80.0}, before.machine, before.time)
    made = earlier.compared([record(), record(test="pp256")])
    assert [r.ratio for r in made] == [1.25, None]
    said = RENDERERS["md"](made, earlier)
    assert "1.25 ×" in said
    assert "Not the same machine or versions then: processor b." in said
    assert json.loads(RENDERERS["json"](made, earlier))[0]["before_ts"] == 80


def test_nothing_to_compare_is_said_before_anything_is_measured():
    earlier = Earlier(Path("before.json"), {record().key: 80.0}, {}, "then")
    with pytest.raises(BenchError, match="int8 tg128"):
        earlier.require([record(threads=1).key])
    earlier.require([record().key, record(threads=1).key])


@pytest.mark.parametrize(
    "text",
    ["", "hello", "[]", "{}", "[1]", '[{"bundle": "a"}]', "[" * 10**5, '{"bundle":1}\n{', None],
    ids=["empty", "words", "no records", "object", "number", "fields missing", "nested", "cut", "not UTF-8"],
)
def test_no_earlier_run(text, tmp_path):
    path = tmp_path / "before.json"
    path.write_bytes(b"\xff\xfe" if text is None else text.encode())
    with pytest.raises(BenchError, match="not the output of `rrwkv bench"):
        read_earlier(path)


def test_an_earlier_run_without_speed_is_refused(tmp_path):
    path = tmp_path / "before.json"
    path.write_text(RENDERERS["json"]([record(median_ts=0.0)], None))
    with pytest.raises(BenchError):
        read_earlier(path)
    with pytest.raises(BenchError, match="No such file"):
        read_earlier(tmp_path / "nowhere")


def test_what_cannot_be_measured(tmp_path):
    with pytest.raises(InputError, match="nothing to measure"):
        Options(prompts=(0,), generated=(0,))
    with pytest.raises(InputError, match="repetitions"):
        Options(repetitions=0)
    with pytest.raises(InputError, match="at least one bundle"):
        subjects([])
    with pytest.raises(BundleError, match="nowhere"):
        subjects([tmp_path / "nowhere"])


def test_folders_of_one_name_are_told_apart(make_tiny, tmp_path):
    paths = [Path(shutil.copytree(make_tiny(RRWKV).path, tmp_path / name / "int8")) for name in "ab"]
    assert [s.name for s in subjects(paths)] == [str(path) for path in paths]
    assert [s.name for s in subjects([paths[0], paths[0]])] == ["int8"]


def test_a_process_of_its_own_says_why_it_failed(tmp_path, monkeypatch):
    with pytest.raises(BundleError, match="not a bundle"):
        fresh(tmp_path)
    monkeypatch.setattr(
        "rrwkv_export.bench.cold_start._PROGRAM", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert fresh(tmp_path) is None


def test_the_command_and_its_comparison(small_bundle, tmp_path, capsys, monkeypatch):
    small = ["bench", str(small_bundle), "-p", "4,8", "-n", "0", "-t", "1", "-r", "1"]
    done = rrwkv(*small, "-o", "jsonl", "--output", "run.jsonl", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert done.stderr.endswith("wrote run.jsonl\n")
    assert [json.loads(line)["test"] for line in (tmp_path / "run.jsonl").read_text().splitlines()] == ["pp4", "pp8"]
    assert [path.name for path in tmp_path.iterdir()] == ["run.jsonl"]
    monkeypatch.setattr("rrwkv_export.bench.run.fresh", lambda *_, **__: None)
    assert run_command([*small, "--compare", str(tmp_path / "run.jsonl")]) == 0
    assert capsys.readouterr().out.count(" × |") == 2


def test_ctrl_c_leaves_nothing(demo_bundle, tmp_path):
    command = [
        sys.executable,
        str(REPOSITORY / "cli.py"),
        "bench",
        str(demo_bundle),
        "-r",
        "1000",
        "--output",
        "run.md",
    ]
    process = start(command, tmp_path)
    for _ in range(600):
        if psutil.Process(process.pid).children():  # it measures a process of its own
            break
        time.sleep(0.1)
    assert [path.suffix for path in tmp_path.iterdir()] == [".part"]
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said.strip() == "rrwkv: interrupted"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        ([], 2, "Missing argument"),
        (["nowhere"], 1, "nowhere"),
        (["BUNDLE", "-t", "0"], 2, "whole numbers from 1"),
        (["BUNDLE", "-t", "1,x"], 2, "'1,x'"),
        (["BUNDLE", "-p", "-5"], 2, "whole numbers from 0"),
        (["BUNDLE", "-p", "0", "-n", "0"], 1, "nothing to measure"),
        (["BUNDLE", "-r", "0"], 2, "'-r'"),
        (["BUNDLE", "-o", "xml"], 2, "xml"),
        (["BUNDLE", "--compare", "nowhere.json"], 1, "nowhere.json"),
        (["BUNDLE", "--output", "."], 1, "is a folder"),
        (["BUNDLE", "--provider", "warp"], 1, "warp"),
        (["BUNDLE", "--provider-option", "a=b"], 1, "takes no options, not 'a'"),
    ],
    ids=lambda value: " ".join(value) or "no bundle" if isinstance(value, list) else None,
)
def test_wrong_uses(arguments, status, said, small_bundle, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = run_command(["bench", *(str(small_bundle) if part == "BUNDLE" else part for part in arguments)])
    error = capsys.readouterr().err
    assert (found, said in error) == (status, True), error
    assert list(tmp_path.iterdir()) == []
