"""RWKV-4 and RWKV-7 with mediums or without, for transformers. Of rrwkv-export, Apache-2.0.

h  a block's LayerNorm output, h' the previous token's       M  what the token recalls from the held mediums
B rows   T tokens   C channels   L layers   V vocabulary

The weights bear the names of the checkpoint, which is this folder: `rrwkv export` takes what `save_pretrained` wrote.
All modules beside this one are imported here, too: transformers 4 brings no others along.
"""

from __future__ import annotations

import math
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import GenerationMixin, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

from .configuration_rrwkv import RrwkvConfig
from .mediums_rrwkv import UNIT, Clock, Information, Medium, medium_shapes
from .mixes_rrwkv import Room
from .recurrence_rrwkv import EMPTY
from .rwkv4_rrwkv import RWKV4
from .rwkv7_rrwkv import RWKV7
from .state_rrwkv import LayerState, Rows, RrwkvState

_ROOMS: dict[str, Room] = {"rwkv4": RWKV4, "rrwkv": RWKV4, "rwkv7": RWKV7}
_FILLS = {"wkv_log": EMPTY}  # states that do not begin with 0


class Block(nn.Module):
    """One layer: x += TimeMix(LN1 x), then x += ChannelMix(LN2 x)."""

    def __init__(self, config: RrwkvConfig, layer: int) -> None:
        super().__init__()
        C, epsilon, room = config.hidden_size, config.layer_norm_epsilon, _ROOMS[config.rwkv_architecture]
        if layer == 0:
            self.ln0 = nn.LayerNorm(C, epsilon)
        self.ln1, self.ln2 = nn.LayerNorm(C, epsilon), nn.LayerNorm(C, epsilon)
        self.att, self.ffn = room.time_mix(config, layer), room.channel_mix(config)
        if config.medium is not None:
            self.medium = Medium(config)

    def forward(self, x: Tensor, h: Tensor, call: Call, state: LayerState) -> tuple[Tensor, LayerState]:
        """x [B, T, C] and h = LN1 x to x after the layer; and the layer's share of the state."""
        state = dict(state)
        M = self.medium(h, call.clock, call.rows, state) if call.clock else None
        x = x + self.att(h, call.shifted(h, state, "att_shift"), M, call.rows, state, call.crossing)
        h = self.ln2(x)
        return x + self.ffn(h, call.shifted(h, state, "ffn_shift"), M), state


class Call:
    """What all layers of a call share. crossing: what one hands on to the later ones (RWKV-7's v_first)."""

    def __init__(self, rows: Rows) -> None:
        self.rows, self.crossing = rows, dict[str, Tensor]()
        self.clock: Clock | None = None

    def shifted(self, h: Tensor, state: LayerState, name: str) -> Tensor:
        """h': the carried row, then all rows but the last real one, which is carried on."""
        carried = torch.cat([state[name][:, None].to(h.dtype), h], dim=1)
        state[name] = self.rows.last(carried).to(state[name].dtype)
        return carried[:, :-1]


class RrwkvPreTrainedModel(PreTrainedModel):
    config_class = RrwkvConfig
    base_model_prefix = ""
    _is_stateful = True  # a state cannot be cut back, as assisted generation would
    _no_split_modules = ["Block"]  # noqa: RUF012

    def _init_weights(self, module: nn.Module) -> None:
        """Where nothing was loaded. `rrwkv train` begins with more than this."""
        for name, weight in module.named_parameters(recurse=False):
            with torch.no_grad():
                if weight.ndim == 2:
                    nn.init.normal_(weight, std=1 / math.sqrt(weight.shape[1]))
                elif isinstance(module, nn.LayerNorm):
                    nn.init.constant_(weight, float(name == "weight"))
                else:
                    nn.init.constant_(weight, 0.5 if name.startswith(("time_mix_", "x_")) else 0.0)


