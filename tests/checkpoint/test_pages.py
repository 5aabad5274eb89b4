"""Pages of a mapped checkpoint are given back once a tensor was read, and nothing else ever is."""

from __future__ import annotations

import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from rrwkv_export.checkpoint.containers import safetensors
from rrwkv_export.checkpoint.containers import torch as pth
from rrwkv_export.checkpoint.containers.pages import drop

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


@pytest.mark.parametrize("container", ["pth", "safetensors"])
def test_pages_of_a_mapped_file_are_given_back_and_can_be_read_again(container, tmp_path):
    path = tmp_path / f"model.{container}"
    (torch.save if container == "pth" else save_file)({"a": VALUES}, path)
    tensor = (pth if container == "pth" else safetensors).entries(path)["a"].load()
    assert torch.equal(tensor, VALUES)
    before = resident(path)
    drop(tensor, path)
    assert resident(path) < before - 11_000_000
    assert torch.equal(tensor, VALUES)


def test_memory_that_is_no_mapping_of_the_file_keeps_what_it_holds(tmp_path):
    path, other = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    for name in (path, other):
        save_file({"a": VALUES}, name)
    for tensor in (VALUES.clone(), load_file(other)["a"]):
        drop(tensor, path)
        assert torch.equal(tensor, VALUES)
