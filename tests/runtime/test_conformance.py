"""The Python runtime against the vectors that every runtime is held against: see tests/conformance/README.md."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest

from rrwkv_runtime.bundle.canonical import canonical_json
from rrwkv_runtime.chat import Chat
from rrwkv_runtime.execution.state_values import fitted, other_form
from rrwkv_runtime.manifest import FORMAT_VERSION, Manifest, Thinking, compute_bundle_id, schema, verify_files
from rrwkv_runtime.model import Model
from rrwkv_runtime.sampling import generator
from rrwkv_runtime.text.thinking import ThoughtAndAnswer
from rrwkv_runtime.tokenizer import open_tokenizer

HERE = Path(__file__).parents[1] / "conformance"
VECTORS = json.loads((HERE / "vectors.json").read_text(encoding="utf-8"))
DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "bundle-format.md").read_text(encoding="utf-8")
TOKENIZERS = {"bundle/tokenizer.json": "tokenizer.json", "rwkv_vocab.txt": "rwkv-world"}


@pytest.fixture(scope="module", params=[None, "mobile"], ids=["any length", "fixed shapes"])
def model(request):
    return Model.load(HERE / "bundle", threads=1, variant=request.param)


def cases(name):
    return pytest.mark.parametrize("case", VECTORS[name], ids=lambda case: str(case.get("name", ""))[:30])


def assert_close(found, expected):
    expected = np.asarray(expected)
    assert np.shape(found) == expected.shape
    largest = max(1e-30, np.abs(expected).max(initial=0))
    assert np.abs(found - expected).max(initial=0) <= VECTORS["tolerance"] * largest


def with_biases(options):
    """Names in JSON are strings."""
    biases = {int(i): bias for i, bias in options.get("logit_bias", {}).items()}
    return {**options, "logit_bias": biases}


def assert_tokens(found, expected):
    assert [(t.id, t.text, t.finish) for t in found] == [(t["id"], t["text"], t["finish"]) for t in expected]
    np.testing.assert_allclose([t.logprob for t in found], [t["logprob"] for t in expected], rtol=0, atol=1e-3)


def test_the_set_is_small_and_the_bundle_whole():
    assert sum(path.stat().st_size for path in HERE.rglob("*") if path.is_file()) < 1e6
    manifest = Manifest.load(HERE / "bundle")
    verify_files(HERE / "bundle", manifest)
    assert manifest.bundle_id == VECTORS["bundle_id"]


@cases("canonical_json")
def test_canonical_json(case):
    assert canonical_json(case["value"]).decode() == case["text"]
    assert hashlib.sha256(canonical_json(case["value"])).hexdigest() == case["sha256"]


@pytest.mark.parametrize("file", VECTORS["tokenizers"])
def test_text_to_ids_and_back(file):
    tokenizer, vectors = open_tokenizer(TOKENIZERS[file], HERE / file), VECTORS["tokenizers"][file]
    for case in vectors["encode"]:
        assert tokenizer.encode(case["text"], case["special"]) == case["ids"], case
    for case in vectors["stream"]:
        stream = tokenizer.stream()
        assert [stream.push(i) for i in case["ids"]] == case["pieces"], case
        assert stream.flush() == case["flush"], case
        assert tokenizer.decode(case["ids"]) == case["decoded"], case


@cases("logits")
def test_ids_to_logits(model, case):
    assert_logits(model, case)


def assert_logits(model, case):
    assert_close(model.forward(case["ids"], num_logits=case["num_logits"])[0], case["logits"])
    decoder = model.decoder()
    rows = [decoder.step(token).copy() for token in case["ids"]]
    assert_close(np.stack(rows[-case["num_logits"] :]), case["logits"])


@cases("states")
def test_the_state_after_some_tokens(model, case):
    assert_states(model, case)


def assert_states(model, case):
    decoder = model.decoder()
    for token in case["ids"]:
        decoder.step(token)
    whole = model.forward(case["ids"])[1] if case["ids"] else model.initial_state()
    for state in (decoder.state(), whole):
        assert state.values.keys() == case["values"].keys()
        for name, value in case["values"].items():
            assert_close(state.values[name], value)


def test_segments_that_end_where_enough_was_told():
    vectors = json.loads((HERE / "adaptive" / "vectors.json").read_text(encoding="utf-8"))
    model = Model.load(HERE / "adaptive" / "bundle", threads=1)
    assert compute_bundle_id(json.loads((model.path / "manifest.json").read_bytes())) == vectors["bundle_id"]
    for case in vectors["logits"]:
        assert_logits(model, case)
    for case in vectors["states"]:
        assert_states(model, case)


def test_a_saved_state_goes_on(model):
    case = VECTORS["state_file"]
    state = model.load_state(HERE / case["file"])
    assert state.position == len(case["after"])
    assert_close(model.forward(case["then"], state)[0], case["logits"])


@pytest.mark.parametrize("name", VECTORS["conversion"])
def test_wkv_in_its_other_form(name):
    manifest, case = Manifest.load(HERE / "bundle"), VECTORS["conversion"][name]
    other = dataclasses.replace(manifest, states=other_form(manifest.states))
    values = {spec.input: spec.initial() for spec in manifest.states} | {"wkv": np.array(case["stable"], np.float32)}
    plain = fitted(values, other)
    assert_close(plain["wkv"], case["plain"])
    assert_close(fitted(plain, manifest)["wkv"], case["back"])


@cases("random")
def test_the_random_numbers_of_a_seed(case):
    random = generator(case["seed"])
    assert [random.random() for _ in case["doubles"]] == case["doubles"]


@cases("generate")
def test_generated_tokens(model, case):
    options = {name: value for name, value in case.items() if name not in ("name", "tokens")}
    assert_tokens(list(model.generate(**with_biases(options))), case["tokens"])


@cases("chat")
def test_a_scripted_chat(model, case):
    chat = Chat(model, **with_biases(case["options"]))
    for turn in case["turns"]:
        assert_tokens(list(chat.send(turn["user"])), turn["tokens"])
        assert (chat.turns[-1][1], chat.position) == (turn["reply"], turn["position"])


@cases("thoughts")
def test_a_reply_is_taken_apart(case):
    reply = ThoughtAndAnswer(Thinking(), case["begun"], ["\n\n"], ["\n\nUser:"])
    shown = [[reply.push(piece), reply.take_thought()][::-1] for piece in case["pieces"]]
    text = "" if reply.matched else reply.flush()
    assert (shown, [reply.take_thought(), text], reply.matched) == (case["shown"], case["flush"], case["stop"])


@cases("thinking")
def test_a_scripted_chat_with_thoughts(model, case, monkeypatch):
    form = dataclasses.replace(model.manifest.chat, thinking=Thinking(**case["thinking"]))
    monkeypatch.setattr(model, "manifest", dataclasses.replace(model.manifest, chat=form))
    chat = Chat(model, **case["options"])
    for turn in case["turns"]:
        tokens = list(chat.send(turn["user"]))
        assert_tokens(tokens, turn["tokens"])
        assert [token.thought for token in tokens] == [token.get("thought", "") for token in turn["tokens"]]
        assert (chat.turns[-1][1], chat.position) == (turn["reply"], turn["position"])


def members(schema):
    """The names of all members that the manifest's schema knows."""
    for name, inner in schema.get("properties", {}).items():
        yield name
        yield from members(inner)
    for inner in (*schema.get("$defs", {}).values(), schema.get("items"), schema.get("additionalProperties")):
        if isinstance(inner, dict):
            yield from members(inner)


def test_every_member_of_a_manifest_is_documented():
    """Less those that are for people, of which a runtime needs nothing."""
    known = {**schema(), "properties": {**schema()["properties"], "parity": {}, "quantization": {}}}
    assert f"# The bundle format, version {FORMAT_VERSION}\n" in PAGE
    assert not {name for name in members(known) if f"`{name}`" not in PAGE}


def test_the_members_that_decide_the_id_are_documented():
    changed = {name: compute_bundle_id({name: 1}) != compute_bundle_id({}) for name in schema()["properties"]}
    listed = next(line for line in PAGE.splitlines() if line.startswith("    format_version, "))
    assert {name for name, differs in changed.items() if differs} == set(listed.strip().split(", "))


def test_no_word_of_the_glossary_is_there_twice():
    words = re.findall(r"^\| ([^|]+) \|", (DOCS / "glossary.md").read_text(encoding="utf-8"), re.M)
    assert len(words) > 80
    assert [word for word in words if words.count(word) > 1 and word != "word"] == []
