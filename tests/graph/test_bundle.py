"""A bundle is written whole or not at all, and the same checkpoint always gives the same one."""

from __future__ import annotations

import dataclasses
import json
import shutil

import numpy as np
import onnx
import pytest
import torch
from checkpoint_files import ASSET, RRWKV, RWKV4, RWKV7, random_weights, write_blinkdl, write_huggingface, write_rrwkv

import rrwkv_export
from rrwkv_export import bundle as bundles
from rrwkv_export.bundle import GraphOptions, compute_model_id, write_graph
from rrwkv_export.checkpoint import open_checkpoint
from rrwkv_export.errors import ExportError, OutputError, TensorError
from rrwkv_export.export import export
from rrwkv_runtime.manifest import Manifest

QUICK = {"tokens": 12}


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


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
    assert [manifest.chat.eos_token_id for manifest in manifests] == [0, 0, 0, 0]
    assert len({manifest.bundle_id for manifest in manifests}) == 1


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
@pytest.mark.parametrize("config", [RWKV4, RRWKV, RWKV7], ids=["rwkv4", "rrwkv", "rwkv7"])
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
        assert (facts["graph"], facts["target"], facts["wkv"]) == (graph, "cpu", manifest.form)
        assert facts["parameters"] == str(RRWKV.parameters())
        model = onnx.load(str(path), load_external_data=False)
        assert (model.producer_name, model.producer_version) == ("rrwkv-export", rrwkv_export.__version__)
        assert model.doc_string.startswith("RRWKV, ")
