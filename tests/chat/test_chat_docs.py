"""docs/chat-format.md: every field is there, and its examples are formats."""

import dataclasses
import json
import re
from pathlib import Path

import pytest

from rrwkv_export.checkpoint.beside.chat import _from_json
from rrwkv_export.errors import ConfigError
from rrwkv_runtime.manifest import ChatFormat
from rrwkv_runtime.sampling import SamplingOptions

PAGE = (Path(__file__).parents[2] / "docs/chat-format.md").read_text()
FIELDS = dict(re.findall(r"^\| `(\w+)` \| .*? \| (.*?) \|", PAGE, re.M))
EXAMPLES = re.findall(r"```json\n(.*?)```", PAGE, re.S)


def test_every_field_and_its_default_are_documented():
    default = ChatFormat()
    assert FIELDS.keys() == {field.name for field in dataclasses.fields(ChatFormat)}
    for name in ("user", "assistant", "turn_end"):
        assert json.loads(FIELDS[name].strip("`")) == getattr(default, name)
    for name in set(SamplingOptions.__annotations__) - {"logit_bias"}:
        assert f"`{name}`" in PAGE


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_examples_are_formats(example):
    assert _from_json(json.loads(example), "chat.json", 100)


@pytest.mark.parametrize("value", [10**400, float("nan"), float("inf")])
def test_numbers_of_absurd_size_are_refused(value):
    with pytest.raises(ConfigError, match="sampling must be"):
        _from_json({"sampling": {"temperature": value}}, "chat.json", 100)
