"""Saved states: whole or refused, and never those of another model."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import struct

import numpy as np
import pytest
from checkpoint_files import ADAPTIVE, RRWKV, RWKV4
from hypothesis import given, settings
from hypothesis import strategies as st

from rrwkv_runtime.errors import OtherBundle, StateError
from rrwkv_runtime.manifest import Manifest
from rrwkv_runtime.state import State

IDS = np.random.default_rng(8).integers(0, 40, 20).tolist()


@pytest.fixture(scope="session")
def tiny(make_tiny):
    return make_tiny(RRWKV)


@pytest.fixture
def state(tiny):
    return tiny.model.forward(IDS)[1]


@pytest.fixture
def saved(state, tmp_path):
    state.save(tmp_path / "talk.state")
    return tmp_path / "talk.state"


@pytest.fixture(scope="session")
def saved_once(tiny, tmp_path_factory):
    """For hypothesis: one saved state and its bytes."""
    path = tmp_path_factory.mktemp("state") / "talk.state"
    state = tiny.model.forward(IDS)[1]
    state.save(path)
    return path.with_name("changed.state"), path.read_bytes(), state


def assert_same(found, expected):
    assert (found.bundle_id, found.model_id) == (expected.bundle_id, expected.model_id)
    assert list(found.values) == list(expected.values)
    for name, value in expected.values.items():
        np.testing.assert_array_equal(found.values[name], value, strict=True)


def other(manifest, **changes):
    return dataclasses.replace(manifest, **{name: value * 64 for name, value in changes.items()})


@pytest.mark.parametrize("config", [RWKV4, RRWKV], ids=["rwkv4", "rrwkv"])
@pytest.mark.parametrize("wkv", ["plain", "stable"])
def test_a_state_survives_the_file(make_tiny, tmp_path, config, wkv):
    model = make_tiny(config, 1, wkv).model
    _, state = model.forward(IDS[:9])
    state.save(tmp_path / "s")
    restored = model.load_state(str(tmp_path / "s"))
    assert_same(restored, state)
    expected, _ = model.forward(IDS[9:], state)
    np.testing.assert_array_equal(model.forward(IDS[9:], restored)[0], expected)


def test_the_initial_state_is_that_of_the_manifest(tiny, make_tiny):
    state = tiny.model.initial_state()
    assert {name: value.shape for name, value in state.values.items()} == {
        spec.input: spec.shape for spec in tiny.model.manifest.states
    }
    assert not any(value.any() for value in state.values.values())
    stable = make_tiny(RRWKV, 0, "stable").model.initial_state().values["wkv"]
    assert (stable[:, 2] == np.float32(-1e30)).all()
    assert not stable[:, :2].any()


def test_position_and_size(tiny, state):
    assert state.position == len(IDS)
    assert state.nbytes == sum(spec.nbytes for spec in tiny.model.manifest.states)


def test_a_copy_shares_nothing(state):
    copied = state.copy()
    for value in copied.values.values():
        value[...] = 1
    assert state.position == len(IDS)
    assert not any(np.shares_memory(copied.values[name], state.values[name]) for name in state.values)


def test_a_loaded_state_can_be_written_to(tiny, saved):
    assert all(value.flags.writeable for value in tiny.model.load_state(saved).values.values())


def test_a_state_of_another_model_is_refused(tiny, saved):
    foreign = other(tiny.model.manifest, bundle_id="a", model_id="b")
    for allow in (False, True):
        with pytest.raises(StateError, match=r"belongs to another model .*, not to this one"):
            State.load(saved, foreign, allow_other_quantization=allow)


def test_a_state_of_another_quantization_is_refused_unless_allowed(tiny, saved, state):
    sibling = other(tiny.model.manifest, bundle_id="a")
    with pytest.raises(StateError, match=r"another bundle of this model .*; allow_other_quantization=True"):
        State.load(saved, sibling)
    loaded = State.load(saved, sibling, allow_other_quantization=True)
    assert loaded.bundle_id == "a" * 64
    assert_same(loaded, dataclasses.replace(state, bundle_id="a" * 64))


def test_another_layout_is_refused(tiny, make_tiny, saved):
    """Another model that gives itself out to be this one."""
    other_size = dataclasses.replace(RRWKV, num_layers=RRWKV.num_layers + 1)
    model = make_tiny(other_size, 0).model
    assert model.manifest.model_id == tiny.model.manifest.model_id
    with pytest.raises(StateError, match="laid out differently"):
        model.load_state(saved, allow_other_quantization=True)
    with pytest.raises(StateError, match=r"laid out differently .*\(shift is float32 \["):
        model.decoder(tiny.model.initial_state(), allow_other_quantization=True)


@pytest.mark.parametrize(("first", "second"), [("plain", "stable"), ("stable", "plain")])
@pytest.mark.parametrize("count", [0, 1, 9, 12])
def test_a_text_goes_on_in_the_other_form_of_wkv(make_tiny, tmp_path, first, second, count):
    one, other = (make_tiny(RRWKV, 0, form).model for form in (first, second))
    state = one.forward(IDS[:count])[1] if count else one.initial_state()
    state.save(tmp_path / "s")
    with pytest.raises(OtherBundle):
        other.load_state(tmp_path / "s")
    loaded = other.load_state(tmp_path / "s", allow_other_quantization=True)
    expected = one.forward(IDS[count:], state)[0]
    for decoder in (other.decoder(loaded), other.decoder(state, allow_other_quantization=True)):
        assert np.abs(decoder.prefill(IDS[count:]) - expected).max() <= 1e-5 * np.abs(expected).max()


def test_sums_beyond_float32_stay_in_the_stable_form(make_tiny):
    plain, stable = (make_tiny(RRWKV, 0, form).model for form in ("plain", "stable"))
    state = stable.forward(IDS)[1]
    wkv = state.values["wkv"]
    wkv[:, 2] = 87
    wkv[:, :2] = 1
    assert np.isfinite(plain.decoder(state, allow_other_quantization=True).prefill(IDS)).all()
    wkv[0, 2, 0] = 300
    with pytest.raises(StateError, match=r"sums reach e\^300, and float32.* holds e\^89; .* with --wkv stable"):
        plain.decoder(state, allow_other_quantization=True)
    wkv[0, :2, 0] = 0  # then the exponent says nothing
    plain.decoder(state, allow_other_quantization=True)


@pytest.mark.parametrize("wkv", ["plain", "stable"])
@pytest.mark.parametrize(
    ("name", "at", "value", "message"),
    [
        ("shift", (0, 0, 0), np.nan, "shift holds NaN or infinity"),
        ("wkv", (1, 1, 3), np.inf, "wkv holds NaN or infinity"),
        ("wkv", (1, 1, 3), -1, "wkv holds a negative sum"),
        ("medium_bank", (0, 0, 0), -np.inf, "medium_bank holds NaN"),
        ("medium_weight", (1, 0, 0), 0, "medium_weight is 0, . tokens into a segment, where"),
        ("medium_weight", (0, 0, 0), -2, "medium_weight is -2"),
        ("shift", (1, 0, 2), 1e38, r"shift holds 1e\+38, on which a step overflows"),
        ("medium_bank", (0, 0, 0), -1e30, r"medium_bank holds 1e\+30"),
        ("medium_key", (0, 0, 0), 2e19, r"medium_key holds 2e\+19"),
        ("medium_sum", (0, 0, 0), 1e38, "medium_sum holds a mean of"),
        ("wkv", (1, 0, 3), 1e38, "wkv holds a mean of"),
        ("position", (), -1, "a position of -1 is out of range"),
        ("position", (), 2**63 - 1, "a position of 9223372036854775807 is out of range"),
    ],
)
def test_values_that_no_text_leads_to_are_refused(make_tiny, tmp_path, wkv, name, at, value, message):
    model = make_tiny(RRWKV, 0, wkv).model
    state = model.forward(IDS[:7])[1]
    state.values[name][at] = value
    state.save(tmp_path / "s")
    for use in (lambda: model.load_state(tmp_path / "s"), lambda: model.forward([1], state)):
        with pytest.raises(StateError, match=message):
            use()
    with pytest.raises(StateError, match="its states are not this bundle's"):
        model.decoder(dataclasses.replace(state, values={}))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("medium_information", 6, "7 tokens do not tell 6 / 65536"),
        ("medium_information", 7 * 2**16 + 1, "7 tokens do not tell 458753 / 65536"),
        ("medium_token", 40, "medium_token is 40, after 7 tokens"),
        ("medium_token", -1, "medium_token is -1, after 7 tokens"),
        ("medium_weight", 0, "medium_weight is 0, .* of the way into a segment, where"),
    ],
)
def test_values_that_no_adaptive_interval_leads_to_are_refused(make_tiny, name, value, message):
    model = make_tiny(dataclasses.replace(RRWKV, medium=ADAPTIVE)).model
    state = model.forward(IDS[:7])[1]
    state.values[name][...] = value
    with pytest.raises(StateError, match=message):
        model.decoder(state)


def test_a_state_and_a_model_are_shown_in_a_line(tiny, state):
    assert re.fullmatch(r"State\(position=20, [\d,]+ bytes, bundle \w{12}, model \w{12}\)", repr(state))
    assert re.fullmatch(r"Model\('.*', rrwkv, [\d,]+ parameters, cpu\)", repr(tiny.model))


@settings(max_examples=300)
@given(st.data())
def test_a_changed_byte_is_refused_or_changes_nothing(tiny, saved_once, data):
    path, content, state = saved_once
    at = data.draw(st.integers(0, len(content) - 1) | st.integers(0, 1200))
    changed = bytearray(content)
    changed[at] ^= data.draw(st.integers(1, 255))
    path.write_bytes(changed)
    with contextlib.suppress(StateError):
        assert_same(tiny.model.load_state(path), state)


@given(st.data())
def test_a_changed_value_is_refused(tiny, saved_once, data):
    path, content, state = saved_once
    changed = bytearray(content)
    changed[-data.draw(st.integers(1, state.nbytes))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(changed)
    with pytest.raises(StateError, match=r"damaged \(its values do not match their sha256\)"):
        tiny.model.load_state(path)


@given(st.data())
def test_a_truncated_or_longer_file_is_refused(tiny, saved_once, data):
    path, content, _ = saved_once
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    with pytest.raises(StateError):
        tiny.model.load_state(path)
    path.write_bytes(content + data.draw(st.binary(min_size=1, max_size=9)))
    with pytest.raises(StateError, match="bytes of values instead of"):
        tiny.model.load_state(path)


@given(st.binary(max_size=200))
def test_noise_is_refused(tiny, saved_once, noise):
    path = saved_once[0]
    for content in (noise, b"RRWKVST1" + noise, b"RRWKVST1" + struct.pack("<I", len(noise)) + noise):
        path.write_bytes(content)
        with pytest.raises(StateError):
            tiny.model.load_state(path)


@pytest.mark.parametrize("length", [2**20 + 1, 2**31, 2**32 - 1])
def test_a_hostile_header_length_is_refused_before_anything_is_read(tiny, saved, length):
    content = saved.read_bytes()
    saved.write_bytes(content[:8] + struct.pack("<I", length) + content[12:])
    with pytest.raises(StateError, match=f"its header claims {length} bytes"):
        tiny.model.load_state(saved)


@pytest.mark.parametrize(
    "header", [b"[]", b"null", b"{}", b"\xff", b"[" * 50_000, b"1" * 9_999, b'{"states": 1}'], ids=range(7)
)
def test_a_hostile_header_is_refused(tiny, saved, header):
    saved.write_bytes(b"RRWKVST1" + struct.pack("<I", len(header)) + header + bytes(100))
    with pytest.raises(StateError):
        tiny.model.load_state(saved)


def test_the_file_format_is_as_written_down(saved, state):
    content = saved.read_bytes()
    (length,) = struct.unpack("<I", content[8:12])
    header = json.loads(content[12 : 12 + length])
    assert content[:8] == b"RRWKVST1"
    assert header["states"][0] == {"name": "position", "dtype": "int64", "shape": []}
    assert content[12 + length :] == b"".join(value.tobytes() for value in state.values.values())


@pytest.mark.parametrize("name", ["missing/talk.state", "taken", "taken/..", "", "file/x", "a" * 300])
def test_saving_where_nothing_can_be_saved_leaves_nothing(state, tmp_path, monkeypatch, name):
    (tmp_path / "taken").mkdir()
    (tmp_path / "file").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StateError, match="cannot save the state") as caught:
        state.save(name)
    assert len(str(caught.value).splitlines()) == 1
    assert {path.name for path in tmp_path.rglob("*")} == {"taken", "file"}


def test_a_full_disk_leaves_the_old_file(tiny, state, saved, monkeypatch):
    real = type(saved).open
    monkeypatch.setattr(type(saved), "open", lambda self, mode: _Failing(real(self, mode)))
    with pytest.raises(StateError, match="No space left on device"):
        tiny.model.initial_state().save(saved)
    monkeypatch.undo()
    assert_same(tiny.model.load_state(saved), state)
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


class _Failing:
    """A stream onto a full disk."""

    def __init__(self, stream):
        self._stream = stream

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._stream.close()

    def writelines(self, lines):
        self._stream.write(b"half")
        raise OSError(28, "No space left on device")


def test_saving_again_replaces_and_leaves_no_other_file(tiny, saved):
    initial = tiny.model.initial_state()
    initial.save(saved)
    assert_same(State.load(saved, Manifest.load(tiny.path)), initial)
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


def test_saving_again_never_writes_into_the_old_file(tiny, saved, state):
    old = saved.with_name("old.state")
    os.link(saved, old)
    tiny.model.initial_state().save(saved)
    assert_same(tiny.model.load_state(old), state)


def test_loading_what_is_not_there_is_one_line(tiny, tmp_path):
    with pytest.raises(StateError, match=r"absent: cannot read the state \(No such file or directory\)"):
        tiny.model.load_state(tmp_path / "absent")
    with pytest.raises(StateError, match=r"cannot read the state"):
        tiny.model.load_state(tmp_path)


def test_a_name_with_a_nul_is_a_state_error(tiny, state, tmp_path):
    with pytest.raises(StateError, match=r"cannot save the state .*null"):
        state.save(f"{tmp_path}/a\0b")
    with pytest.raises(StateError, match=r"cannot read the state .*null"):
        tiny.model.load_state(f"{tmp_path}/a\0b")
