"""Files as token ids."""

from __future__ import annotations

import contextlib
import hashlib
import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from checkpoint_files import RWKV4
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rrwkv_export.errors import TextError
from rrwkv_export.texts import Text, read_text
from rrwkv_runtime.errors import RRWKVError
from rrwkv_runtime.manifest import Manifest
from rrwkv_runtime.tokenizer import load_tokenizer

TURNS = [{"role": "user", "text": "Hello there!"}, {"role": "assistant", "text": "Hi."}]
FIELDS = ["turns", "messages", "role", "from", "text", "content", "value", "prompt", "completion", "type", "system"]
DIALOGUE = json.dumps({"turns": TURNS})


@pytest.fixture
def write(tmp_path):
    def written(name, content):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return written


@pytest.fixture(scope="module")
def encode(demo_bundle):
    return load_tokenizer(demo_bundle, Manifest.load(demo_bundle)).encode


def test_plain_text_is_one_passage_after_the_beginning_of_text(write, demo_bundle, encode):
    text = read_text(write("a.txt", "Once upon a time\n"), demo_bundle)
    assert text.ids.tolist() == [0, *encode("Once upon a time\n")]
    assert (text.name, text.sha256) == ("a.txt", hashlib.sha256(b"Once upon a time\n").hexdigest())


def test_dialogues_are_in_the_bundles_chat_format(write, demo_bundle, encode):
    text = read_text(write("a.jsonl", f"{DIALOGUE}\n\n{DIALOGUE}\n"), demo_bundle)
    expected = [0, *encode("User: Hello there!\n\nAssistant: Hi.\n\n")]
    assert [ids.tolist() for ids in text.passages] == [expected, expected]
    assert text.ids.tolist() == 2 * expected
    assert text.ids.dtype == np.int64


def test_special_tokens_in_what_is_said_are_text_and_between_the_texts_of_a_corpus_tokens(write, demo_bundle, encode):
    said = [{"role": role, "text": "a<|endoftext|>b"} for role in ("user", "assistant")]
    (ids,) = read_text(write("a.jsonl", json.dumps({"turns": said})), demo_bundle).passages
    assert ids.tolist() == [0, *encode("User: a<|endoftext|>b\n\nAssistant: a<|endoftext|>b\n\n")]
    assert ids.tolist().count(0) == 1
    assert read_text(write("a.txt", "a<|endoftext|>b"), demo_bundle).ids.tolist().count(0) == 2


def test_ids_need_no_tokenizer(write, make_tiny):
    text = read_text(write("a.ids", "1, 2,3\n\n4 5\n"), make_tiny(RWKV4).path)
    assert [ids.tolist() for ids in text.passages] == [[1, 2, 3], [4, 5]]


def test_a_sample_keeps_the_files_order_and_repeats_with_its_seed():
    text = Text("a", "", tuple(np.array([i]) for i in range(20)))
    drawn = text.sample(5, seed=3)
    assert len(drawn.passages) == 5
    assert (np.diff(drawn.ids) > 0).all()
    assert drawn.ids.tolist() == text.sample(5, seed=3).ids.tolist() != text.sample(5, seed=4).ids.tolist()
    assert text.sample(20, seed=3) is text


HELLO = "User: Hello there!\n\nAssistant: Hi.\n\n"
MESSAGES = [{"role": "user", "content": "Hello there!"}, {"role": "assistant", "content": "Hi."}]
SYSTEM = {"role": "system", "content": "Be kind."}


