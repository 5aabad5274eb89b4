"""The examples, small: every command of theirs runs, and what they say of themselves is what is there."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from checkpoint_files import ASSET, RWKV7, random_weights, write_rrwkv

from examples.demo.sources import SOURCES
from examples.intervals.__main__ import main as intervals
from rrwkv_export.checkpoint import open_checkpoint

ROOT = Path(__file__).parent.parent.parent
CHATS = ROOT / "calibration" / "chat_calibration.jsonl"

pytest.importorskip("accelerate", reason="accelerate is not installed: pip install '.[train]'")


def example(name, *arguments, status=0):
    command = [sys.executable, "-m", f"examples.{name}", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, cwd=ROOT)
    assert done.returncode == status, done.stderr
    return done


def few(path, count, source):
    lines = [json.loads(line) for line in CHATS.read_text(encoding="utf-8").splitlines()[:count]]
    path.write_text("".join(json.dumps({**line, "source": source}) + "\n" for line in lines))
    return path


@pytest.mark.slow
def test_retrofit_goes_all_the_way_to_a_chat(tmp_path):
    config = dataclasses.replace(RWKV7, vocab_size=4096)
    base = write_rrwkv(tmp_path / "base", config, random_weights(config), tokenizer=ASSET / "tokenizer.json")
    shutil.copyfile(ASSET / "chat.json", base / "chat.json")
    chats, out = few(tmp_path / "chats.jsonl", 40, "star"), tmp_path / "out"
    done = example(
        "retrofit", base, chats, "-o", out, "--steps", "4", "--length", "64", "--tokens", "64", "--say", "Hi"
    )
    assert open_checkpoint(out / "checkpoint").config.medium.interval == 32
    assert (out / "report" / "report.html").is_file()
    assert "$ rrwkv chat" in done.stdout


@pytest.mark.slow
def test_intervals_are_trained_measured_and_drawn(tmp_path):
    prose = tmp_path / "prose.txt"
    prose.write_text("".join(f"Then came the {i}th of them, and sat down beside the fire.\n" for i in range(400)))
    given = [prose, "-o", tmp_path / "out", "--passages", "60", "--steps", "1", "--seeds", "1", "--only", "adaptive"]
    done = example("intervals", *given)
    assert "tokens a medium: refrain, prose, numbers" in done.stdout
    assert (tmp_path / "out" / "intervals.png").read_bytes().startswith(b"\x89PNG")
    assert "--resume" in example("intervals", *given).stdout


@pytest.mark.slow
def test_the_demos_recipe_runs_on_a_few_texts(tmp_path):
    (tmp_path / "texts").mkdir()
    few(tmp_path / "texts" / "chats.jsonl", 120, "casino")
    (tmp_path / "texts" / "book.txt").write_text("The birds sing again, and the king listens. " * 100)
    small = ["--sizes", "small", "--steps", "4", "2", "--precision", "float32"]
    done = example("demo", tmp_path / "texts", "-o", tmp_path / "out", *small)
    assert "120 casino: github.com/kushalchawla/CaSiNo (CC BY 4.0)" in done.stdout
    assert open_checkpoint(tmp_path / "out" / "checkpoint").config.medium.slots == 16
    assert (tmp_path / "out" / "report" / "report.html").is_file()


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["gone.txt"], 1, "error: gone.txt: cannot be read as text in UTF-8 (No such file or directory)"),
        (["short.txt"], 1, "error: short.txt: 5 characters, and 10,000 are the least; give a longer text"),
        (["long.txt", "-o", "short.txt/x"], 1, "error: short.txt/x/texts: cannot write there (Not a directory)"),
        (["long.txt", "--seeds", "0"], 2, "argument --seeds: '0' is not a whole number from 1"),
    ],
)
def test_what_intervals_cannot_do_is_said_in_a_line(tmp_path, monkeypatch, capsys, arguments, status, said):
    (tmp_path / "short.txt").write_text("short")
    (tmp_path / "long.txt").write_text("A long text. " * 1000)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["intervals", *arguments])
    with pytest.raises(SystemExit) as ended:
        intervals()
    assert said in (capsys.readouterr().err if status == 2 else str(ended.value))


def test_the_demo_takes_no_texts_whose_licence_is_not_known(tmp_path):
    assert "no .jsonl of dialogues" in example("demo", tmp_path, "-o", tmp_path / "out", status=1).stderr
    few(tmp_path / "chats.jsonl", 2, "elsewhere")
    assert "elsewhere: a source that" in example("demo", tmp_path, "-o", tmp_path / "out", status=1).stderr
    assert not (tmp_path / "out").exists()


def test_the_demos_page_names_each_source_as_the_code_does():
    page = (ROOT / "examples" / "demo" / "README.md").read_text()
    for source in SOURCES:
        names = ", ".join(f"`{name}`" for name in source.names)
        assert f"| {names} | {source.origin} | {source.licence} |" in page
