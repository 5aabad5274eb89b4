"""Which kernels run: what was asked for, what the processor has, what is installed; and how it is said."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

from rrwkv_export.commands import _run as rrwkv
from rrwkv_export.commands.info import _kernels
from rrwkv_runtime.__main__ import parser
from rrwkv_runtime.errors import InputError, ProviderError, UsageError
from rrwkv_runtime.execution import native
from rrwkv_runtime.execution.native import Kernels, find
from rrwkv_runtime.manifest import Manifest
from rrwkv_runtime.model import Model
from rrwkv_runtime.terminal import options

LIBRARY = Path("librrwkv_native.so")


@pytest.fixture
def installed(monkeypatch):
    """A function: rrwkv-native is installed, and this processor runs these tables; none: it was not compiled."""
    monkeypatch.delenv(native.VARIABLE, raising=False)
    monkeypatch.setattr(native, "version", lambda: "9")
    monkeypatch.setattr(native.importlib.util, "find_spec", lambda name: name)

    def install(*tables):
        package = ModuleType(native.PACKAGE)
        package.path, package.tables = lambda: LIBRARY, lambda: tables
        package.reason = lambda: None if tables else "no C++ compiler was found"
        monkeypatch.setitem(sys.modules, native.PACKAGE, package)
        return package

    return install


def test_the_best_runs_unless_another_is_asked_for(installed):
    installed("avx2", "scalar")
    for wanted in (None, True, "auto", "on"):
        assert find("cpu", wanted) == Kernels(LIBRARY)
        assert find("cpu", wanted).name == "avx2"
    assert find("cpu", "scalar") == Kernels(LIBRARY, "scalar")
    assert find("cpu", False) is find("cpu", "off") is find("openvino", None) is None


def test_kernels_for_no_processor_in_particular_run_where_they_are_asked_for(installed):
    installed("scalar")
    assert find("cpu", None) is None
    assert find("cpu", True).name == find("cpu", "scalar").name == "scalar"


def test_the_environment_speaks_for_a_process_and_a_caller_for_himself(installed, monkeypatch):
    installed("avx2", "scalar")
    monkeypatch.setenv("RRWKV_NATIVE", "scalar")
    assert find("cpu", None).table == find("cpu", True).table == "scalar"
    assert find("cpu", "avx2").table == "avx2"
    assert find("cpu", False) is find("openvino", None) is None
    monkeypatch.setenv("RRWKV_NATIVE", "off")
    assert find("cpu", None) is None
    assert find("cpu", True).name == "avx2"
    monkeypatch.setenv("RRWKV_NATIVE", "fastest")
    with pytest.raises(InputError, match=r"^RRWKV_NATIVE must be auto, on, off, scalar, .*, not 'fastest'$"):
        find("cpu", None)


def test_what_cannot_be_had_is_one_line_with_a_remedy(installed):
    installed("avx2", "scalar")
    with pytest.raises(ProviderError, match="'neon' do not run on this processor; it runs avx2, scalar: name one"):
        find("cpu", "neon")
    with pytest.raises(ProviderError, match="for provider 'cpu', not 'xnnpack'"):
        find("xnnpack", "avx2")
    installed()
    assert find("cpu", None) is None
    with pytest.raises(
        ProviderError, match=r"no C\+\+ compiler was found; install g\+\+ .*pip install \./runtimes/native"
    ):
        find("cpu", True)


def test_a_package_that_is_not_there_or_does_not_load(installed, monkeypatch):
    def broken():
        raise OSError("librrwkv_native.so: file too short")

    installed("avx2").tables = broken
    for wanted in (None, True):
        with pytest.raises(ProviderError, match=r"file too short.*install it again"):
            find("cpu", wanted)
    monkeypatch.setattr(native.importlib.util, "find_spec", lambda name: None)
    assert find("cpu", None) is None
    with pytest.raises(ProviderError, match=r"not installed; pip install \./runtimes/native"):
        find("cpu", "avx2")


def test_info_says_which_run_and_which_could(installed, bundle, monkeypatch):
    quantized = Manifest.load(bundle)
    object.__setattr__(quantized, "quantization", {})
    installed("avx2", "scalar")
    assert _kernels(quantized) == "avx2, of rrwkv-native 9; this processor runs avx2, scalar (--native)"
    installed("scalar")
    assert _kernels(quantized) == "onnxruntime's own; of rrwkv-native this processor runs scalar (--native)"
    installed()
    assert _kernels(quantized).startswith(
        "none: no C++ compiler was found; install g++ or clang, and then it again: pip"
    )
    monkeypatch.setenv("RRWKV_NATIVE", "neon")
    assert _kernels(quantized).startswith("there are no native kernels here: no C++ compiler was found")


@pytest.mark.parametrize(
    ("typed", "wanted"),
    [
        ([], None),
        (["--native"], "on"),
        (["--native", "avx2"], "avx2"),
        (["--native=scalar"], "scalar"),
        (["--no-native"], "off"),
        (["--native", "--no-native"], "off"),
        (["--no-native", "--native", "avx2"], "avx2"),
    ],
)
@pytest.mark.parametrize("last", [False, True])
def test_both_programs_read_the_option_alike(typed, wanted, last, monkeypatch):
    """Wherever it stands: no bundle is taken for its word."""
    seen = []
    monkeypatch.setattr(Model, "load", lambda *_, native, **__: seen.append(native) or sys.exit(7))
    line = ["generate", *(["B", *typed] if last else [*typed, "B"]), "-p", "--native"]
    given = parser().parse_args(options.joined(line, options.EVERY))
    assert (options.native(given.native), given.prompt, given.bundle) == (wanted, "--native", Path("B"))
    with pytest.raises(SystemExit):
        rrwkv(line)
    assert seen == [wanted]


def test_a_word_that_is_none_is_wrong_usage(capsys):
    with pytest.raises(UsageError, match=r"^--native must be auto, on, off, scalar, .*, not 'fast'$"):
        options.native("fast")
    for command in ("generate", "chat", "bench"):
        assert rrwkv([command, "B", "--native=fast"]) == 2
        assert "--native must be auto, on, off, scalar" in capsys.readouterr().err