@pytest.mark.parametrize(
    ("record", "written"),
    [
        ({"turns": TURNS, "source": "self"}, HELLO),
        ({"messages": MESSAGES, "prompt": "Hello there!"}, HELLO),
        ({"messages": [SYSTEM, *MESSAGES]}, "Be kind.\n\n" + HELLO),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "Hello there!"}]}, TURNS[1]]}, HELLO),
        ({"conversations": [{"from": "human", "value": "Hello there!"}, {"from": "gpt", "value": "Hi."}]}, HELLO),
        ({"conversations": MESSAGES, "system": "Be kind."}, "Be kind.\n\n" + HELLO),
        (MESSAGES, HELLO),
        ({"instruction": "Hello there!", "input": "", "output": "Hi."}, HELLO),
        ({"instruction": "Hello", "context": "there!", "response": "Hi."}, HELLO.replace("Hello ", "Hello\n")),
        ({"question": "Hello there!", "answer": "Hi."}, HELLO),
        ({"prompt": MESSAGES[:1], "completion": MESSAGES[1:]}, HELLO),
        ({"prompt": "Once upon", "completion": " a time"}, "Once upon a time"),
        ({"text": HELLO, "id": 7}, HELLO),
        ({"text": HELLO, "messages": None, "prompt": None, "completion": "x"}, HELLO),
        ("Once upon a time", "Once upon a time"),
    ],
)
def test_records_in_the_forms_that_data_sets_have(write, demo_bundle, encode, record, written):
    expected = [0, *encode(written)]
    line = json.dumps(record)
    for name, content in {
        "a.jsonl": f"{line}\n\n{line}\r\n",
        "a.NDJSON": f"\ufeff{line}\n{line}",
        "a.json": json.dumps([record, record], indent=1),
        "b.json": f"{line}\n{line}\n",  # lines under the wrong name
    }.items():
        text = read_text(write(name, content), demo_bundle)
        assert [ids.tolist() for ids in text.passages] == [expected, expected], name
    assert read_text(write("one.json", line), demo_bundle).ids.tolist() == expected


@pytest.mark.parametrize("mark", ["\u2028", "\u2029", "\x85", "\x0c", "\x1c"])
def test_only_line_feeds_end_a_line(write, demo_bundle, encode, make_tiny, mark):
    record = json.dumps({"text": f"Once{mark}upon"}, ensure_ascii=False)
    text = read_text(write("a.jsonl", f"{record}\n{record}\n"), demo_bundle)
    assert [ids.tolist() for ids in text.passages] == 2 * [[0, *encode(f"Once{mark}upon")]]
    assert len(read_text(write("a.ids", f"1 2{mark}3\n4"), make_tiny(RWKV4).path).passages) == 2


def test_a_byte_order_mark_is_no_text(write, demo_bundle, encode):
    assert read_text(write("a.txt", "\ufeffOnce upon"), demo_bundle).ids.tolist() == [0, *encode("Once upon")]
    assert read_text(write("a.ids", "\ufeff1 2"), demo_bundle).ids.tolist() == [1, 2]
    with pytest.raises(TextError, match="UTF-16, not UTF-8 text; convert it first: iconv -f UTF-16"):
        read_text(write("a.txt", "Once upon".encode("utf-16")), demo_bundle)


@pytest.mark.parametrize("name", ["a", "a.txt", "a.TXT", "a.text", "a.md", "wiki.test.raw"])
def test_plain_text_by_its_name(write, demo_bundle, encode, name):
    assert read_text(write(name, '{"text": "a"}'), demo_bundle).ids.tolist() == [0, *encode('{"text": "a"}')]


