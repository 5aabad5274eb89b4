"""Weights by canonical name: checked against the config when opened, read one at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path

import numpy as np
import torch

from rrwkv_export.architectures.base import Tensors
from rrwkv_export.architectures.config import ModelConfig
from rrwkv_export.checkpoint.containers.entries import DTYPES, Entry, Source, brackets
from rrwkv_export.errors import TensorError
from rrwkv_export.pages import drop


class Weights(Mapping[str, torch.Tensor]):
    """Every weight of a model, in the order of `ModelConfig.shapes()`; nothing is kept once it was handed out.

    Raises TensorError when made, for a tensor that is missing, extra, misshapen or of a dtype that is not read, and
    when a tensor is read whose values are not finite.
    """

    def __init__(self, source: Source) -> None:
        self._entries = _match(source)
        self._shapes = source.config.shapes()

    def __getitem__(self, name: str) -> torch.Tensor:
        """A new tensor of the canonical shape in its stored dtype. Raises TensorError if it is not finite."""
        return self._copied(name, None)

    def array(self, name: str) -> np.ndarray:
        """A new float32 array, C-contiguous, of the canonical shape. Raises TensorError if it is not finite."""
        array: np.ndarray = self._copied(name, torch.float32).numpy()
        return array

    def dtype(self, name: str) -> str:
        """As stored: "float32", "float16", "bfloat16" or "float64"."""
        return self._entries[name].dtype

    def shape(self, name: str) -> tuple[int, ...]:
        return self._shapes[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._shapes)

    def __len__(self) -> int:
        return len(self._shapes)

    def __contains__(self, name: object) -> bool:
        return name in self._shapes

    def _copied(self, name: str, dtype: torch.dtype | None) -> torch.Tensor:
        entry = self._entries[name]
        stored = entry.load()
        tensor = stored.to(dtype or stored.dtype, copy=True).contiguous().reshape(self._shapes[name])
        if stored.is_contiguous():
            drop(entry.file, stored.data_ptr(), stored.numel() * stored.element_size())
        self._check_finite(name, tensor)
        return tensor

    def _check_finite(self, name: str, tensor: torch.Tensor) -> None:
        # NaN and infinity both come through the extremes, at no extra memory.
        if not torch.isfinite(torch.stack(torch.aminmax(tensor))).all():
            entry = self._entries[name]
            raise TensorError(
                f"{entry.file}: {entry.name!r} holds NaN or infinity; take a checkpoint from before its training "
                "diverged, or convert it again without overflow"
            )


def _match(source: Source) -> dict[str, Entry]:
    """Canonical name -> entry, all of them and no other. Raises TensorError, naming tensors as the file does."""
    path, config, entries = source.path, source.config, source.entries
    _check_layers(source)
    matched: dict[str, Entry] = {}
    for name, shape in config.shapes().items():
        if (entry := entries.get(name)) is None:
            raise _missing(path, source.names(name), config)
        _check_entry(entry, shape)
        matched[name] = entry
    if extra := [name for name in entries if name not in matched]:
        raise _extra(entries[extra[0]], config)
    return matched


def _check_layers(source: Source) -> None:
    """Before a config's number of layers is believed: `shapes()` is as long as it says."""
    found = Tensors(str(source.path), dict.fromkeys(source.entries, ())).layers
    if source.config.num_layers > len(found):
        first = next(layer for layer in count() if layer not in found)
        raise _missing(source.path, source.names(f"blocks.{first}.ln1.weight"), source.config)


def _missing(path: Path, name: str, config: ModelConfig) -> TensorError:
    return TensorError(
        f"{path}: {name!r} is missing from this {config.architecture} of {config.num_layers} layers; "
        "give the whole file, or the config that belongs to it (--config)"
    )


def _extra(entry: Entry, config: ModelConfig) -> TensorError:
    return TensorError(
        f"{entry.file}: {entry.name!r} is no weight of this {config.architecture} of {config.num_layers} layers; "
        "give the config of this file (--config), or, if the model does not use that tensor, save the file without it"
    )


def _check_entry(entry: Entry, shape: tuple[int, ...]) -> None:
    if entry.dtype not in DTYPES:
        raise TensorError(
            f"{entry.file}: {entry.name!r} is {entry.dtype}; give the model as it was before it was quantized or "
            f"converted, in one of {', '.join(DTYPES)}"
        )
    vector = len(shape) == 1 and entry.shape == (1, 1, *shape)  # as BlinkDL's files have many of them
    if entry.shape != shape and not vector:
        raise TensorError(
            f"{entry.file}: {entry.name!r} is {brackets(entry.shape)}, expected {brackets(shape)}; "
            "give the config that belongs to this file (--config)"
        )
