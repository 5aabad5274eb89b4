"""Sizes of an RWKV-4 or RWKV-7, with mediums or without. Of rrwkv-export, Apache-2.0."""

from __future__ import annotations

from typing import Any

from transformers import PretrainedConfig


def _check_whole(name: str, value: Any, largest: int = 1 << 20) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= largest:
        raise ValueError(f"{name} must be a whole number from 1 to {largest}, not {value!r}")


class RrwkvConfig(PretrainedConfig):
    """The fields are rrwkv-export's own; the rest of a config.json is transformers'.

    rwkv_architecture: "rwkv4", "rrwkv" (rwkv4 with mediums) or "rwkv7". vocab_size: V. hidden_size: C. num_layers:
    L. ffn_size: F. medium: None, or interval (tokens a medium, or {"shortest", "longest"} where the text decides),
    squeeze ("attention" or "mean"), reduction, slots (K), key_size (R). attention_size: D of rwkv4, None for C.
    head_size: N of rwkv7, and the ranks of its low-rank matrices. chat: how a dialogue is written, as in chat.json.
    """

    model_type = "rrwkv"
    attribute_map = {"num_hidden_layers": "num_layers", "intermediate_size": "ffn_size"}  # noqa: RUF012
    keys_to_ignore_at_inference = ["past_key_values", "cache"]  # noqa: RUF012

    def __init__(
        self,
        rwkv_architecture: str = "rrwkv",
        vocab_size: int = 4096,
        hidden_size: int = 320,
        num_layers: int = 8,
        ffn_size: int = 1280,
        layer_norm_epsilon: float = 1e-5,
        medium: dict[str, Any] | None = None,
        attention_size: int | None = None,
        head_size: int | None = None,
        decay_rank: int | None = None,
        rate_rank: int | None = None,
        value_rank: int | None = None,
        gate_rank: int | None = None,
        chat: dict[str, Any] | None = None,
        use_cache: bool = True,
        **kwargs: Any,
    ) -> None:
        self.rwkv_architecture = rwkv_architecture
        self.vocab_size, self.hidden_size, self.num_layers, self.ffn_size = (
            vocab_size,
            hidden_size,
            num_layers,
            ffn_size,
        )
        self.layer_norm_epsilon, self.medium, self.use_cache = layer_norm_epsilon, medium, use_cache
        optional: dict[str, Any] = {"attention_size": attention_size, "head_size": head_size, "decay_rank": decay_rank}
        optional |= {"rate_rank": rate_rank, "value_rank": value_rank, "gate_rank": gate_rank, "chat": chat}
        for name, value in optional.items():  # of one architecture alone, so that config.json has no null of another
            if value is not None:
                setattr(self, name, value)
        kwargs.setdefault("tie_word_embeddings", False)
        self._check()
        super().__init__(**kwargs)

    def _check(self) -> None:
        """Sizes and mediums, as rrwkv-export does: a config.json may be anybody's. Raises ValueError."""
        names = ("vocab_size", "hidden_size", "ffn_size", "attention_size", "head_size")
        for name in (*names, "decay_rank", "rate_rank", "value_rank", "gate_rank"):
            _check_whole(name, getattr(self, name, 1))
        _check_whole("num_layers", self.num_layers, 1 << 12)
        if not isinstance(self.layer_norm_epsilon, (int, float)) or not 0 < self.layer_norm_epsilon < 1:
            raise ValueError(f"layer_norm_epsilon must be a number between 0 and 1, not {self.layer_norm_epsilon!r}")
        if self.medium is None:
            return
        if not isinstance(self.medium, dict):
            raise ValueError(f"medium must be an object or null, not {self.medium!r}")
        interval = self.medium.get("interval")
        ends: list[Any] = [interval]
        if isinstance(interval, dict):
            ends = [interval.get("shortest"), interval.get("longest")]
        for end in ends:
            _check_whole("medium's interval", end)
        if ends[0] > ends[-1]:
            raise ValueError(f"medium's interval: its shortest, {ends[0]}, is above its longest, {ends[-1]}")
        for name in ("reduction", "slots", "key_size"):
            _check_whole(f"medium's {name}", self.medium.get(name, 1))

    @property
    def is_adaptive(self) -> bool:
        """Whether the text decides where a medium ends."""
        return self.medium is not None and isinstance(self.medium["interval"], dict)
