"""The graphs in fixed shapes in onnxruntime's own format, for reduced builds of it, and what its checker says of them.

An .ort file holds its weights, so it cannot share those of the bundle. The graphs are kept as an engine wants them,
with what the CPU could fuse noted beside (the style that onnxruntime calls Runtime): an engine is offered the operators
that it knows, and `session.enable_saved_runtime_optimizations` = 1 fuses what is left to the CPU.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from rrwkv_export.bundle import VARIANTS
from rrwkv_export.errors import ExportError
from rrwkv_export.quiet import quiet

OPERATORS_FILE = "required_operators_and_types.config"
_STYLE = ".with_runtime_opt"


def write_ort(folder: Path) -> None:
    """Write NAME.ort for every graph in a bundle's variants, and OPERATORS_FILE for onnxruntime's build script.

    Types are reduced to those used. Raises ExportError for weights over the format's 2 GB.
    """
    from onnxruntime.tools.convert_onnx_models_to_ort import OptimizationStyle, convert_onnx_models_to_ort

    with _beside_weights(folder) as place:
        try:
            with contextlib.redirect_stdout(io.StringIO()), quiet():
                convert_onnx_models_to_ort(
                    place,
                    place / "out",
                    [OptimizationStyle.Runtime],
                    target_platform="arm",
                    enable_type_reduction=True,
                )
        except Exception as error:  # onnxruntime's own exception types share no base
            reason = str(error).splitlines()[0]
            raise ExportError(
                f"the graphs in fixed shapes cannot be written as .ort ({reason}); leave it out with --no-ort"
            ) from None
        for path in sorted((place / "out").iterdir()):
            path.rename(folder / VARIANTS / path.name.replace(_STYLE, ""))
    config = folder / VARIANTS / OPERATORS_FILE
    # The comments name the files by where they were made.
    lines = config.read_text(encoding="utf-8").splitlines()
    config.write_text("".join(f"{line}\n" for line in lines if not line.startswith("#")), encoding="utf-8")


def usability_report(folder: Path) -> str:
    """What onnxruntime's checker says of graphs in fixed shapes: which nodes NNAPI and Core ML would take."""
    from onnxruntime.tools.mobile_helpers import usability_checker

    told = io.StringIO()
    logger = logging.Logger("usability", logging.INFO)  # of its own: nothing else hears it
    logger.addHandler(logging.StreamHandler(told))
    with _beside_weights(folder) as place:
        for path in sorted(place.glob("*.onnx")):
            told.write(f"\n{path.name}\n")
            usability_checker.analyze_model(path, logger=logger)
        return told.getvalue().replace(f"{place}{os.sep}", "").strip()


@contextlib.contextmanager
def _beside_weights(folder: Path) -> Iterator[Path]:
    """The graphs of the variants in a folder of their own, with the weights beside them, where tools look for them."""
    with tempfile.TemporaryDirectory(prefix=".ort-", dir=folder) as name:
        place = Path(name)
        # Not links: onnx refuses weights with a second one, as it would find them were this cut short.
        for path in (*folder.glob("*.onnx.data"), *(folder / VARIANTS).glob("*.onnx")):
            shutil.copyfile(path, place / path.name)
        yield place
