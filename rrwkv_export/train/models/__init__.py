"""Models as they are trained: what the reference computes, of many rows at once, with gradients, in any precision.

    model     parameters under their canonical names; embedding, layers, head
    rwkv4     time-mix of RWKV-4, with wkv as a scan of log n steps
    rwkv7     time-mix of RWKV-7, with the delta rule in chunks
    mediums   made and read by segments
    rounded   one whose matrices are rounded as a recipe rounds them
    initial   the weights that a training begins with

Mixes, gates and norms are the reference's own; what is here goes over the tokens without a loop over them.
"""

from rrwkv_export.train.models.model import Model, State

__all__ = ["Model", "State"]
