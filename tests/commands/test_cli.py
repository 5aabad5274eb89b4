"""The command line as a person uses it: real processes, real exit statuses, what they print and what they leave."""

from __future__ import annotations

import dataclasses
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from checkpoint_files import ASSET, RRWKV, RWKV4, RWKV6, random_weights, write_blinkdl, write_rrwkv

from rrwkv_export.bundle import save_manifest
from rrwkv_export.commands import _run as run_command
from rrwkv_export.commands.info import _kernels
from rrwkv_runtime.manifest import Manifest

REPOSITORY = Path(__file__).resolve().parents[2]


def rrwkv(*arguments, cwd, **options):
    command = [sys.executable, str(REPOSITORY / "cli.py"), *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300, **options)


def start(command, cwd):
    """A process that Ctrl-C stops, even where whoever runs the tests ignores it, as a shell's background jobs do."""

    def heed() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=cwd, stdout=pipe, stderr=pipe, text=True, preexec_fn=heed)


@pytest.fixture
def tiny(tmp_path):
    """A tiny RRWKV checkpoint directory."""
    write_rrwkv(tmp_path / "tiny", RRWKV, random_weights(RRWKV, 0))
    return tmp_path / "tiny"


def test_export_info_verify_and_generate(tiny, tmp_path):
    done = rrwkv("export", tiny, "-o", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "token by token" in done.stdout
    info = json.loads(rrwkv("info", "out", "--json", cwd=tmp_path).stdout)
    assert info["config"]["hidden_size"] == RRWKV.hidden_size
    assert info["parity"]["passed"] is True
    parity = json.loads(rrwkv("verify", "out", "--against", tiny, "--json", cwd=tmp_path).stdout)
    assert parity["error"] <= 1e-5
    ids = rrwkv("generate", "out", "--ids", "1,2,3", "-n", "5", "--temp", "0", cwd=tmp_path)
    assert len(ids.stdout.split()) == 5


def test_generate_reads_standard_input_and_repeats_with_a_seed(demo_bundle, tmp_path):
    runs = [rrwkv("generate", demo_bundle, "-n", "12", "-s", "7", cwd=tmp_path, input="Hello, I") for _ in range(2)]
    assert runs[0].stdout == runs[1].stdout
    assert runs[0].stdout.strip()
    assert "\x1b" not in runs[0].stdout + runs[0].stderr


def test_chat_answers_piped_lines_and_commands(demo_bundle, tmp_path):
    script = "Hello!\n/save talk.state\n/undo\n/nonsense\n/load talk.state\n/stats\n/quit\nnever read\n"
    done = rrwkv("chat", demo_bundle, "--seed", "1", cwd=tmp_path, input=script)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 2  # in a pipe, what is no command is a message
    assert (tmp_path / "talk.state").stat().st_size > 100_000


@pytest.mark.slow  # `make test` runs the demo, too
def test_demo_holds_its_conversation(tmp_path):
    done = rrwkv("demo", "-o", "demo", cwd=tmp_path, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("> ") == 4
    assert "decode" in done.stdout.splitlines()[-1]
    assert (tmp_path / "demo" / "manifest.json").exists()
    written = [path for folder in ("demo", "demo-int8") for path in (tmp_path / folder).iterdir()]
    before = [path.stat().st_mtime_ns for path in written]
    again = rrwkv("demo", "-o", "demo", cwd=tmp_path, stdin=subprocess.DEVNULL)
    assert again.returncode == 0, again.stderr
    assert [line.split()[0] for line in again.stdout.splitlines()[:2]] == ["demo", "demo-int8"]
    assert "top-5 agreement" in again.stdout
    assert [path.stat().st_mtime_ns for path in written] == before


def test_a_path_is_no_markup_and_any_encoding_will_do(tiny, tmp_path):
    ascii_only = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = rrwkv("export", tiny, "-o", "out[bold]", cwd=tmp_path, env=ascii_only)
    assert done.returncode == 0, done.stderr
    assert "out[bold]: rrwkv" in done.stdout
    assert rrwkv("info", "out[bold]", cwd=tmp_path, env=ascii_only).returncode == 0


def test_a_failed_parity_shows_its_table(tiny, tmp_path):
    done = rrwkv("export", tiny, "-o", "out", "--rtol", "1e-12", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout.count("too large") >= 8


@pytest.mark.slow  # the whole demo; what is taken again is asked in test_demo.py
def test_a_damaged_demo_cache_is_made_anew(tmp_path):
    (tmp_path / "cache/rrwkv/demo-0.1.0").mkdir(parents=True)
    cache = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    done = rrwkv("chat", "--seed", "1", cwd=tmp_path, env=cache, input="Hello!\n")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_demo_replaces_no_other_bundle(tiny, tmp_path):
    assert rrwkv("export", tiny, "-o", "mine", cwd=tmp_path).returncode == 0
    done = rrwkv("demo", "-o", "mine", cwd=tmp_path, stdin=subprocess.DEVNULL)
    assert done.returncode == 1
    assert "mine exists already" in done.stderr


@pytest.mark.parametrize("said", [{}, {"calibration": {"tokens": 7}}])
def test_info_takes_a_recipe_of_any_form(said, bundle, tmp_path):
    save_manifest(bundle, {**Manifest.load(bundle).to_json(), "quantization": {"scheme": "own", "other": [1], **said}})
    done = rrwkv("info", bundle, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "quantized: " in done.stdout


def test_info_says_which_kernels_run(bundle, monkeypatch):
    manifest = Manifest.load(bundle)
    assert _kernels(manifest).startswith("onnxruntime's own; those of rrwkv-native are for bundles")
    quantized = dataclasses.replace(manifest, quantization={})
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    missing = "none: rrwkv-native is not installed; pip install ./runtimes/native in a clone of rrwkv-export"
    assert _kernels(quantized) == missing


def test_the_package_runs_as_the_program_does(tmp_path):
    command = [sys.executable, "-m", "rrwkv_export", "info", "nowhere"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (REPOSITORY, REPOSITORY / "runtimes/python")))}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "rrwkv: error: nowhere: no such bundle directory\n")


def test_a_closed_pipe_is_no_failure(demo_bundle, tmp_path):
    process = subprocess.Popen(
        [sys.executable, str(REPOSITORY / "cli.py"), "info", str(demo_bundle), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    process.stdout.close()
    assert process.wait(timeout=60) == 0
    assert process.stderr.read() == b""


def _wrong_uses(folder: Path) -> dict[str, tuple[list[object], str]]:
    """name -> (arguments, what the message must say). Files are made in `folder`."""
    weights = random_weights(RWKV4, 0)
    write_rrwkv(folder / "good", RRWKV, random_weights(RRWKV, 0))
    write_blinkdl(folder / "good.pth", RWKV4, weights, torch.bfloat16)
    whole = (folder / "good.pth").read_bytes()
    (folder / "cut.pth").write_bytes(whole[: len(whole) // 2])
    write_rrwkv(folder / "cut", RRWKV, random_weights(RRWKV, 0))
    data = (folder / "cut/model.safetensors").read_bytes()
    (folder / "cut/model.safetensors").write_bytes(data[:-1000])
    write_blinkdl(folder / "v6.pth", RWKV6, random_weights(RWKV6))
    torch.save({**weights, "blocks.0.ffn.s_emb.weight": torch.zeros(3)}, folder / "v7a.pth")
    nan = {**weights, "blocks.0.att.key.weight": weights["blocks.0.att.key.weight"] * float("nan")}
    write_blinkdl(folder / "nan.pth", RWKV4, nan, torch.float32)
    missing = {name: value for name, value in weights.items() if name != "blocks.1.ffn.value.weight"}
    torch.save(missing, folder / "missing.pth")
    (folder / "llama").mkdir()
    (folder / "llama/config.json").write_text('{"model_type": "llama", "architectures": ["LlamaForCausalLM"]}')
    (folder / "notes.txt").write_text("hello")
    (folder / "taken").mkdir()
    (folder / "taken/file").write_text("mine")
    (folder / "empty").mkdir()
    export = ["export", "-o", "out"]
    return {
        "no such checkpoint": ([*export, "nowhere"], "no such file"),
        "truncated pth": ([*export, "cut.pth"], "cut.pth"),
        "truncated safetensors": ([*export, "cut"], "model.safetensors"),
        "no graph yet": ([*export, "v6.pth", "--target", "cuda"], "no graph for rwkv6 with --target cuda yet"),
        "RWKV-7a": ([*export, "v7a.pth"], "RWKV-7a"),
        "not finite": ([*export, "nan.pth"], "blocks.0.att.key.weight"),
        "missing tensor": ([*export, "missing.pth"], "blocks.1.ffn.value.weight"),
        "another architecture": ([*export, "llama"], "llama"),
        "not a checkpoint": ([*export, "notes.txt"], "notes.txt"),
        "empty folder": ([*export, "empty"], "empty"),
        "output exists": (["export", "good", "-o", "taken"], "exists"),
        "output is not a bundle": (["export", "good", "-o", "taken", "--force"], "not a bundle"),
        "no tokenizer there": ([*export, "good", "--tokenizer", "nowhere.json"], "nowhere.json"),
        "tokenizer is no tokenizer": ([*export, "good", "--tokenizer", "llama/config.json"], "llama/config.json"),
        "tokenizer too large": ([*export, "good", "--tokenizer", ASSET / "tokenizer.json"], "--tokenizer"),
        "rtol out of reach": ([*export, "good", "--rtol", "1e-12"], "parity failed"),
        "unwritable place": (["export", "good", "-o", "notes.txt/out"], "notes.txt/out"),
        "info of no bundle": (["info", "good"], "not a bundle"),
        "chat with nothing there": (["chat", "nowhere"], "nowhere"),
        "generate on a checkpoint": (["generate", "good", "-p", "x"], "not a bundle"),
        "unknown provider": (["generate", "BUNDLE", "--provider", "warp", "-p", "x"], "warp"),
        "cuda without a GPU build": (["generate", "BUNDLE", "--provider", "cuda", "-p", "x"], "/python[cuda]"),
        "id out of range": (["generate", "BUNDLE", "--ids", "4096"], "4096"),
        "verify against another": (["verify", "BUNDLE", "--against", "good"], "config"),
        "state that is none": (["chat", "BUNDLE", "--state", "notes.txt"], "notes.txt"),
    }


def test_every_wrong_use_gives_one_clear_line(tmp_path, demo_bundle, monkeypatch, capsys):
    """In this process: a program of its own takes seconds, and each of the others starts one."""
    monkeypatch.chdir(tmp_path)
    uses = _wrong_uses(tmp_path)
    before = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*"))
    for name, (arguments, said) in uses.items():
        status = run_command([str(demo_bundle if a == "BUNDLE" else a) for a in arguments])
        stderr = capsys.readouterr().err
        assert status == 1, (name, stderr)
        assert len(stderr.splitlines()) == 1, (name, stderr)
        assert stderr.startswith("rrwkv: error: "), (name, stderr)
        assert said in stderr, (name, stderr)
    assert sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "arguments",
    [["export"], ["exprot"], ["export", "x", "--dtype", "int3"], ["export", "x", "--no-ort"], ["verify", "x"]],
)
def test_wrong_usage_exits_2_and_shows_how(arguments, tmp_path):
    done = rrwkv(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert "Usage: rrwkv" in done.stderr


def test_ctrl_c_leaves_nothing_half_written(tmp_path):
    command = [sys.executable, str(REPOSITORY / "cli.py"), "export", str(ASSET), "-o", "out"]
    process = start(command, tmp_path)
    while process.poll() is None and not list(tmp_path.glob(".out.*.part/new/model.onnx")):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 130, stderr
    assert stderr.strip() == "rrwkv: interrupted"
    assert list(tmp_path.iterdir()) == []


def test_a_write_that_fails_leaves_nothing(tiny, tmp_path):
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    done = rrwkv("export", tiny, "-o", "out", cwd=tmp_path, preexec_fn=limit, env={**os.environ, "TMPDIR": "/tmp"})
    assert done.returncode == 1
    assert done.stderr.startswith("rrwkv: error: out: cannot write"), done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]
