"""States in a GPU's memory: the same calls on the CPU's memory, and on a GPU where there is one."""

from __future__ import annotations

import gc

import numpy as np
import onnxruntime
import pytest
from checkpoint_files import RRWKV, RWKV7

from rrwkv_runtime.execution.any_length_decoder import AnyLengthDecoder
from rrwkv_runtime.execution.device import Cuda, device_graphs
from rrwkv_runtime.model import Model

IDS = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8]
gpu = pytest.mark.skipif(
    "CUDAExecutionProvider" not in onnxruntime.get_available_providers(), reason="needs onnxruntime-gpu and a GPU"
)


@pytest.fixture(params=[RRWKV, RWKV7], ids=["rrwkv", "rwkv7"])
def tiny(make_tiny, request):
    return make_tiny(request.param, 1, "plain", target="cuda").model


@pytest.fixture
def device(tiny):
    return Cuda(tiny.manifest, memory="cpu")


def decoder(tiny, device, state=None):
    return AnyLengthDecoder(tiny.sessions, tiny.manifest, device, state or tiny.initial_state())


def test_device_buffers_give_what_host_arrays_give(tiny, device):
    expected, ours = tiny.decoder(), decoder(tiny, device)
    np.testing.assert_array_equal(ours.run(IDS, 5, chunk=4), expected.run(IDS, 5, chunk=4))
    for token in IDS:
        np.testing.assert_array_equal(ours.step(token), expected.step(token))
    state = ours.state()
    assert ours.position == state.position == 2 * len(IDS)
    for name, value in expected.state().values.items():
        np.testing.assert_array_equal(state.values[name], value)


def test_a_bundle_for_a_cpu_decodes_there_with_its_main_graph(make_tiny):
    cpu = make_tiny(RRWKV, 1).model
    names = device_graphs("cuda", cpu.manifest, list(cpu.sessions))
    assert names == ["main"]
    assert device_graphs("cpu", cpu.manifest, list(cpu.sessions)) == list(cpu.sessions) != names
    sessions = {name: cpu.sessions[name] for name in names}
    ours = AnyLengthDecoder(sessions, cpu.manifest, Cuda(cpu.manifest, memory="cpu"), cpu.initial_state())
    expected = cpu.decoder()
    for token in IDS * 3:
        np.testing.assert_array_equal(ours.step(token), expected.step(token))


def test_a_given_state_is_only_read(tiny, device):
    _, state = tiny.forward(IDS)
    before = state.copy()
    decoder(tiny, device, state).step(7)
    for name, value in before.values.items():
        np.testing.assert_array_equal(state.values[name], value)


def test_decoders_at_the_same_time_have_workspaces_of_their_own(tiny, device):
    one, other = decoder(tiny, device), decoder(tiny, device)
    one.step(1)
    expected = other.step(2).copy()
    one.step(3)
    np.testing.assert_array_equal(tiny.decoder().step(2), expected)
    assert one._work is not other._work


def test_a_workspace_and_its_bound_steps_are_used_again(tiny, device):
    first = decoder(tiny, device)
    for token in IDS:
        first.step(token)
    work, steps = first._work, dict(first._work.steps)
    del first
    gc.collect()
    second = decoder(tiny, device)
    logits = second.step(5).copy()
    assert second._work is work
    assert second._work.steps == steps
    assert len(steps) == 2
    np.testing.assert_array_equal(logits, tiny.decoder().step(5))


@gpu
@pytest.mark.parametrize(("config", "wkv"), [(RRWKV, "plain"), (RRWKV, "stable"), (RWKV7, "plain")])
def test_a_gpu_gives_the_logits_of_the_cpu(make_tiny, config, wkv):
    tiny = make_tiny(config, 1, wkv, target="cuda")
    ours, expected = Model.load(tiny.path, "cuda").decoder(), tiny.model.decoder()
    np.testing.assert_allclose(ours.run(IDS, 12), expected.run(IDS, 12), atol=1e-4)
    for token in IDS * 3:
        np.testing.assert_allclose(ours.step(token), expected.step(token), atol=1e-4)
