"""Where states live: in arrays of this process, or in a GPU's memory; the decoder works with both by the same verbs."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from rrwkv_runtime.manifest import Manifest
from rrwkv_runtime.providers import import_onnxruntime

Buffers = dict[str, Any]
"""State values by the names of the graph's inputs, as a device keeps them: numpy arrays, or OrtValues on a GPU."""


@dataclass(frozen=True)
class Binding:
    """An IOBinding, the values whose memory it points to without owning it, and the RunOptions to run it with."""

    io: Any
    values: list[Any]
    options: Any = None


@dataclass
class Workspace:
    """What one decoder runs in: buffers that take turns, the one-token input and output, and the bound steps.

    fresh: where the graph of a segment's end puts states that decoding gave too.
    """

    token: Any
    logits: Any
    buffers: list[Buffers] = field(default_factory=list)
    fresh: Buffers = field(default_factory=dict)
    steps: dict[tuple[object, ...], Binding] = field(default_factory=dict)

    def owns(self, values: Buffers) -> bool:
        return any(values is buffer for buffer in self.buffers)


class Device(Protocol):
    """The verbs of `Host` and `Cuda`.

    binds_once: a binding sees what is written to its values afterwards, so it may be run again and again. Where the
    provider has memory of its own, onnxruntime copies host arrays there at the moment when they are bound.
    """

    binds_once: bool

    def workspace(self, owner: object) -> Workspace:
        """A workspace that is the owner's until the owner is gone."""

    def adopt(self, workspace: Workspace, values: dict[str, np.ndarray]) -> Buffers:
        """A given state, to be read by the first run; the given arrays are never written to."""

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Any:
        """An uninitialized value."""

    def ortvalue(self, value: Any) -> Any:
        """The value, or a numpy array, as onnxruntime takes it."""

    def write(self, value: Any, array: np.ndarray) -> None:
        """Overwrite a value."""

    def read(self, value: Any) -> np.ndarray:
        """The value as an array; on the host it is the value itself."""

    def output(self, array: np.ndarray) -> Any:
        """A value for a run to write what `array` shall hold; on the host the array itself."""

    def step_options(self) -> Any:
        """RunOptions for a binding that will be run again and again; None for the default."""


class Host:
    """Arrays that the session reads and writes in place, or, if not binds_once, copies from and to."""

    def __init__(self, manifest: Manifest, binds_once: bool = True) -> None:
        self.binds_once = binds_once
        self._vocab_size = manifest.vocab_size
        self.ortvalue = import_onnxruntime().OrtValue.ortvalue_from_numpy

    def workspace(self, owner: object) -> Workspace:
        return Workspace(np.zeros(1, np.int64), np.zeros((1, self._vocab_size), np.float32))

    def adopt(self, workspace: Workspace, values: dict[str, np.ndarray]) -> Buffers:
        return values

    def empty(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        return np.empty(shape, dtype)

    def write(self, value: np.ndarray, array: np.ndarray) -> None:
        value[...] = array

    def read(self, value: np.ndarray) -> np.ndarray:
        return value

    def output(self, array: np.ndarray) -> np.ndarray:
        return array

    def step_options(self) -> None:
        return None


class Cuda:
    """A GPU's memory. A captured step is tied to its buffers' addresses, so workspaces are kept and used again.

    memory: onnxruntime's name of the device, "cuda"; tests use "cpu", where the same calls work.
    """

    binds_once = True

    def __init__(self, manifest: Manifest, memory: str = "cuda") -> None:
        self._manifest, self._memory, self._ort = manifest, memory, import_onnxruntime()
        self._free: list[Workspace] = []
        self._captures = itertools.count(1)

    def workspace(self, owner: object) -> Workspace:
        if self._free:
            workspace = self._free.pop()
        else:
            logits = self.empty((1, self._manifest.vocab_size), np.float32)
            workspace = Workspace(self.empty((1,), np.int64), logits, [self._buffers(), self._buffers()])
        weakref.finalize(owner, self._free.append, workspace)
        return workspace

    def _buffers(self) -> Buffers:
        return {spec.input: self.empty(spec.shape, np.dtype(spec.dtype).type) for spec in self._manifest.states}

    def adopt(self, workspace: Workspace, values: dict[str, np.ndarray]) -> Buffers:
        for name, value in workspace.buffers[0].items():
            self.write(value, values[name])
        return workspace.buffers[0]

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Any:
        return self._ort.OrtValue.ortvalue_from_shape_and_type(list(shape), dtype, self._memory, 0)

    def ortvalue(self, value: Any) -> Any:
        return self._ort.OrtValue.ortvalue_from_numpy(value) if isinstance(value, np.ndarray) else value

    def write(self, value: Any, array: np.ndarray) -> None:
        value.update_inplace(np.ascontiguousarray(array))

    def read(self, value: Any) -> np.ndarray:
        array: np.ndarray = value.numpy()
        return array

    def output(self, array: np.ndarray) -> Any:
        return self.empty(array.shape, array.dtype.type)

    def step_options(self) -> Any:
        options = self._ort.RunOptions()
        options.add_run_config_entry("gpu_graph_id", str(next(self._captures)))
        return options


def device_for(provider: str, manifest: Manifest) -> Device:
    """Where the states live for a provider's name."""
    return Cuda(manifest) if provider == "cuda" else Host(manifest, binds_once=provider == "cpu")


def device_graphs(provider: str, manifest: Manifest, names: Sequence[str]) -> list[str]:
    """Those of a bundle's graphs that run over states which lie there: a GPU's are never taken apart by layers."""
    graphs = manifest.graphs
    return [name for name in names if provider != "cuda" or not (graphs[name].reads or graphs[name].updates)]
