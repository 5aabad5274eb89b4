"""`optimum-cli export onnx` for the folders of `rrwkv huggingface`: what it writes is a bundle. An extra: [optimum].

optimum exports by tracing a model, which would give a graph without states. It is given something small to trace, and
what it wrote is replaced by the bundle that `rrwkv export` makes of the same folder, verified; then optimum compares
its logits with the model of transformers'. Nothing of optimum is patched: `register` hands a class to its registry.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor

from rrwkv_export.checkpoint import open_checkpoint
from rrwkv_export.checkpoint.huggingface import MODEL_TYPE
from rrwkv_export.errors import ExportError
from rrwkv_export.export import export
from rrwkv_runtime.manifest import MANIFEST_NAME, Manifest

TASKS = ("text-generation", "text-generation-with-past")
_DTYPES: dict[str, Literal["float32", "float16"]] = {"fp32": "float32", "fp16": "float16"}
_TOLERANCES = {"fp32": 1e-3, "fp16": 1e-1}
_MOST_TOKENS = 160  # that logits are compared for


def register() -> None:
    """Make the exporter known to optimum, in this process. Raises ImportError where optimum-onnx is not installed."""
    from optimum.exporters.tasks import TasksManager

    made = _exporter()
    TasksManager.create_register("onnx", overwrite_existing=True)(MODEL_TYPE, *TASKS)(made)


class _Traced:
    """While it is entered, `forward` takes and gives what a graph of the bundle does; traced, it computes nothing."""

    def __init__(self, model: Any) -> None:
        self._model, self._forward = model, model.forward

    def __enter__(self) -> None:
        self._model.forward = self._computed

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._model.forward = self._forward

    def _computed(self, input_ids: Tensor, **state: Tensor) -> dict[str, Tensor]:
        if torch.onnx.is_in_onnx_export():
            return {"logits": input_ids[:, None].float()}
        return {"logits": self._forward(input_ids[None], use_cache=False).logits[0].float()}


def _exporter() -> type[Any]:
    """The class, which derives from optimum's."""
    from optimum.exporters.onnx import OnnxConfig
    from optimum.utils import NormalizedTextConfig

    class RrwkvOnnxConfig(OnnxConfig):  # type: ignore[misc]
        """What optimum asks of an architecture. manifest: of the bundle, once it is there."""

        NORMALIZED_CONFIG_CLASS = NormalizedTextConfig
        SUPPORTS_PAST = True  # its graphs always have their states

        def __init__(
            self, config: Any, task: str, use_past: bool = False, use_past_in_inputs: bool = False, **more: Any
        ) -> None:
            super().__init__(config, task, **more)
            self.use_past, self.manifest = use_past, cast("Manifest | None", None)
            self.ATOL_FOR_VALIDATION = _TOLERANCES.get(self.float_dtype, 0.0)

        @property
        def inputs(self) -> dict[str, dict[int, str]]:
            states = self.manifest.states if self.manifest else ()
            derived: dict[str, dict[int, str]] = {"num_logits": {}} if self.manifest else {}
            return {"input_ids": {0: "T"}, **derived, **{state.input: {} for state in states}}

        @property
        def outputs(self) -> dict[str, dict[int, str]]:
            states = self.manifest.states if self.manifest else ()
            return {"logits": {0: "N"}, **{state.output: {} for state in states}}

        def generate_dummy_inputs(self, framework: str = "pt", **_: Any) -> dict[str, Tensor]:
            count = _compared(self._config.medium) if self.manifest else 2
            drawn = np.random.default_rng(0).integers(0, self._config.vocab_size, count)
            found = {"input_ids": torch.from_numpy(drawn)}
            if self.manifest:
                found["num_logits"] = torch.tensor([count])
                found |= {state.input: torch.from_numpy(state.initial()) for state in self.manifest.states}
            return found

        def patch_model_for_export(self, model: Any, model_kwargs: dict[str, Any] | None = None) -> _Traced:
            return _Traced(model)

        def fix_dynamic_axes(self, model_path: Path, *_: Any, **__: Any) -> None:
            """Called with what was traced, which the bundle takes the place of."""
            model_path.unlink()
            self.manifest = _write_bundle(self._config, self.float_dtype, model_path.parent)

        def post_process_exported_models(
            self, path: Path, models: Mapping[str, Any], files: Sequence[str]
        ) -> tuple[Mapping[str, Any], Sequence[str]]:
            return models, files

    return RrwkvOnnxConfig


def _compared(medium: Mapping[str, Any] | None) -> int:
    """Tokens that reach into the third segment."""
    interval = medium["interval"] if medium else 8
    return int(min(_MOST_TOKENS, 2 * (interval["longest"] if isinstance(interval, Mapping) else interval) + 3))


def _write_bundle(config: Any, dtype: str, out: Path) -> Manifest:
    """Put the bundle's files into the folder, the manifest last. Raises ExportError."""
    if dtype not in _DTYPES:
        raise ExportError(f"--dtype {dtype}: graphs are made in {' and '.join(_DTYPES)}; give one of these")
    with tempfile.TemporaryDirectory(prefix=".rrwkv-", dir=out) as temporary:
        made = Path(temporary) / "bundle"
        manifest, _ = export(open_checkpoint(_folder(config)), made, dtype=_DTYPES[dtype])
        for name in [*(entry.name for entry in manifest.files), MANIFEST_NAME]:
            (made / name).replace(out / name)
    return manifest


def _folder(config: Any) -> Path:
    """Where the model lies that transformers loaded."""
    named = str(config._name_or_path)
    if Path(named).is_dir():
        return Path(named)
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(named, revision=getattr(config, "_commit_hash", None)))
