"""A bundle is written whole or not at all, and the same checkpoint always gives the same one."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import shutil
import subprocess

import numpy as np
import onnx
import pytest
import torch
from checkpoint_files import ASSET, RRWKV, RWKV4, random_weights, write_blinkdl, write_huggingface, write_rrwkv

import rrwkv_export
from rrwkv_export import bundle as bundles
from rrwkv_export.bundle import FILES, GraphOptions, compute_model_id, write_graph
from rrwkv_export.checkpoint import open_checkpoint
from rrwkv_export.errors import ExportError, OutputError, TensorError
from rrwkv_export.export import export
from rrwkv_export.output import new_directory
from rrwkv_runtime.manifest import Manifest

QUICK = {"tokens": 12}


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def finished(target, text="new", overwrite=False):
    with new_directory(target, FILES if overwrite else None) as folder:
        (folder / "manifest.json").write_text(text)


def test_a_new_directory_takes_its_name_at_the_end(tmp_path):
    with new_directory(tmp_path / "deep" / "out") as folder:
        (folder / "manifest.json").touch()
        assert not (tmp_path / "deep" / "out").exists()
        assert folder.parent == tmp_path / "deep"
    assert names(tmp_path / "deep") == ["out"]
    assert (tmp_path / "deep" / "out").stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, ExportError])
@pytest.mark.parametrize("existing", [False, True])
def test_a_failure_leaves_what_was_there(tmp_path, error, existing):
    target = tmp_path / "out"
    if existing:
        finished(target, "old")
    with pytest.raises(error), new_directory(target, FILES) as folder:
        raise error((folder / "manifest.json").write_text("half"))
    assert names(tmp_path) == (["out"] if existing else [])
    assert not existing or contents(target) == {"manifest.json": b"old"}


def test_an_existing_bundle_is_replaced_only_when_told_to(tmp_path):
    target = tmp_path / "out"
    finished(target, "old")
    with pytest.raises(OutputError, match=r"out exists already; choose another name or pass --force"):
        finished(target)
    assert contents(target) == {"manifest.json": b"old"}
    finished(target, "new", overwrite=True)
    assert contents(target) == {"manifest.json": b"new"}
    assert names(tmp_path) == ["out"]


def test_a_bundle_that_holds_other_files_is_not_replaced(tmp_path):
    target = tmp_path / "out"
    finished(target, "old")
    (target / "talk.state").touch()
    with pytest.raises(OutputError, match=r"also holds 'talk\.state'"):
        finished(target, "new", overwrite=True)
    assert names(target) == ["manifest.json", "talk.state"]


def test_a_link_to_a_bundle_stays_a_link(tmp_path):
    finished(tmp_path / "out", "old")
    (tmp_path / "link").symlink_to("out")
    finished(tmp_path / "link", "new", overwrite=True)
    assert contents(tmp_path / "out") == {"manifest.json": b"new"}
    assert (tmp_path / "link").is_symlink()
    assert names(tmp_path) == ["link", "out"]


def test_what_a_killed_run_left_is_removed(tmp_path):
    ended = subprocess.run(["sh", "-c", "echo $$"], capture_output=True, text=True, check=True).stdout.strip()
    (tmp_path / f".out.{ended}.x.part").mkdir()
    (tmp_path / f".out.{os.getpid()}.x.part").mkdir()
    finished(tmp_path / "out")
    assert names(tmp_path) == [f".out.{os.getpid()}.x.part", "out"]


@pytest.mark.parametrize("kind", ["folder of someone's", "empty folder", "file"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_what_is_not_a_bundle_is_never_replaced(tmp_path, kind, overwrite):
    target = tmp_path / "out"
    target.write_text("thesis") if kind == "file" else target.mkdir()
    if kind == "folder of someone's":
        (target / "thesis.tex").touch()
    with pytest.raises(OutputError, match="exists"):
        finished(target, overwrite=overwrite)
    assert names(tmp_path) == ["out"]
    assert target.is_file() or names(target) == (["thesis.tex"] if "someone" in kind else [])


@pytest.mark.parametrize(
    ("number", "message"), [(errno.ENOSPC, "the disk is full; free some space"), (errno.EIO, "cannot write")]
)
def test_a_disk_that_fails_is_one_line(tmp_path, number, message):
    with pytest.raises(OutputError, match=message) as caught, new_directory(tmp_path / "out"):
        raise OSError(number, "some\nreason")
    assert str(caught.value).startswith(str(tmp_path / "out"))
    assert names(tmp_path) == []


def test_a_write_cut_short_by_a_full_disk_is_told_as_that(tmp_path):
    with pytest.raises(OutputError, match="the disk is full"), new_directory(tmp_path / "out"):
        raise OSError("409600 requested and 284672 written")


def test_a_place_that_cannot_be_written_to_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot write there"):
        finished(tmp_path / "file" / "out")


def test_a_rename_that_fails_puts_the_old_bundle_back(tmp_path, monkeypatch):
    target = tmp_path / "out"
    finished(target, "old")
    real = type(target).rename

    def rename(self, to):
        if self.suffix == ".part":
            raise OSError(errno.EACCES, "Permission denied")
        return real(self, to)

    monkeypatch.setattr(type(target), "rename", rename)
    with pytest.raises(OutputError, match="Permission denied"):
        finished(target, "new", overwrite=True)
    assert contents(target) == {"manifest.json": b"old"}
    assert names(tmp_path) == ["out"]


def test_the_same_export_twice_is_the_same_byte_for_byte(small_checkpoint, small_bundle, tmp_path):
    export(open_checkpoint(small_checkpoint), tmp_path / "again")
    first, second = contents(small_bundle), contents(tmp_path / "again")
    manifests = [json.loads(content.pop("manifest.json")) for content in (first, second)]
    parities = [manifest.pop("parity") for manifest in manifests]
    assert first == second
    assert manifests[0] == manifests[1]
    assert parities[0].keys() == parities[1].keys()


def test_a_bundle_holds_what_the_manifest_says_and_nothing_else(small_bundle):
    manifest = Manifest.load(small_bundle)
    assert names(small_bundle) == sorted([*(entry.name for entry in manifest.files), "manifest.json"])
    assert manifest.tokenizer.file == "tokenizer.json"
    assert (small_bundle / "tokenizer.json").read_bytes() == (ASSET / "tokenizer.json").read_bytes()
    assert manifest.parity["passed"]
    assert manifest.provenance["checkpoint"]["dtypes"] == ["float32"]
    assert manifest.provenance["checkpoint"]["files"][0]["name"] == "model.safetensors"


def test_the_model_id_does_not_depend_on_the_file_format(tmp_path):
    weights = random_weights(RWKV4)
    paths = [
        write_rrwkv(tmp_path / "rrwkv", RWKV4, weights),
        write_rrwkv(tmp_path / "shards", RWKV4, weights, shards=3),
        write_huggingface(tmp_path / "hf", RWKV4, weights),
        write_blinkdl(tmp_path / "model.pth", RWKV4, weights, torch.float32),
    ]
    manifests = [export(open_checkpoint(path), tmp_path / f"out{i}", **QUICK)[0] for i, path in enumerate(paths)]
    assert len({manifest.model_id for manifest in manifests}) == 1
    weight_files = {entry.sha256 for manifest in manifests for entry in manifest.files if entry.name.endswith(".data")}
    assert len(weight_files) == 1
    # Only what the formats say of the end of a text tells them apart.
    assert [manifest.chat.eos_token_id for manifest in manifests] == [None, None, None, 0]
    assert len({manifest.bundle_id for manifest in manifests}) == 2


def test_the_model_id_depends_on_every_weight_and_on_the_config():
    weights = {name: value.numpy() for name, value in random_weights(RRWKV).items()}
    base = compute_model_id(RRWKV, weights.__getitem__)
    for name in ("emb.weight", "blocks.1.medium.squeeze", "head.weight"):
        changed = weights | {name: np.nextafter(weights[name], np.float32(9))}
        assert compute_model_id(RRWKV, changed.__getitem__) != base
    other = dataclasses.replace(RRWKV, layer_norm_epsilon=1e-6)
    assert compute_model_id(other, weights.__getitem__) != base


def test_forms_and_types_share_the_model_id_but_not_the_bundle_id(tmp_path):
    checkpoint = open_checkpoint(write_rrwkv(tmp_path / "in", RRWKV, random_weights(RRWKV)))
    kinds = [{"wkv": "plain"}, {"wkv": "stable"}, {"dtype": "float16"}]
    manifests = [export(checkpoint, tmp_path / f"{i}", **kind, **QUICK)[0] for i, kind in enumerate(kinds)]
    assert len({manifest.model_id for manifest in manifests}) == 1
    assert len({manifest.bundle_id for manifest in manifests}) == 3


def test_a_weight_too_large_for_float16_is_named_and_nothing_is_left(tmp_path):
    weights = random_weights(RRWKV)
    weights["blocks.1.ffn.value.weight"][3, 4] = 1e6
    checkpoint = open_checkpoint(write_rrwkv(tmp_path / "in", RRWKV, weights))
    message = r"tensor blocks.1.ffn.value.weight holds 1e\+06, which float16 cannot; export with --dtype float32"
    with pytest.raises(TensorError, match=message):
        export(checkpoint, tmp_path / "out", dtype="float16", **QUICK)
    assert names(tmp_path) == ["in"]


def test_a_disk_too_small_is_said_before_anything_is_written(small_checkpoint, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=100_000))
    with pytest.raises(OutputError, match=r"1 MB are needed and the disk has 0 MB left"):
        export(open_checkpoint(small_checkpoint), tmp_path / "new" / "out")
    assert names(tmp_path) == []


def test_a_graph_that_is_not_valid_onnx_is_an_export_error(tmp_path, monkeypatch):
    def invalid(*_, **__):
        raise onnx.checker.ValidationError("Nodes in a graph must be\nsorted")

    monkeypatch.setattr(bundles.onnx.checker, "check_model", invalid)
    weights = random_weights(RWKV4)
    with pytest.raises(ExportError, match=r"not valid ONNX \(Nodes in a graph must be\)"):
        write_graph(tmp_path, RWKV4, lambda name: weights[name].numpy().copy(), GraphOptions("plain"))


def test_progress_counts_up_to_its_total(small_checkpoint, tmp_path):
    told = {}
    checkpoint = open_checkpoint(small_checkpoint)
    export(checkpoint, tmp_path / "out", **QUICK, progress=lambda what, *done: told.setdefault(what, []).append(done))
    hashing = ["hashing the checkpoint", "hashing the bundle"]
    assert list(told) == ["computing the reference", "reading weights", "writing weights", *hashing, "verifying"]
    for steps in told.values():
        done, totals = zip(*steps)
        assert len(set(totals)) == 1
        assert list(done) == sorted(done)
        assert done[-1] == totals[0]


def graph_files(folder):
    """(name, graph's file) of all in a bundle."""
    return [(name, folder / graph.file) for name, graph in Manifest.load(folder).graphs.items()]


def facts_of(path):
    return {prop.key: prop.value for prop in onnx.load(str(path), load_external_data=False).metadata_props}


def unused(model):
    """Initializers that no node reads, within loops either; nor do the functions that are called with them."""
    bodies = {(function.domain, function.name): function for function in model.functions}

    def read_by(nodes):
        for node in nodes:
            body = bodies.get((node.domain, node.op_type))
            if body is None:
                yield from node.input
            else:
                inner = set(read_by(body.node))
                yield from (given for given, name in zip(node.input, body.input) if name in inner)
            for attribute in node.attribute:
                yield from read_by(attribute.g.node)

    return {tensor.name for tensor in model.graph.initializer} - set(read_by(model.graph.node))


@pytest.mark.parametrize("target", ["cpu", "cuda", "mobile"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("config", [RWKV4, RRWKV], ids=["rwkv4", "rrwkv"])
def test_every_initializer_is_read(make_tiny, config, dtype, target):
    for wkv in ["stable"] if target == "mobile" else ["plain", "stable"]:
        for name, path in graph_files(make_tiny(config, 0, wkv, dtype, target).path):
            assert unused(onnx.load(str(path), load_external_data=False)) == set(), name


CARD = "---\nlanguage: en\nlicense: {licence}\n{more}---\n# A model\nlicense: wrong\n"


@pytest.mark.parametrize(
    ("files", "licence", "name"),
    [
        ({}, None, None),
        ({"README.md": "license: mit\n"}, None, None),  # no front matter
        ({"README.md": CARD.format(licence="apache-2.0", more="")}, "apache-2.0", None),
        ({"README.md": CARD.format(licence="'cc-by-sa-4.0' # as the data", more="")}, "cc-by-sa-4.0", None),
        (
            {"README.md": CARD.format(licence="other", more="license_name: openmdw\nmodel_name: Raven\n")},
            "openmdw",
            "Raven",
        ),
        ({"README.md": CARD.format(licence="[a, \x1b[2J]", more="")}, None, None),
        ({"LICENSE": " " * 20 + "Apache License\n  Version 2.0, January 2004"}, "apache-2.0", None),
        ({"LICENSE": "All yours."}, None, None),
    ],
)
def test_the_graphs_say_what_they_are(files, licence, name, tmp_path):
    source = write_rrwkv(tmp_path / "in", RRWKV, random_weights(RRWKV))
    for file, text in files.items():
        (source / file).write_text(text)
    manifest, _ = export(open_checkpoint(source), tmp_path / "out", **QUICK)
    for graph, path in graph_files(tmp_path / "out"):
        facts = facts_of(path)
        assert (facts.get("license"), facts.get("model")) == (licence, name)
        assert facts["model_id"] == manifest.model_id
        assert (facts["graph"], facts["target"], facts["wkv"]) == (graph, "cpu", manifest.graphs[graph].wkv)
        assert facts["parameters"] == str(RRWKV.parameters())
        model = onnx.load(str(path), load_external_data=False)
        assert (model.producer_name, model.producer_version) == ("rrwkv-export", rrwkv_export.__version__)
        assert model.doc_string.startswith("RRWKV, ")
