"""Initializers whose data lie in a file beside the graph, read one at a time."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from rrwkv_runtime.errors import DamagedBundle
from rrwkv_runtime.manifest import resolve_inside

Array = np.ndarray[Any, np.dtype[Any]]


def read(tensor: TensorProto, folder: Path) -> Array:
    """A new array. Raises DamagedBundle if the file is not in the folder, or ends too soon."""
    info = onnx.external_data_helper.ExternalDataInfo(tensor)
    path, dtype = resolve_inside(folder, info.location), helper.tensor_dtype_to_np_dtype(tensor.data_type)
    offset = info.offset or 0
    if offset + prod(tensor.dims) * dtype.itemsize > path.stat().st_size:
        raise DamagedBundle(f"{path}: ends before {tensor.name} does")
    return np.fromfile(path, dtype, prod(tensor.dims), offset=offset).reshape(tensor.dims)
