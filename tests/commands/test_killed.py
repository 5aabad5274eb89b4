"""Every command that writes, killed (SIGKILL) at many moments: what was there or what is new is whole."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from rrwkv_runtime.manifest import Manifest, verify_files
from rrwkv_runtime.state import State

pytestmark = pytest.mark.slow

MOMENTS = 50
IDS = "\n".join(" ".join(str((7 * i * j + i) % 300) for i in range(60)) for j in range(1, 4))


def whole_bundle(path):
    verify_files(path, Manifest.load(path))


def whole_report(path):
    assert {file.name for file in path.iterdir()} == {"report.html", "report.json", "report.md"}
    assert "</html>" in (path / "report.html").read_text()


@pytest.fixture
def commands(small_checkpoint, small_bundle, tmp_path):
    """Name -> (arguments, standard input, the target, what holds if it is whole)."""
    (tmp_path / "text.ids").write_text(IDS)
    bundle, text, out = str(small_bundle), str(tmp_path / "text.ids"), tmp_path / "made" / "out"
    out.parent.mkdir()
    report = ["report", bundle, "--reference", bundle, "--text", text, "--tokens", "50", "--no-speed"]
    bench = ["bench", bundle, "-p", "4", "-n", "4", "-r", "1", "-t", "1"]
    manifest = Manifest.load(small_bundle)
    return {
        "export": (["export", str(small_checkpoint), "--force", "--tokens", "60"], "", out, whole_bundle),
        "quantize": (["quantize", bundle, "--force", "--calibration", text], "", out, whole_bundle),
        "report": ([*report, "--force"], "", out, whole_report),
        "bench": (bench, "", out, lambda path: path.read_text().index("| tg4")),
        "chat": (["chat", bundle, "-n", "2"], f"hello\n/save {out}\n", out, lambda path: State.load(path, manifest)),
    }


def started(arguments, text, out):
    place = {"bench": ["--output", str(out)], "chat": []}.get(arguments[0], ["-o", str(out)])
    process = subprocess.Popen(
        [sys.executable, "-c", "from rrwkv_export.commands import main; main()", *arguments, *place],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    process.stdin.write(text)
    process.stdin.close()
    return process


@pytest.mark.parametrize("name", ["export", "quantize", "report", "bench", "chat"])
def test_a_kill_loses_nothing(commands, name):
    arguments, text, out, check = commands[name]
    begun = time.perf_counter()
    process = started(arguments, text, out)
    assert process.wait() == 0, process.stderr.read()
    seconds = time.perf_counter() - begun
    check(out)
    for moment in range(MOMENTS):
        process = started(arguments, text, out)
        time.sleep(seconds * (moment + 0.5) / MOMENTS)
        process.kill()
        process.wait()
        check(out)
    process = started(arguments, text, out)
    assert process.wait() == 0, process.stderr.read()
    check(out)
    assert [path.name for path in out.parent.iterdir()] == ["out"]
