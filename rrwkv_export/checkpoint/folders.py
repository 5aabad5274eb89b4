"""What a folder is that holds no checkpoint which could be read, and what to do about it."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path

from rrwkv_export.architectures.config import read_json
from rrwkv_export.errors import CheckpointError, ConfigError

ADAPTER_CONFIG = "adapter_config.json"
_FOREIGN = (
    ("*.gguf", "a GGUF file, of llama.cpp"),
    ("*.onnx", "an ONNX graph"),
    ("*.h5", "TensorFlow weights"),
    ("*.msgpack", "Flax weights"),
    ("*.tflite", "a TensorFlow Lite model"),
)


def check_folder(folder: Path) -> None:
    """Raises CheckpointError for a folder that is something else whatever lies in it: a bundle, an adapter, a cache."""
    if _is_bundle(folder / "manifest.json"):
        raise CheckpointError(
            f"{folder}: a bundle already, and no checkpoint; use it as it is (`rrwkv chat`, `rrwkv quantize`), "
            "or give the checkpoint that it was exported from"
        )
    snapshots = folder / "snapshots"
    if folder.name.startswith("models--") and snapshots.is_dir():
        inside = _newest(path for path in snapshots.iterdir() if path.is_dir())
        if inside:
            raise CheckpointError(f"{folder}: the Hugging Face cache of a model; give {inside} in it")


def no_weights(folder: Path, names: tuple[str, ...]) -> CheckpointError:
    """What to say of a folder in which none of `names` is."""
    wanted = " or ".join(names)
    if not any(folder.iterdir()):
        return CheckpointError(f"{folder}: the directory is empty; put the checkpoint into it, or give another")
    if (folder / ADAPTER_CONFIG).is_file():
        return CheckpointError(
            f"{folder}: a PEFT adapter and no model; merge it with `rrwkv export BASE --adapter {_shell(folder)}`"
        )
    if (tool := _find(folder, "zero_to_fp32.py")) or _find(folder, "*_model_states.pt"):
        script = f"`python {_shell(tool)} {_shell(tool.parent)} OUT`" if tool else "its zero_to_fp32.py"
        return CheckpointError(
            f"{folder}: DeepSpeed keeps a model in parts here; join them with {script}, and give OUT"
        )
    if _find(folder, "*.distcp"):
        return CheckpointError(
            f"{folder}: a distributed checkpoint of PyTorch; join it with `python -m "
            "torch.distributed.checkpoint.format_utils dcp_to_torch DIR FILE`, and give the file"
        )
    suffixes = ("*.pth", "*.safetensors", "*.st", "*.pt", "*.ckpt", "*.bin", "*.PTH")
    if loose := sorted(path for suffix in suffixes for path in folder.glob(suffix) if path.is_file()):
        return CheckpointError(f"{folder}: has no {wanted}; give the path of {loose[0].name} itself")
    foreign = _foreign(folder)
    if foreign and foreign[0].parent == folder:
        return _no_checkpoint(folder, wanted, *foreign)
    if inside := _newest(path.parent for path in folder.glob("*/config.json")):
        return CheckpointError(f"{folder}: has no weights itself; give a checkpoint in it, such as {inside}")
    if bundle := _newest(path.parent for path in folder.glob("*/manifest.json") if _is_bundle(path)):
        return CheckpointError(
            f"{folder}: holds a bundle ({bundle.name}/) and no {wanted}; use it as it is (`rrwkv chat "
            f"{_shell(bundle)}`), or give the checkpoint that it was exported from"
        )
    if foreign:
        return _no_checkpoint(folder, wanted, *foreign)
    return CheckpointError(f"{folder}: has no weights; put {wanted} (or its shards and index) there")


def _foreign(folder: Path) -> tuple[Path, str] | None:
    """A file of another kind, the folder's own before one in a folder within, and what it is."""
    found = [(path, what) for pattern, what in _FOREIGN if (path := _find(folder, pattern))]
    return min(found, key=lambda pair: pair[0].parent != folder, default=None)


def _no_checkpoint(folder: Path, wanted: str, found: Path, what: str) -> CheckpointError:
    named = found.relative_to(folder).as_posix()
    return CheckpointError(
        f"{folder}: holds {what} ({named}) and no {wanted}; give the PyTorch checkpoint it was made from"
    )


def _shell(path: Path) -> str:
    return shlex.quote(str(path))


def _find(folder: Path, pattern: str) -> Path | None:
    """The first file of this name in the folder, or in one directly in it."""
    return next(iter([*sorted(folder.glob(pattern)), *sorted(folder.glob(f"*/{pattern}"))]), None)


def _newest(folders: Iterable[Path]) -> Path | None:
    return max(folders, key=lambda path: path.stat().st_mtime, default=None)


def _is_bundle(manifest: Path) -> bool:
    if not manifest.is_file():
        return False
    try:
        fields = read_json(manifest)
    except ConfigError:  # of something else, then
        return False
    return isinstance(fields, dict) and fields.get("format") == "rrwkv-bundle"
