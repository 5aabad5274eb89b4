"""`optimum-cli export onnx`, of a folder as `rrwkv huggingface` writes it: the bundle of `rrwkv export`."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from checkpoint_files import ASSET, RRWKV, RWKV7, random_weights, write_rrwkv

from rrwkv_export.checkpoint import open_checkpoint
from rrwkv_export.export import export
from rrwkv_export.huggingface import convert
from rrwkv_runtime.model import Model

if not importlib.util.find_spec("optimum") or not importlib.util.find_spec("optimum.exporters"):
    pytest.skip("optimum-onnx is not installed: pip install '.[optimum]'", allow_module_level=True)

SMALL = dataclasses.replace(RRWKV, vocab_size=4096)
REPOSITORY = Path(__file__).parents[2]
CLI = [sys.executable, "-c", "from optimum.commands.optimum_cli import main; main()", "export", "onnx"]
GRAPHS = ("model.onnx", "decode.onnx", "model.onnx.data")


def optimum(home, *arguments, status=0):
    """The command, and what it said."""
    paths = [str(REPOSITORY / "plugins"), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "HF_HOME": str(home), "HF_HUB_OFFLINE": "1", "PYTHONPATH": os.pathsep.join(paths)}
    options = ["--task", "text-generation", "--trust-remote-code"]
    command = [*CLI, *map(str, arguments), *options]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == status, done.stderr[-3000:]
    return done.stdout + done.stderr


@pytest.mark.parametrize("config", [SMALL, RWKV7], ids=["rrwkv", "rwkv7"])
def test_it_gives_our_graph(config, tmp_path):
    tokenizer = ASSET / "tokenizer.json" if config is SMALL else None
    checkpoint = write_rrwkv(tmp_path / "from", config, random_weights(config), tokenizer=tokenizer)
    convert(open_checkpoint(checkpoint), tmp_path / "model")
    said = optimum(tmp_path / "home", "--model", tmp_path / "model", tmp_path / "out")
    assert "not within the set tolerance" not in said
    export(open_checkpoint(tmp_path / "model"), tmp_path / "bundle")
    for name in (*GRAPHS, *(["segment_end.onnx", "tokenizer.json"] if config is SMALL else [])):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "bundle" / name).read_bytes(), name
    ours, theirs = (json.loads((tmp_path / where / "manifest.json").read_text()) for where in ("bundle", "out"))
    assert theirs["bundle_id"] == ours["bundle_id"]
    tokens = Model.load(tmp_path / "out", threads=1).generate([1, 2, 3], max_tokens=4, temperature=0)
    assert len(list(tokens)) == 4


def test_weights_are_float16_where_that_is_asked_for(tmp_path):
    convert(open_checkpoint(write_rrwkv(tmp_path / "from", RWKV7, random_weights(RWKV7))), tmp_path / "model")
    optimum(tmp_path / "home", "--model", tmp_path / "model", tmp_path / "out", "--dtype", "fp16")
    export(open_checkpoint(tmp_path / "model"), tmp_path / "bundle", dtype="float16")
    for name in GRAPHS:
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "bundle" / name).read_bytes(), name


def test_what_no_graph_is_made_in_is_refused_by_name(tmp_path):
    convert(open_checkpoint(write_rrwkv(tmp_path / "from", RRWKV, random_weights(RRWKV))), tmp_path / "model")
    said = optimum(tmp_path / "home", "--model", tmp_path / "model", tmp_path / "out", "--dtype", "bf16", status=1)
    assert "--dtype bf16: graphs are made in fp32 and fp16" in said
    assert not list((tmp_path / "out").glob("*.onnx"))
