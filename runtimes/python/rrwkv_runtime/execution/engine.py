"""Starting an execution provider, and making sessions that run on it: what was asked for is what runs, or an error.

The rule: of every graph of a bundle, at least half of the matrix products must be on the provider, and one node at
least. Nodes that it does not take run on the CPU; they are told by `Model.nodes`, and are an error if `strict`.
onnxruntime's own fallbacks are off.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

from rrwkv_runtime.errors import InputError, ProviderError
from rrwkv_runtime.execution.placement import RECORD, assigned, operators
from rrwkv_runtime.providers import PROVIDERS, Provider, find, import_onnxruntime

DEVICE = "device"  # an option of our own: which kind of hardware a plugin shall use
_ERROR_CODE = re.compile(r"\[ONNXRuntimeError\] : \d+ : \w+ : ")
_SOURCE_LINE = re.compile(r"/\S+\.(?:cc|h):\d+ .*? was false\. ")
_lock = threading.Lock()
_registered: set[str] = set()


def reason(error: Exception) -> str:
    """What onnxruntime says, in one line without its error codes and places in its source."""
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return _SOURCE_LINE.sub("", _ERROR_CODE.sub("", line))


@dataclass(frozen=True)
class Engine:
    """A provider that is there. device: onnxruntime's handle of a plugin's device; None for a built-in provider."""

    provider: Provider
    options: Mapping[str, str]
    device: Any = None

    def session(self, graph: str | bytes, options: Any, *, one_shape: bool = False, strict: bool = False) -> Any:
        """A session of a graph (a path, or its bytes) on this provider.

        options: SessionOptions, for this session alone. one_shape: every run has the same shapes, so a GPU may capture
        it. strict: all nodes must be on the provider. Raises ProviderError if the rule above is broken; what
        onnxruntime raises for a graph that it cannot load goes through.
        """
        options.add_session_config_entry(RECORD, "1")
        chosen: dict[str, Any] = {}
        if self.device is not None:
            options.add_provider_for_devices([self.device], dict(self.options))
        else:
            chosen["providers"] = self._list(one_shape)
        with _stdout_for_results() if self.device is not None else nullcontext():
            session = import_onnxruntime().InferenceSession(graph, options, enable_fallback=0, **chosen)
        session.disable_fallback()
        self._check(session, strict)
        return session

    def _list(self, one_shape: bool) -> list[str | tuple[str, dict[str, str]]]:
        """onnxruntime's list for a built-in provider; the CPU follows for the shape computations that none takes."""
        if self.provider.name == "cpu":
            return [self.provider.ort]
        capture = {"enable_cuda_graph": str(int(one_shape))} if self.provider.name == "cuda" else {}
        return [(self.provider.ort, {**capture, **self.options}), "CPUExecutionProvider"]

    def _check(self, session: Any, strict: bool) -> None:
        provider = self.provider
        if provider.ort not in session.get_providers():
            raise ProviderError(f"provider {provider.name!r} did not start; {provider.remedy}")
        if provider.name == "cpu":
            return
        nodes = assigned(session)
        taken = [node for node in nodes if node.provider == provider.ort]
        elsewhere = [node for node in nodes if node.provider != provider.ort]
        works, idles = (sum(node.is_product for node in some) for some in (taken, elsewhere))
        if not taken or works < idles:
            found = f"{len(taken)} of {len(nodes)} nodes, {works} of {works + idles} matrix products"
            raise ProviderError(f"provider {provider.name!r} takes only {found}{self._why(session)}")
        if strict and elsewhere:
            found = f"{len(taken)} of {len(nodes)} nodes, and strict allows no others: {operators(elsewhere)}"
            raise ProviderError(f"provider {provider.name!r} takes {found}")

    def _why(self, session: Any) -> str:
        varying = [value.name for value in session.get_inputs() if any(not isinstance(n, int) for n in value.shape)]
        if self.provider.fixed_shapes and varying:
            return f": it needs fixed shapes, and input {varying[0]!r} has none; export a bundle with fixed shapes"
        return f"; {self.provider.remedy}"


