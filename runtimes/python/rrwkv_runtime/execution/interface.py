"""Whether a session's inputs and outputs are what the manifest says of its graph."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rrwkv_runtime.bundle.fixed_shape import FixedShape
from rrwkv_runtime.bundle.state_spec import StateSpec
from rrwkv_runtime.errors import DamagedBundle
from rrwkv_runtime.manifest import Manifest

_TENSORS = {"float32": "tensor(float)", "float16": "tensor(float16)", "int64": "tensor(int64)"}  # onnxruntime's names
_OWN_INPUTS = {"any": ("input_ids", "num_logits"), "one": ("input_ids",), "none": ()}  # besides states
_Placed = tuple[StateSpec, tuple[str, Sequence[int]]]  # a state; the name and shape of its value in the graph


def check_interface(session: Any, manifest: Manifest, name: str) -> None:
    """Raises DamagedBundle if the graph of this name differs from what the manifest says."""
    if shape := manifest.graphs[name].fixed_shape:
        _check_fixed_shape(session, name, shape, manifest.vocab_size)
    else:
        _check_states(session, manifest, name)


def _check_states(session: Any, manifest: Manifest, name: str) -> None:
    entry, specs = manifest.graphs[name], manifest.states
    has_input = [spec for spec in specs if entry.has_input(spec.input)]
    taken = [(spec, value) for spec in has_input for value in spec.inputs(apart=entry.takes_apart(spec.input))]
    given: list[_Placed] = [(spec, (spec.output, spec.shape)) for spec in specs if entry.has_output(spec.input)]
    inputs = {value.name: value for value in session.get_inputs()}
    outputs = {value.name: value for value in session.get_outputs()}
    wanted_inputs = [*_OWN_INPUTS[entry.runs], *(value for _, (value, _) in taken)]
    wanted_outputs = [*(() if entry.runs == "none" else ("logits",)), *(value for _, (value, _) in given)]
    _check_names((inputs, wanted_inputs), (outputs, wanted_outputs))
    for values, states in ((inputs, taken), (outputs, given)):
        for spec, (value_name, shape) in states:
            value, wanted_type = values[value_name], _TENSORS[spec.dtype]
            if value.type != wanted_type or tuple(value.shape) != shape:
                raise DamagedBundle(
                    f"state {value_name!r} is {value.type} {value.shape} in the graph, {wanted_type} {list(shape)} in "
                    "the manifest; export the bundle again"
                )


def _check_names(*sides: tuple[Iterable[str], Sequence[str]]) -> None:
    """sides: found and wanted names, of inputs and of outputs."""
    if twice := [name for _, wanted in sides for name in wanted if wanted.count(name) > 1]:
        raise DamagedBundle(f"manifest.json: the name {twice[0]!r} is there twice among the graph's values")
    if odd := sorted(name for found, wanted in sides for name in set(found) ^ set(wanted)):
        raise DamagedBundle(f"the graph's inputs and outputs are not the manifest's (they differ in {odd[0]!r})")


def _check_fixed_shape(session: Any, name: str, shape: FixedShape, vocab_size: int) -> None:
    ids, floats = ("tensor(int32)", [1, shape.tokens]), "tensor(float)"
    derived = {one.input: (floats, list(one.shape)) for one in shape.derived}
    inputs = {"input_ids": ids, **derived, **{part.input: (floats, list(part.shape)) for part in shape.parts}}
    outputs = {part.output: (floats, list(part.shape)) for part in shape.parts}
    outputs["logits"] = (floats, [1, shape.tokens, vocab_size])
    for wanted, values in ((inputs, session.get_inputs()), (outputs, session.get_outputs())):
        found = {value.name: (value.type, list(value.shape)) for value in values}
        if found != wanted:
            odd = sorted(key for key in found.keys() | wanted.keys() if found.get(key) != wanted.get(key))
            raise DamagedBundle(f"graph {name!r} is not as the manifest says (it differs in {odd[0]!r})")
