"""What `.decode` asks of a generation: its time-mixes and channel-mixes of one token, and what they leave as state."""

from __future__ import annotations

from typing import ClassVar, NamedTuple, Protocol

import onnx_ir as ir

from rrwkv_export.architectures.config import ModelConfig
from rrwkv_export.graph.names import WKVForm
from rrwkv_export.graph.states import Values
from rrwkv_export.graph.weights import GraphWeights
from rrwkv_export.onnx.scope import Scope


class Roles(NamedTuple):
    """The letters of the mixes, in the order of the rows: of time-mix, and of channel-mix, which are no more."""

    att: str
    ffn: str

    def rows(self, config: ModelConfig) -> int:
        """R: the roles of time-mix, and with mediums h before them, since a medium is asked for h."""
        return len(self.att) + (config.medium is not None)


class Layers(Protocol):
    """Made of the states' inputs by name, before the layers; asked for each layer in turn."""

    ROLES: ClassVar[Roles]

    def __init__(self, scope: Scope, w: GraphWeights, form: WKVForm, states: Values) -> None: ...

    def time_mix(self, scope: Scope, index: int, mix: ir.Value) -> ir.Value:
        """What is added to x, [1, 1, C]; mix [roles of time-mix, 1, C]."""

    def channel_mix(self, scope: Scope, index: int, mix: ir.Value) -> ir.Value:
        """What is added to x, [1, 1, C]; mix [R, 1, C], whose first rows are the roles of channel-mix."""

    def new(self, scope: Scope) -> Values:
        """The recurrent state after the token, when all layers have been asked."""
