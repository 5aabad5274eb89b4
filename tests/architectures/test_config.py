"""The same JSON in and out, and every field that is wrong named."""

from __future__ import annotations

import dataclasses
import json

import pytest
from checkpoint_files import RRWKV, RWKV4, random_weights
from hypothesis import given
from hypothesis import strategies as st

from rrwkv_export.architectures.config import MediumConfig, ModelConfig, load_config, read_json
from rrwkv_export.architectures.mediums import AdaptiveInterval
from rrwkv_export.architectures.rwkv4 import RWKV4Config
from rrwkv_export.errors import ConfigError

sizes = st.integers(1, 2**20)
adaptive = st.builds(lambda a, b: AdaptiveInterval(min(a, b), max(a, b)), st.integers(1, 2**16), st.integers(1, 2**16))
mediums = st.builds(MediumConfig, sizes | adaptive, st.sampled_from(["attention", "mean"]), sizes, sizes, sizes)
epsilons = st.floats(0, 1, exclude_min=True, exclude_max=True)
configs = st.builds(RWKV4Config, sizes, sizes, st.integers(1, 2**12), sizes, epsilons, st.none() | mediums)
NOT_A_SIZE = [0, -1, 2**20 + 1, 1.0, 1.5, True, "8", None, [8]]


@given(configs)
def test_json_round_trip(config):
    assert ModelConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


@given(configs)
def test_the_architecture_says_whether_there_are_mediums(config):
    assert config.to_json()["architecture"] == ("rrwkv" if config.medium else "rwkv4")


@pytest.mark.parametrize("value", NOT_A_SIZE, ids=repr)
@pytest.mark.parametrize("field", ["vocab_size", "hidden_size", "num_layers", "ffn_size"])
def test_a_bad_size_is_named(field, value):
    with pytest.raises(ConfigError, match=rf"^config: {field} must be an integer .*, not "):
        ModelConfig.from_json({**RRWKV.to_json(), field: value})


@pytest.mark.parametrize("value", NOT_A_SIZE, ids=repr)
@pytest.mark.parametrize("field", ["interval", "reduction", "slots", "key_size"])
def test_a_bad_size_of_the_medium_is_named(field, value):
    medium = {"interval": 4, field: value}
    with pytest.raises(ConfigError, match=rf"^medium: {field} must be an integer .*, not "):
        ModelConfig.from_json({**RRWKV.to_json(), "medium": medium})


@pytest.mark.parametrize("value", [0, 1, -1e-5, float("nan"), float("inf"), True, "1e-5", None], ids=repr)
def test_a_bad_epsilon_is_named(value):
    with pytest.raises(ConfigError, match="layer_norm_epsilon must be a number between 0 and 1, not"):
        ModelConfig.from_json({**RWKV4.to_json(), "layer_norm_epsilon": value})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"medium": {"interval": 4, "squeeze": "max"}}, "squeeze must be one of attention, mean, not 'max'"),
        ({"medium": {"interval": 4, "squeeze": ["mean"]}}, "squeeze must be one of"),
        ({"medium": {"interval": 4, "slot": 3}}, "medium: unknown field 'slot'; known are interval, key_size"),
        ({"medium": {"slots": 3}}, "medium: field 'interval' is missing"),
        (
            {"medium": {"interval": {"shortest": 0, "longest": 4}}},
            "medium: interval: shortest must be an integer from 1",
        ),
        ({"medium": {"interval": {"shortest": 4, "longest": 65537}}}, "longest must be an integer from 1 to 65536"),
        ({"medium": {"interval": {"shortest": 9, "longest": 8}}}, r"shortest \(9\) must not be above longest \(8\)"),
        ({"medium": {"interval": {"shortest": 4}}}, "medium: interval: field 'longest' is missing"),
        ({"medium": {"interval": {"shortest": 4, "longest": 8, "a": 1}}}, "medium: interval: unknown field 'a'"),
        ({"medium": 4}, "medium must be an object or null"),
        ({"medium": False}, "medium must be an object or null"),
        ({"architecture": "rwkv3"}, "architecture 'rwkv3' is not one of rrwkv, rwkv4, rwkv5, rwkv6, rwkv7"),
        ({"architecture": ["rrwkv"]}, r"architecture \['rrwkv'\] is not"),
        ({"architecture": "rwkv4"}, "architecture rwkv4 has no medium"),
        ({"head_size": 64}, "unknown field 'head_size'"),
    ],
)
def test_what_is_wrong_is_named(changes, message):
    with pytest.raises(ConfigError, match=message) as caught:
        ModelConfig.from_json({**RRWKV.to_json(), **changes})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("field", ["vocab_size", "hidden_size", "num_layers", "ffn_size"])
def test_a_missing_field_is_named(field):
    fields = {name: value for name, value in RWKV4.to_json().items() if name != field}
    with pytest.raises(ConfigError, match=f"field '{field}' is missing"):
        ModelConfig.from_json(fields)


@pytest.mark.parametrize("fields", [None, [], "rrwkv", 4])
def test_a_config_is_an_object(fields):
    with pytest.raises(ConfigError, match="must hold a JSON object"):
        ModelConfig.from_json(fields)


def test_what_may_be_left_out():
    required = {"vocab_size": 40, "hidden_size": 16, "num_layers": 2, "ffn_size": 48}
    assert ModelConfig.from_json(required) == RWKV4
    assert ModelConfig.from_json({**required, "medium": {"interval": 4, "slots": 2, "key_size": 8}}) == RRWKV


def test_a_config_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        RRWKV.hidden_size = 3


@pytest.mark.parametrize(("channels", "reduction", "bottleneck"), [(320, 16, 20), (16, 16, 8), (100, 1, 100)])
def test_the_bottleneck_is_at_least_eight(channels, reduction, bottleneck):
    assert MediumConfig(4, reduction=reduction).bottleneck(channels) == bottleneck


@pytest.mark.parametrize("config", [RWKV4, RRWKV], ids=["rwkv4", "rrwkv"])
def test_parameters_are_the_numbers_in_the_weights(config):
    assert config.parameters() == sum(weight.numel() for weight in random_weights(config).values())


def test_a_mean_squeeze_has_no_weight():
    mean = dataclasses.replace(RRWKV, medium=MediumConfig(4, squeeze="mean", slots=2, key_size=8))
    assert RRWKV.shapes().keys() - mean.shapes().keys() == {f"blocks.{i}.medium.squeeze" for i in range(2)}


@pytest.mark.parametrize("content", [b"", b"{", b"[" * 100_000, b"1" * 10_000, b'{"a": 1}x'], ids=range(5))
def test_a_file_that_is_not_json_is_named(tmp_path, content):
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(ConfigError, match=r"config.json: not valid JSON \(") as caught:
        load_config(tmp_path / "config.json")
    assert "\n" not in str(caught.value)


def test_json_is_utf8_with_a_byte_order_mark_or_without(tmp_path):
    path = tmp_path / "config.json"
    for encoding in ("utf-8", "utf-8-sig"):
        path.write_text('{"a": 1}', encoding=encoding)
        assert read_json(path) == {"a": 1}
    path.write_text('{"a": 1}', encoding="utf-16")
    with pytest.raises(ConfigError, match=r"config.json: UTF-16, not UTF-8 text; convert it first: iconv"):
        read_json(path)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"absent.json: no such file"):
        load_config(tmp_path / "absent.json")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path)
    (tmp_path / "large.json").write_text("[1, 2, 3]")
    with pytest.raises(ConfigError, match="larger than 4 bytes"):
        read_json(tmp_path / "large.json", largest=4)