@contextmanager
def _stdout_for_results() -> Iterator[None]:
    """What vendors' libraries print when they start, QNN's among them, goes to stderr: stdout may be a program's."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def start(name: str, options: Mapping[str, str] | None = None) -> Engine:
    """The engine of a provider's name (not "auto"). options: the provider's own, over those that it has by default; for
    a plugin also "device", a kind of hardware: CPU, GPU or NPU. Raises ProviderError, InputError.
    """
    provider, given = find(name), _checked(name, options or {})
    wanted = given.pop(DEVICE, None)
    merged = {**provider.options, **given}
    if (available := import_onnxruntime().get_available_providers()) and provider.module is None:
        if provider.ort not in available:
            raise provider.missing(tuple(available))
        if wanted:
            raise InputError(f"provider {name!r} is no plugin: it has no option {DEVICE!r}")
        return Engine(provider, merged)
    return Engine(provider, merged, _choose(provider, devices(provider), wanted))


def _checked(name: str, options: Mapping[str, str]) -> dict[str, str]:
    if name == "cpu" and options:
        raise InputError(f"provider 'cpu' takes no options, not {next(iter(options))!r}")
    for key, value in options.items():
        if not (isinstance(key, str) and key and isinstance(value, str)):
            raise InputError(f"provider options are strings by name, not {key!r}: {value!r}")
    return dict(options)


def devices(provider: Provider) -> list[Any]:
    """A plugin's devices on this machine. Its library is registered once for the process. Raises ProviderError."""
    ort = import_onnxruntime()
    with _lock:
        found = [device for device in ort.get_ep_devices() if device.ep_name == provider.ort]
        if not found and provider.ort not in _registered:
            library = _library(provider)
            try:
                ort.register_execution_provider_library(provider.ort, library)
            except Exception as error:  # onnxruntime's own exception types share no base
                raise ProviderError(
                    f"provider {provider.name!r}: its plugin cannot be loaded ({reason(error)}); {provider.remedy}"
                ) from None
            _registered.add(provider.ort)
            found = [device for device in ort.get_ep_devices() if device.ep_name == provider.ort]
    if not found:
        raise ProviderError(f"provider {provider.name!r} finds no device on this machine; {provider.remedy}")
    return found


def _library(provider: Provider) -> str:
    if not is_installed(provider):
        raise provider.missing()
    try:
        return str(importlib.import_module(str(provider.module)).get_library_path())
    except Exception as error:  # whatever a plugin's module may raise
        raise ProviderError(
            f"provider {provider.name!r}: {provider.module} is installed, but unusable ({reason(error)})"
        ) from None


def is_installed(provider: Provider) -> bool:
    """Whether it is built into onnxruntime, or its plugin's module is there."""
    if provider.module is None:
        return provider.ort in import_onnxruntime().get_available_providers()
    return importlib.util.find_spec(provider.module) is not None


def _choose(provider: Provider, found: list[Any], wanted: str | None) -> Any:
    """The first device of the kind that is wanted, or of the kind that the provider prefers."""
    by_kind = {device.device.type.name: device for device in reversed(found)}
    for kind in (wanted.upper(),) if wanted else provider.devices:
        if kind in by_kind:
            return by_kind[kind]
    asked = wanted or " or ".join(provider.devices)
    raise ProviderError(f"provider {provider.name!r} has no device {asked} here; it has {', '.join(sorted(by_kind))}")


def candidates() -> Iterator[str]:
    """Names that "auto" may take, in the order of PROVIDERS: what is installed and not on the CPU's cores; cpu last."""
    for provider in PROVIDERS.values():
        if not (provider.in_auto and provider.here and is_installed(provider)):
            continue
        try:
            engine = start(provider.name)
        except ProviderError:
            continue
        if engine.device is None or engine.device.device.type.name != "CPU":
            yield provider.name
