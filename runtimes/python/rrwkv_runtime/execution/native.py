"""The kernels of rrwkv-native: an optional package that computes a whole graph of a quantized bundle in one node.

It has a table of them for each kind of processor. Which one runs, whoever loads a bundle may say, or the environment
variable RRWKV_NATIVE for a whole process.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from rrwkv_runtime.common.install import hint
from rrwkv_runtime.errors import InputError, ProviderError

PACKAGE = "rrwkv_native"
VARIABLE = "RRWKV_NATIVE"
AUTO, ON, OFF = "auto", "on", "off"
# All there are, whichever processor runs them.
SCALAR = "scalar"  # plain C++: for what others are held against, and slower than onnxruntime's own
TABLES = (SCALAR, "avx2", "avx2-vnni", "avx512", "avx512-amx", "neon", "neon-i8mm")
CHOICES = (AUTO, ON, OFF, *TABLES)


@dataclass(frozen=True)
class Kernels:
    """Those that run: the library, and the table that was asked for by its name; None: the best."""

    library: Path
    table: str | None = None

    @property
    def name(self) -> str:
        """The table's, whoever chose it."""
        return self.table or tables()[0]


def choice(wanted: bool | str | None, name: str = "native") -> str:
    """One of CHOICES for what `Model.load` takes: None is "auto", True "on" and False "off". name: whose value it is.
    Raises InputError.
    """
    said = wanted if isinstance(wanted, str) else AUTO if wanted is None else ON if wanted else OFF
    if said not in CHOICES:
        raise InputError(f"{name} must be {', '.join(CHOICES[:-1])} or {CHOICES[-1]}, not {wanted!r}")
    return said


def find(provider: str, wanted: bool | str | None) -> Kernels | None:
    """The kernels, or None to do without.

    wanted: None or "auto" does what RRWKV_NATIVE says, and without it takes the best where they are installed, if that
    is not "scalar"; True or "on" must have some, those that RRWKV_NATIVE names or the best; False or "off" leaves them
    out; the name of a table must have this one. Raises InputError for other names, ProviderError if what is wanted
    cannot be had.
    """
    chosen = choice(wanted)
    if provider != "cpu":
        if chosen not in (AUTO, OFF):
            raise ProviderError(f"the native kernels are for provider 'cpu', not {provider!r}")
        return None
    if chosen in (AUTO, ON):
        said = choice(os.environ.get(VARIABLE) or AUTO, VARIABLE)
        chosen = said if said in TABLES or chosen == AUTO else chosen
    if chosen == OFF:
        return None
    if why := missing():
        if chosen != AUTO:
            raise ProviderError(f"there are no native kernels here: {why}; or do without (--no-native)")
        return None
    there, library = tables(), importlib.import_module(PACKAGE).path()
    if chosen == AUTO and there[0] == SCALAR:
        return None
    if chosen in (AUTO, ON):
        return Kernels(library)
    if chosen not in there:
        raise ProviderError(
            f"the native kernels {chosen!r} do not run on this processor; it runs {', '.join(there)}: name one, or none"
        )
    return Kernels(library, chosen)


def missing() -> str | None:
    """Why there are none to run, and what to do about it; None where there are. Raises ProviderError."""
    if importlib.util.find_spec(PACKAGE) is None:
        return f"rrwkv-native is not installed; {hint('rrwkv-native')}"
    with _loading() as package:
        why = None if package.tables() else package.reason()
    if why:
        return f"{why}; install g++ or clang, and then it again: {hint('rrwkv-native')}"
    return None


def tables() -> tuple[str, ...]:
    """The names of those that run here, the best one first. Raises ProviderError if the library does not load."""
    with _loading() as package:
        found: tuple[str, ...] = package.tables()
    return found


def version() -> str:
    """Of the package that is installed."""
    return importlib.metadata.version(PACKAGE.replace("_", "-"))


def register(options: Any, kernels: Kernels, threads: int) -> None:
    """Let a session's graph use the kernels. threads: how many the session has."""
    options.add_session_config_entry("rrwkv.threads", str(threads))
    if kernels.table:
        options.add_session_config_entry("rrwkv.kernels", kernels.table)
    options.register_custom_ops_library(str(kernels.library))


@contextmanager
def _loading() -> Iterator[ModuleType]:
    """The package; what it raises within, as one of another version may, is a ProviderError."""
    try:
        yield importlib.import_module(PACKAGE)
    except (ImportError, OSError, AttributeError) as error:
        remedy = f"install it again ({hint('rrwkv-native')}), or leave it out (--no-native)"
        raise ProviderError(f"rrwkv-native does not load ({error}): {remedy}") from None
