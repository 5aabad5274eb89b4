"""docs/chat-format.md: every field is there, and its examples are formats."""

import dataclasses
import json
import re
from pathlib import Path

import pytest

from rrwkv_export.checkpoint.beside.chat import FORMATS, _from_json
from rrwkv_export.errors import ConfigError
from rrwkv_runtime.manifest import ChatFormat, Thinking
from rrwkv_runtime.sampling import SamplingOptions

PAGE = (Path(__file__).parents[2] / "docs/chat-format.md").read_text()
ROW = re.compile(r"^\| `(\w+)`(?:, `(\w+)`)? \| [^|]+ \| ([^|]+?) \| [^|]+ \|$", re.M)
_BEFORE, _THOUGHTS = PAGE.split("## Thoughts\n")
FIELDS = {name: default for name, _, default in ROW.findall(_BEFORE)}
THINKING = {name: default for *names, default in ROW.findall(_THOUGHTS) for name in filter(None, names)}
EXAMPLES = re.findall(r"```json\n(.*?)```", PAGE, re.S)


def test_every_field_and_its_default_are_documented():
    default = ChatFormat()
    assert FIELDS.keys() == {field.name for field in dataclasses.fields(ChatFormat)}
    for name in ("user", "assistant", "turn_end"):
        assert json.loads(FIELDS[name].strip("`")) == getattr(default, name)
    assert json.loads(FIELDS["system"].strip("`")) == default.system
    for name in set(SamplingOptions.__annotations__) - {"logit_bias"}:
        assert f"`{name}`" in PAGE


def test_every_field_of_thinking_and_its_default_are_documented():
    default = Thinking()
    assert THINKING.keys() == {field.name for field in dataclasses.fields(Thinking)}
    assert [json.loads(THINKING[name].strip("`")) for name in ("open", "skip", "kept")] == [
        default.open,
        default.skip,
        default.kept,
    ]
    assert THINKING["begin"] == THINKING["end"] == f'`"{default.begin}"`, `"{default.end}"`'


def test_the_names_of_formats_are_documented_and_g1_is_the_example():
    assert set(re.findall(r"^\| `(\w+)` \| [^|]+ \|$", _BEFORE, re.M)) == set(FORMATS)
    examples = [_from_json(json.loads(example), "chat.json", 100) for example in EXAMPLES]
    assert _from_json(FORMATS["g1"], "g1", 100) in examples


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_examples_are_formats(example):
    assert _from_json(json.loads(example), "chat.json", 100)


@pytest.mark.parametrize("value", [10**400, float("nan"), float("inf")])
def test_numbers_of_absurd_size_are_refused(value):
    with pytest.raises(ConfigError, match="sampling must be"):
        _from_json({"sampling": {"temperature": value}}, "chat.json", 100)
