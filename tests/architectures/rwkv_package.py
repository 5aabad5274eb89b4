"""Logits of the independent `rwkv` package, token by token, for a .pth: `python rwkv_package.py MODEL.pth IDS OUT.npy`.

A program of its own, as the package reads its environment when it is imported: RWKV_V7_ON=1 for RWKV-7.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from rwkv.model import RWKV


def main(path: str, ids: str, out: str) -> None:
    model, state, found = RWKV(str(Path(path).with_suffix("")), "cpu fp32"), None, []
    for token in json.loads(ids):
        logits, state = model.forward([token], state)
        found.append(logits.numpy())
    np.save(out, np.stack(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
