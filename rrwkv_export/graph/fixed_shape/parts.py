"""What a graph in fixed shapes takes besides tokens: parts of states, and what follows from the position."""

from __future__ import annotations

from math import prod

from rrwkv_export.architectures.config import ModelConfig
from rrwkv_export.errors import ExportError
from rrwkv_export.graph import names
from rrwkv_export.graph.fixed_shape.drawings import fixed_drawing
from rrwkv_export.graph.fixed_shape.making import state_part
from rrwkv_runtime.bundle.fixed_shape import DerivedInput, FixedShape, StatePart

VISIBLE, ENDED = "visible", "ended"
TOKENS_WITHOUT_MEDIUMS = 32
# Added to an unfilled slot's score, which is 0 as its key is: nothing beside the empty slot's exp(0), in float16 too.
HIDDEN = -32.0


def fixed_shape_graphs(config: ModelConfig) -> dict[str, int]:
    """T by the graph's name: a medium's interval for prefill (none if that is 1), and 1.

    Raises ExportError where the interval is adaptive: no such graph could say where its segment ends.
    """
    if config.medium and config.medium.adaptive:
        raise ExportError(
            f"graphs in fixed shapes hold whole segments, and this model's are of {config.medium.interval} tokens; "
            "export it without --target mobile"
        )
    tokens = config.medium.unit if config.medium else TOKENS_WITHOUT_MEDIUMS
    return {"mobile-segment": tokens, "mobile-decode": 1} if tokens > 1 else {"mobile-decode": 1}


def fixed_shape(config: ModelConfig, tokens: int) -> FixedShape:
    """What the manifest says of the graph for so many tokens."""
    align = tokens if config.medium else 1
    return FixedShape(tokens, align, state_parts(config, tokens), derived_inputs(config, tokens))


def state_parts(config: ModelConfig, tokens: int) -> tuple[StatePart, ...]:
    """The parts of the states in the order of the graph's inputs, a layer after the other.

    A segment begins and ends with nothing summed, so its graph leaves those states as they are: zero.
    """
    C, medium, draw, found = config.hidden_size, config.medium, fixed_drawing(config), []
    for i in range(config.num_layers):
        found += [
            state_part(f"{names.SHIFT}.{i}.{block}", names.SHIFT, (2 * i + block) * C, (1, 1, C)) for block in (0, 1)
        ]
        found += draw.parts(config, i)
        if medium:
            shapes = {names.MEDIUM_BANK: (1, medium.slots, C), names.MEDIUM_KEY: (1, medium.slots, medium.key_size)}
            if tokens == 1:
                shapes |= {names.MEDIUM_SUM: (1, 1, C), names.MEDIUM_WEIGHT: (1, 1, 1)}
            found += [state_part(f"{name}.{i}", name, i * prod(shape), shape) for name, shape in shapes.items()]
    return tuple(found)


def derived_inputs(config: ModelConfig, tokens: int) -> tuple[DerivedInput, ...]:
    """visible [1, 1, K]: 0 for a filled slot, else HIDDEN. ended [1, 1, 1], of one token: 1 where a segment ends."""
    medium = config.medium
    if medium is None:
        return ()
    s, K = medium.unit, medium.slots
    filled_from: list[float] = [s * (K - slot) for slot in range(K)]
    found = [DerivedInput(VISIBLE, (1, 1, K), [[filled_from]], 0, HIDDEN, 0.0)]
    if tokens == 1:
        found.append(DerivedInput(ENDED, (1, 1, 1), s - 1, s, 0.0, 1.0))
    return tuple(found)
