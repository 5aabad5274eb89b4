"""The kernels of rrwkv-native: an optional package that computes a whole graph of a quantized bundle in one node."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
from pathlib import Path
from typing import Any

from rrwkv_runtime.common.install import hint
from rrwkv_runtime.errors import ProviderError

PACKAGE = "rrwkv_native"


def find(provider: str, wanted: bool | None) -> Path | None:
    """The library of kernels, or None to do without. wanted: None takes it where it is installed and the processor has
    what it needs. Raises ProviderError if it is wanted and cannot be had.
    """
    if provider != "cpu":
        if wanted:
            raise ProviderError(f"the native kernels are for provider 'cpu', not {provider!r}")
        return None
    if wanted is False:
        return None
    if importlib.util.find_spec(PACKAGE) is None:
        if wanted:
            raise ProviderError(f"the native kernels are not installed; {hint('rrwkv-native')}")
        return None
    try:
        library: Path | None = importlib.import_module(PACKAGE).library()
    except (ImportError, OSError) as error:
        remedy = f"install it again ({hint('rrwkv-native')}), or leave it out (--no-native)"
        raise ProviderError(f"rrwkv-native does not load ({error}): {remedy}") from None
    if library is None and wanted:
        raise ProviderError("the native kernels need a processor with AVX-512 VNNI; leave --native out")
    return library


def version() -> str:
    """Of the package that is installed."""
    return importlib.metadata.version(PACKAGE.replace("_", "-"))


def register(options: Any, library: Path, threads: int) -> None:
    """Let a session's graph use the kernels. threads: how many the session has."""
    options.add_session_config_entry("rrwkv.threads", str(threads))
    options.register_custom_ops_library(str(library))