def test_records_without_text_are_left_out(write, demo_bundle):
    lines = ['{"text": "Once"}', '{"text": " "}', '{"messages": []}', '""', '{"text": "upon"}']
    assert len(read_text(write("a.jsonl", "\n".join(lines)), demo_bundle).passages) == 2


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.txt", "", "the text is empty; at least 2 tokens"),
        ("a.txt", " \n", "the text is empty"),
        ("a.jsonl", "\n\n", "the text is empty"),
        ("a.json", "", "the text is empty"),
        ("a.ids", "7", "has only 1 token"),
        ("a.txt", b"caf\xe9 au lait", "not UTF-8 text (byte 3)"),
        ("a.txt", "a\0b", "a NUL at character 1"),
        ("a.csv", "a,b", ".csv is no text that is read; give .jsonl or .json"),
        ("a.jsonl.gz", "", ".gz is no text that is read"),
        ("a.ids", "1 2 4096", "token id 4096 is outside 0..4095"),
        ("a.ids", "1 -2", "token id -2 is outside"),
        ("a.ids", "1 2\n3 x", "line 2: 'x' is not a token id; .ids has whole numbers"),
        ("a.ids", "1 2.0", "line 1: '2.0' is not a token id"),
        ("a.ids", "1 " + "9" * 30, "is not a token id"),
        ("a.ids", "1 999999999999999999", "is outside 0..4095"),
        ("a.jsonl", f"{DIALOGUE}\nnot json", "line 2 is not JSON"),
        ("a.jsonl", '{"turns": [{"role": "robot", "text": "beep"}]}', "line 1: a turn's role is 'robot', not system"),
        ("a.jsonl", '{"turns": [{"role": "user", "text": 5}]}', "line 1: text is 5, not text"),
        ("a.jsonl", '{"messages": [{"role": "user", "content": null}]}', "content is None, not text"),
        ("a.jsonl", '{"messages": [{"role": "user", "content": [{"type": "image"}]}]}', "content is a list, not text"),
        ("a.jsonl", '["turns"]', "line 1: 'turns' is no turn such as"),
        ("a.jsonl", '{"turns": 3}', "line 1: 3 is no list of turns"),
        ("a.jsonl", '{"chosen": "a", "rejected": "b"}', "prompt and completion, instruction and output, question and"),
        ("a.jsonl", '{"chosen": "a", "rejected": "b"}', "but 'chosen', 'rejected'"),
        ("a.jsonl", "{}", "and answer)"),
        ("a.jsonl", "[" * 100_000, "line 1 is not JSON (nested too deeply)"),
        ("a.jsonl", "9" * 5000, "line 1 is not JSON"),
        ("a.jsonl", "9" * 4000, "line 1: a number is no text"),
        ("a.jsonl", '{"text": "\\ud800"}', "lone surrogate"),
        ("a.json", "[[1, 2], [3]]", "record 1: 1 is no turn"),
        ("a.json", '[{"text": "a"}, {"txt": "b"}]', "record 2: it has none of the fields"),
        ("a.json", '{"text": "a"', "it is not JSON"),
    ],
)
def test_a_text_that_cannot_be_used_says_why(write, demo_bundle, name, content, said):
    with pytest.raises(TextError) as raised:
        read_text(write(name, content), demo_bundle)
    assert said in str(raised.value)
    assert name in str(raised.value)
    assert "\n" not in str(raised.value)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("user"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS) | st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(content=values.map(json.dumps) | st.binary(max_size=60), name=st.sampled_from(["a.json", "a.jsonl", "a.ids"]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_content_is_a_text_or_one_error(write, small_bundle, content, name):
    with contextlib.suppress(RRWKVError):
        assert len(read_text(write(name, content), small_bundle).ids) >= 2


def test_a_pipe_is_a_text_and_a_device_without_end_is_none(small_bundle, encode):
    with subprocess.Popen(["echo", "Once upon"], stdout=subprocess.PIPE) as process:
        text = read_text(Path(f"/dev/fd/{process.stdout.fileno()}"), small_bundle)
    assert text.ids.tolist() == encode("Once upon\n")
    with pytest.raises(TextError, match="/dev/zero: larger than 128 MiB"):
        read_text(Path("/dev/zero"), small_bundle)


def test_no_such_file(tmp_path, demo_bundle):
    with pytest.raises(TextError, match="no such file"):
        read_text(tmp_path / "nowhere.txt", demo_bundle)


def test_a_folder_is_no_text(tmp_path, demo_bundle):
    with pytest.raises(TextError, match="a folder; give the files in it"):
        read_text(tmp_path, demo_bundle)


def test_text_for_a_bundle_without_a_tokenizer(write, make_tiny):
    with pytest.raises(TextError, match=r"no tokenizer, so it takes token ids only; give a \.ids file"):
        read_text(write("a.txt", "Hello"), make_tiny(RWKV4).path)
