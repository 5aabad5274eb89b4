"""What is carried from call to call, and rows of unequal length. Of rrwkv-export, Apache-2.0.

B rows   T tokens of this call   C channels   K slots   R key width
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

LayerState = dict[str, Tensor]


class RrwkvState:
    """The place of a key-value cache, `past_key_values`; it does not grow.

    layers: of each layer its arrays [B, ...] by name, float32 (of a float64 model float64): shifts, the state of wkv,
    the open medium, held mediums and their keys. information: int64 [B], how far the mediums are, in whole numbers.
    seen: columns of all calls, padding included, as transformers counts them.
    """

    is_compileable = False

    def __init__(self, layers: list[LayerState], information: Tensor, seen: int = 0) -> None:
        self.layers, self.information, self.seen = layers, information, seen

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return self.seen

    def get_max_cache_shape(self, layer_idx: int = 0) -> int:
        """No limit."""
        return -1

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """The rows of these indices, as beam search chooses them."""
        self._map(lambda x: x.index_select(0, beam_idx.to(x.device)))

    batch_select_indices = reorder_cache

    def batch_repeat_interleave(self, repeats: int) -> None:
        self._map(lambda x: x.repeat_interleave(repeats, dim=0))

    def detach(self) -> RrwkvState:
        """The same values, through which no gradient goes back."""
        layers = [{name: x.detach() for name, x in layer.items()} for layer in self.layers]
        return RrwkvState(layers, self.information, self.seen)

    def copy(self) -> RrwkvState:
        """To go on from twice: a call puts new arrays into a state, and writes into none."""
        return RrwkvState([dict(layer) for layer in self.layers], self.information, self.seen)

    def _map(self, change: Callable[[Tensor], Tensor]) -> None:
        self.layers = [{name: change(x) for name, x in layer.items()} for layer in self.layers]
        self.information = change(self.information)


class Rows:
    """Which tokens of a call are real. Those of a row are put in front, and what comes out back in its place.

    lengths: int64 [B], or None where all tokens are real.
    """

    def __init__(self, mask: Tensor | None) -> None:
        self._mask = None if mask is None or bool(mask.all()) else mask.bool()
        self.lengths = None if self._mask is None else self._mask.sum(1)

    @classmethod
    def of(cls, attention_mask: Tensor | None, rows: int, tokens: int) -> Rows:
        """attention_mask [B, T], or as long as all that was seen. Raises ValueError."""
        if attention_mask is None:
            return cls(None)
        if attention_mask.ndim != 2 or attention_mask.shape[0] != rows or attention_mask.shape[1] < tokens:
            raise ValueError(
                f"attention_mask is {list(attention_mask.shape)} for input_ids [{rows}, {tokens}]; give 1 for each "
                "token and 0 for padding, [rows, tokens]"
            )
        return cls(attention_mask[:, -tokens:])

    def packed(self, x: Tensor) -> Tensor:
        """x [B, T, ...] with real tokens in front."""
        if self._mask is None:
            return x
        return _gathered(x, torch.argsort(~self._mask, dim=1, stable=True))

    def unpacked(self, x: Tensor) -> Tensor:
        """The inverse; padding gets what the last real token before it has, so that a row may also end in padding.

        Where there is none it gets 0: what the row's first token has would tell which one that is.
        """
        if self._mask is None:
            return x
        read = self._mask.cumsum(1)
        return _kept(_gathered(x, (read - 1).clamp(min=0)), read > 0)

    def predicted(self, labels: Tensor) -> Tensor:
        """labels [B, T] with -100 where the row has no real token before, in this call.

        Nothing predicts its first: a state holds no logits, and in a row without padding nothing does either.
        """
        if self._mask is None:
            return labels
        before = self._mask.cumsum(1) - self._mask.long()
        return labels.masked_fill((before == 0).to(labels.device), -100)

    def zeroed(self, x: Tensor) -> Tensor:
        """x [B, T, ...], packed, with 0 for what is not real."""
        if self.lengths is None:
            return x
        return _kept(x, torch.arange(x.shape[1], device=x.device) < self.lengths[:, None])

    def last(self, x: Tensor) -> Tensor:
        """Of [B, 1 + T, ...], the carried value and those after each token, the one after the last real token."""
        if self.lengths is None:
            return x[:, -1]
        return _gathered(x, self.lengths[:, None])[:, 0]


def _kept(x: Tensor, real: Tensor) -> Tensor:
    """x [B, n, ...] where real [B, n], else 0."""
    return torch.where(real.reshape(*real.shape, *[1] * (x.ndim - 2)), x, torch.zeros_like(x))


def _gathered(x: Tensor, index: Tensor) -> Tensor:
    """x [B, n, ...] at index [B, m]."""
    return x.gather(1, index.reshape(*index.shape, *[1] * (x.ndim - 2)).expand(*index.shape, *x.shape[2:]))
