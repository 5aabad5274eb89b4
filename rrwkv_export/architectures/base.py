"""What an architecture is: the records and the protocol that every room of this folder fills, one module a generation.

Nothing here imports torch: what a model is, quantization and reports ask too. What it computes is in `reference`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

import numpy as np

from rrwkv_export.errors import TensorError

if TYPE_CHECKING:
    from rrwkv_export.architectures.config import ModelConfig
    from rrwkv_export.architectures.linears import Fold

Shape = tuple[int, ...]
Shapes = dict[str, Shape]
Array = np.ndarray[Any, np.dtype[Any]]
Form = Literal["plain", "stable"]
"""How a state is held, where there is a choice (RWKV-4's wkv: as sums, or relative to their largest exponent)."""

POSITION, SHIFT = "position", "shift"


@dataclass(frozen=True)
class StateLayout:
    """One state: input `name`, output `name + "_out"`; init broadcasts to the shape."""

    name: str
    shape: Shape
    dtype: Literal["float32", "int64"] = "float32"
    init: float | list[Any] = 0

    @property
    def output(self) -> str:
        return f"{self.name}_out"


class Tensors(Mapping[str, Shape]):
    """A checkpoint's shapes by canonical name. What is asked for and not there is a TensorError of that file.

    owner: what messages call the checkpoint. named: a canonical name as the file has it, or would have it.
    """

    def __init__(self, owner: str, shapes: Mapping[str, Shape], named: Callable[[str], str] = str) -> None:
        self._owner, self._shapes, self._named = owner, shapes, named

    def __getitem__(self, name: str) -> Shape:
        if name not in self._shapes:
            raise TensorError(f"{self._owner}: {self._named(name)!r} is missing; give the whole file")
        return self._shapes[name]

    def __contains__(self, name: object) -> bool:
        return name in self._shapes

    def __iter__(self) -> Iterator[str]:
        return iter(self._shapes)

    def __len__(self) -> int:
        return len(self._shapes)

    def matrix(self, name: str) -> tuple[int, int]:
        """Rows and columns. Raises TensorError for what is no matrix."""
        shape = self[name]
        if len(shape) != 2:
            found = ", ".join(map(str, shape))
            raise TensorError(
                f"{self._owner}: {self._named(name)!r} is [{found}], expected two dimensions; "
                "give a checkpoint as its training saved it"
            )
        return shape[0], shape[1]

    @property
    def layers(self) -> set[int]:
        """The layers that any name belongs to."""
        return {int(found[1]) for name in self if (found := re.search(r"(?:^|\.)blocks\.(\d{1,7})\.", name))}


@dataclass(frozen=True)
class Part:
    """What one tensor of a file is, or one of its rows: a weight by canonical name, perhaps transposed."""

    name: str
    row: int | None = None
    transposed: bool = False


class Dialect(Protocol):
    """How Hugging Face's folders name a model's tensors; BlinkDL's names are the canonical ones."""

    @property
    def classes(self) -> tuple[str, str]:
        """What transformers calls such a model, without a head and with one."""

    def speaks(self, name: str) -> bool:
        """Whether only files of this dialect have such a name."""

    def parts(self, name: str) -> tuple[Part, ...]:
        """What a tensor of such a file is."""

    def name_in_file(self, name: str) -> str:
        """The name that such a file has for a canonical one."""


@dataclass(frozen=True)
class HuggingFace:
    """The words by which a config.json of Hugging Face's says that it is of an architecture, and its base class."""

    model_types: tuple[str, ...]
    classes: tuple[str, ...]


C = TypeVar("C", bound="ModelConfig")


class Architecture(Protocol[C]):
    """One generation. A room is a module with these names; its config knows the weights' names and shapes."""

    @property
    def TITLE(self) -> str:  # noqa: N802
        """What messages call it."""

    @property
    def NAMES(self) -> tuple[str, ...]:  # noqa: N802
        """The config's words for it."""

    @property
    def FORMS(self) -> tuple[Form, ...]:  # noqa: N802
        """Of its states, the preferred one first."""

    @property
    def HUGGING_FACE(self) -> HuggingFace:  # noqa: N802
        """How a config.json of Hugging Face's says that it is one."""

    @property
    def Config(self) -> type[C]:  # noqa: N802
        """The class of its configs."""

    def sign(self, tensors: Mapping[str, Shape]) -> str | None:
        """The name of a tensor that shows this generation; None where none does. In the order of `ARCHITECTURES`."""

    def infer(self, tensors: Tensors) -> C:
        """Sizes from shapes. Raises TensorError for what is missing, ConfigError for sizes that no model has."""

    def from_huggingface(self, fields: Mapping[str, Any], tensors: Tensors) -> C:
        """Sizes by a config.json of Hugging Face's and, where it does not say them, from shapes. Raises as `infer`."""

    def unused(self, name: str) -> bool:
        """Whether files may have a tensor of this canonical name that the model does not use."""

    def states(self, config: C, form: Form) -> tuple[StateLayout, ...]:
        """What is carried from call to call, the position first."""

    def folds(self, config: C) -> Mapping[str, Fold]:
        """By role, what makes the inputs of its linear: what quantization may divide."""
