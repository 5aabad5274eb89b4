"""Every error that the build side raises on purpose, under the runtime's `RRWKVError`.

RRWKVError (rrwkv_runtime.errors)
└── ExportError            anything that goes wrong between a checkpoint and a bundle
    ├── ConfigError        a config field is missing, unknown, of the wrong type or out of range
    ├── CheckpointError    a checkpoint file cannot be read, or not as a model that is known
    │   └── TensorError    one tensor is missing, extra, misshapen or not finite
    ├── TextError          a calibration or evaluation text cannot be used
    ├── RecipeError        a quantization recipe or budget cannot be followed
    ├── GateError          a report's figure is worse than was allowed
    ├── BenchError         an earlier bench cannot be compared with
    ├── TrainingError      a training cannot be begun, or not be gone on with
    ├── RunError           a grid of runs cannot be executed, or its results not be read
    ├── OutputError        the place to write to cannot be used
    └── ParityError        the exported graph does not compute what the reference computes

Messages are one line: what is wrong, the value, what to do.
"""

from __future__ import annotations

from rrwkv_runtime.errors import RRWKVError


class ExportError(RRWKVError):
    """Anything that goes wrong between a checkpoint and a bundle."""


class ConfigError(ExportError):
    """A config field is missing, unknown, of the wrong type or out of range."""


class CheckpointError(ExportError):
    """A checkpoint file cannot be read, or not as a model that is known."""


class TensorError(CheckpointError):
    """One tensor of a checkpoint is missing, extra, misshapen or not finite."""


class TextError(ExportError):
    """A calibration or evaluation text cannot be used."""


class RecipeError(ExportError):
    """A quantization recipe or budget cannot be followed."""


class GateError(ExportError):
    """A report's figure is worse than was allowed."""


class BenchError(ExportError):
    """An earlier bench cannot be compared with."""


class TrainingError(ExportError):
    """A training cannot be begun, or not be gone on with."""


class RunError(ExportError):
    """A grid of runs cannot be executed, or its results not be read."""


class OutputError(ExportError):
    """The place to write to cannot be used."""


class ParityError(ExportError):
    """The exported graph does not compute what the reference computes; `parity` is what was measured, if it was."""

    def __init__(self, message: str, parity: object = None) -> None:
        super().__init__(message)
        self.parity = parity


def is_out_of_memory(error: BaseException) -> bool:
    """Also as torch, CUDA and its libraries say it: a RuntimeError."""
    if not isinstance(error, RuntimeError):
        return isinstance(error, MemoryError)
    said = str(error).lower()
    return "out of memory" in said or "alloc_failed" in said or ("allocat" in said and "memory" in said)


def without_remedy(error: RRWKVError) -> str:
    """What is wrong, where another remedy helps than the one that stands after the last semicolon."""
    return str(error).rpartition(";")[0] or str(error)
