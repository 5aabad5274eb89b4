"""Pages of a mapped file are given back once they were read, and nothing else ever is."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from checkpoint_files import RRWKV
from safetensors.torch import load_file, save_file

from rrwkv_export.checkpoint.containers import safetensors
from rrwkv_export.checkpoint.containers import torch as pth
from rrwkv_export.pages import drop, drop_all
from rrwkv_export.verify import compute_reference, verify

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing is given back")
VALUES = torch.randn(3000, 1000, generator=torch.Generator().manual_seed(0))


def resident(path):
    """Bytes of the file's mappings that are in memory."""
    found, ours = 0, False
    with open("/proc/self/smaps") as lines:
        for line in lines:
            words = line.split()
            if "-" in words[0]:
                ours = words[-1] == str(path)
            elif ours and words[0] == "Rss:":
                found += 1024 * int(words[1])
    return found


def place(tensor):
    """Address and bytes."""
    return tensor.data_ptr(), tensor.numel() * tensor.element_size()


@pytest.mark.parametrize("container", ["pth", "safetensors"])
def test_pages_of_a_mapped_file_are_given_back_and_can_be_read_again(container, tmp_path):
    path = tmp_path / f"model.{container}"
    (torch.save if container == "pth" else save_file)({"a": VALUES}, path)
    tensor = (pth if container == "pth" else safetensors).entries(path)["a"].load()
    assert torch.equal(tensor, VALUES)
    before = resident(path)
    drop(path, *place(tensor))
    assert resident(path) < before - 11_000_000
    assert torch.equal(tensor, VALUES)


def test_memory_that_is_no_mapping_of_the_file_keeps_what_it_holds(tmp_path):
    path, other = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    for name in (path, other):
        save_file({"a": VALUES}, name)
    for tensor in (VALUES.clone(), load_file(other)["a"]):
        drop(path, *place(tensor))
        assert torch.equal(tensor, VALUES)


def test_all_mappings_of_a_file_are_given_back_but_one_that_was_written_to(tmp_path):
    path = tmp_path / "weights"
    VALUES.numpy().tofile(path)
    read, written = (np.memmap(path, np.float32, "c").reshape(VALUES.shape) for _ in range(2))
    written[0, 0] = 7.0
    assert np.array_equal(read[1:], written[1:])
    before = resident(path)
    drop_all(path)
    assert before - 13_000_000 < resident(path) < before - 11_000_000
    assert np.array_equal(read, VALUES)
    assert written[0, 0] == 7.0


def test_no_weights_that_one_check_has_read_are_in_memory_during_the_next(make_tiny):
    tiny, found = make_tiny(RRWKV), []
    reference = compute_reference(tiny.config, tiny.weights, [1, 2, 3])
    verify(tiny.path, reference, progress=lambda *_: found.append(resident(tiny.path / "model.onnx.data")))
    assert len(found) > 1
    assert not any(found[1:])