class RrwkvForCausalLM(RrwkvPreTrainedModel, GenerationMixin):
    """Logits of the next token, of text from the initial state or from a state that a call before gave."""

    def __init__(self, config: RrwkvConfig) -> None:
        if config.rwkv_architecture not in _ROOMS:
            raise ValueError(
                f"rwkv_architecture {config.rwkv_architecture!r}: with transformers {', '.join(_ROOMS)} run; others by "
                "`rrwkv export`, and rrwkv-runtime"
            )
        super().__init__(config)
        self.emb: nn.Module = nn.Embedding(config.vocab_size, config.hidden_size)
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.num_layers))
        self.ln_out = nn.LayerNorm(config.hidden_size, config.layer_norm_epsilon)
        self.head: nn.Module = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        if config.is_adaptive:
            self.medium = Information(config)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.emb

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.emb = value

    def get_output_embeddings(self) -> nn.Module:
        return self.head

    def set_output_embeddings(self, new_embeddings: nn.Module) -> None:
        self.head = new_embeddings

    @classmethod
    def _supports_default_dynamic_cache(cls) -> bool:
        """Its state is made by the first call, and is none of transformers' caches."""
        return False

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        past_key_values: RrwkvState | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        cache: RrwkvState | None = None,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast | tuple[Any, ...]:
        """Logits [B, T, V] of int64 ids [B, T].

        attention_mask: 1 for tokens, 0 for padding, on either side; of this call, or of all columns seen.
        past_key_values, from transformers 5.24 on called cache: the state after what was read before; it moves on.
        labels: shifted by the model, -100 for none; a row's first token of this call is predicted by nothing.
        logits_to_keep: of the last so many tokens, 0 for all; or of these columns. hidden_states, if asked for:
        embeddings, then x after each layer, the last normed. Raises ValueError for a mask of another shape.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("give either input_ids or inputs_embeds")
        if kwargs.get("output_attentions"):
            raise ValueError("output_attentions: the model has none; leave it out")
        x = self.emb(input_ids) if inputs_embeds is None else inputs_embeds
        call = Call(Rows.of(attention_mask, *x.shape[:2]))
        before = cache if past_key_values is None else past_key_values
        state = self.initial_state(len(x)) if before is None else before
        hidden = self._hidden_states(call.rows.packed(x), call, state)
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        last = call.rows.unpacked(hidden[-1])
        logits = self.head(last[:, kept])
        loss = None
        if labels is not None:
            labels = call.rows.predicted(labels)
            loss = self.loss_function(logits=logits, labels=labels, vocab_size=self.config.vocab_size, **kwargs)
        shown = self.config.output_hidden_states if output_hidden_states is None else output_hidden_states
        given = state if (self.config.use_cache if use_cache is None else use_cache) else None
        output = CausalLMOutputWithPast(
            loss=loss,
            logits=logits,
            past_key_values=given,
            hidden_states=tuple(call.rows.unpacked(x) for x in hidden) if shown else None,
        )
        return output.to_tuple() if return_dict is False else output

    def _hidden_states(self, x: Tensor, call: Call, state: RrwkvState) -> list[Tensor]:
        """Of packed rows: the embeddings, and x after each layer; the state moves on."""
        blocks = cast("list[Block]", list(self.blocks))
        x = blocks[0].ln0(x)
        hidden, layers = [x], []
        for layer, (block, before) in enumerate(zip(blocks, state.layers, strict=True)):
            h = block.ln1(x)
            if layer == 0:
                call.clock = self._clock(h, call, state)
            x, after = block(x, h, call, before)
            hidden.append(x)
            layers.append(after)
        hidden[-1] = self.ln_out(x)
        state.layers, state.seen = layers, state.seen + x.shape[1]
        if call.clock:
            state.information = call.clock.information
        return hidden

    def _clock(self, h: Tensor, call: Call, state: RrwkvState) -> Clock | None:
        """Where mediums end, by layer 0's h."""
        if self.config.medium is None:
            return None
        if self.config.is_adaptive:
            n, unit = self.medium(h, call.shifted(h, dict(state.layers[0]), "att_shift")), UNIT
        else:
            n, unit = torch.ones(h.shape[:2], dtype=torch.int64, device=h.device), self.config.medium["interval"]
        return Clock(state.information, call.rows.zeroed(n), unit)

    def initial_state(self, rows: int) -> RrwkvState:
        """Before the first token."""
        config, like, room = self.config, self.head.get_parameter("weight"), _ROOMS[self.config.rwkv_architecture]
        shapes: dict[str, tuple[int, ...]] = dict.fromkeys(("att_shift", "ffn_shift"), (config.hidden_size,))
        shapes |= room.state_shapes(config) | medium_shapes(config)
        dtype = torch.promote_types(like.dtype, torch.float32)
        layer = {
            name: torch.full((rows, *shape), _FILLS.get(name, 0.0), dtype=dtype, device=like.device)
            for name, shape in shapes.items()
        }
        information = torch.zeros(rows, dtype=torch.int64, device=like.device)
        return RrwkvState([layer] * config.num_layers, information)


RrwkvConfig.register_for_auto_class()
RrwkvForCausalLM.register_for_auto_class("AutoModelForCausalLM")
