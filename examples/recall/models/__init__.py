"""The models that are compared, each made as large as the others.

recurrent     LSTM, GRU
transformer   with rotary positions
rwkv          RWKV-4, RWKV-7, and RRWKV on both: the package's own
building      any of them by its variant, of so many parameters
"""

from examples.recall.models.building import Sizes, build, count, sizes

__all__ = ["Sizes", "build", "count", "sizes"]
