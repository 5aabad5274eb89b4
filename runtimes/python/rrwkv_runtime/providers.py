"""Execution providers by the names people use: what each is called in onnxruntime, where it comes from, what it needs.

How they are started is in `engine.py`. A provider is built into onnxruntime, or it is a plugin: a package of its own
whose library onnxruntime loads at run time.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import ModuleType

from rrwkv_runtime.common.install import hint
from rrwkv_runtime.errors import ProviderError, UsageError

AUTO = "auto"
_ANY = ("Linux", "Windows", "Darwin", "Android")


@dataclass(frozen=True)
class Provider:
    """One execution provider.

    name: the name people use. ort: onnxruntime's. install: how to get it, as one says it. module: the Python module of
    its plugin; None for one that is built into onnxruntime. platforms: operating systems, or
    "system-machine", for which that package exists. devices: kinds of hardware it may run on, the preferred one first
    (plugins only). options: its own options, unless others are given. remedy: what to look at when it does not start.
    fixed_shapes: it takes no graph whose shapes vary. arithmetic, rtol: in what it computes a float32 graph, and the
    largest error, over the largest logit, that this explains. in_auto: whether "auto" may take it.
    """

    name: str
    ort: str
    install: str
    module: str | None = None
    platforms: tuple[str, ...] = _ANY
    devices: tuple[str, ...] = ("CPU",)
    options: Mapping[str, str] = field(default_factory=dict)
    remedy: str = ""
    fixed_shapes: bool = False
    arithmetic: str = "float32"
    rtol: float = 1e-5
    in_auto: bool = True

    @property
    def here(self) -> bool:
        """Whether a package of it exists for this platform."""
        return any(where in self.platforms for where in (system(), f"{system()}-{machine()}"))

    def missing(self, available: tuple[str, ...] = ()) -> ProviderError:
        """The error that says how to get it, or that there is no way. available: what onnxruntime has."""
        if not self.here:
            where = ", ".join(self.platforms)
            return ProviderError(f"provider {self.name!r} does not exist for {system()} {machine()}, only for {where}")
        if self.module:
            return ProviderError(f"provider {self.name!r} is a plugin that is not installed; {self.install}")
        has = ", ".join(available)
        return ProviderError(f"provider {self.name!r} is not in this onnxruntime (it has {has}); {self.install}")


def system() -> str:
    """Linux, Windows, Darwin or Android."""
    return "Android" if hasattr(sys, "getandroidapilevel") else platform.system()


def machine() -> str:
    """x86_64 or arm64, by one name on every system; others as the system says."""
    said = platform.machine().lower()
    return {"amd64": "x86_64", "aarch64": "arm64"}.get(said, said)


def _qnn_options() -> dict[str, str]:
    """On x86-64 the HTP is simulated, and has to be told which chip to be; it wants both numbers or fails obscurely."""
    simulated = {"soc_model": "57", "htp_arch": "75"} if machine() == "x86_64" else {}
    # Rounding a graph's inputs is the engine's work too, not the CPU's.
    return {"backend_type": "htp", "offload_graph_io_quantization": "0", **simulated}


_F32_ON_OPENVINO = '{"CPU": {"INFERENCE_PRECISION_HINT": "f32"}}'

# "auto" tries them in this order. What runs on the CPU's own cores, or simulates a chip there, has no place before cpu.
_ALL = (
    Provider(
        "cuda",
        "CUDAExecutionProvider",
        f"pip uninstall onnxruntime, whose files are in its way, then {hint('rrwkv-runtime', 'cuda')}",
        platforms=("Linux", "Windows"),
        devices=("GPU",),
        # TF32 rounds float32 products to 10 bits: off, so that a float32 bundle computes what was verified.
        options={"use_tf32": "0"},
        remedy="it needs an NVIDIA GPU, its driver and CUDA; importing onnxruntime alone says what it misses",
    ),
    Provider(
        "tensorrt-rtx",
        "NvTensorRTRTXExecutionProvider",
        hint("rrwkv-runtime", "tensorrt-rtx"),
        module="onnxruntime_ep_nv_tensorrt_rtx",
        platforms=("Linux-x86_64", "Windows-x86_64", "Windows-arm64"),
        devices=("GPU",),
        remedy="it needs an NVIDIA RTX GPU and its driver",
    ),
    Provider(
        "qnn",
        "QNNExecutionProvider",
        hint("rrwkv-runtime", "qnn"),
        module="onnxruntime_qnn",
        platforms=("Linux-x86_64", "Linux-arm64", "Windows-x86_64", "Windows-arm64"),
        devices=("NPU", "GPU", "CPU"),
        options=_qnn_options(),
        remedy="it needs a Qualcomm chip, or x86-64 Linux to simulate one, and both soc_model and htp_arch",
        fixed_shapes=True,
        arithmetic="float16",
        rtol=2e-2,
    ),
    Provider(
        "coreml",
        "CoreMLExecutionProvider",
        f"{hint('rrwkv-runtime', 'cpu')}, whose onnxruntime has it on macOS",
        platforms=("Darwin",),
        remedy="it needs macOS",
        arithmetic="float16 on its Neural Engine",
        rtol=2e-2,
    ),
    Provider(
        "openvino",
        "OpenVINOExecutionProvider",
        hint("rrwkv-runtime", "openvino"),
        module="onnxruntime_ep_openvino",
        platforms=("Linux-x86_64", "Windows-x86_64"),
        devices=("CPU", "GPU", "NPU"),
        # Without it, a CPU with bfloat16 units computes float32 graphs in bfloat16.
        options={"load_config": _F32_ON_OPENVINO},
        remedy="it needs an Intel CPU, GPU or NPU; --provider-option device=GPU chooses",
    ),
    Provider(
        "webgpu",
        "WebGpuExecutionProvider",
        hint("rrwkv-runtime", "webgpu"),
        module="onnxruntime_ep_webgpu",
        platforms=("Linux-x86_64", "Linux-arm64", "Windows-x86_64", "Windows-arm64", "Darwin-arm64"),
        devices=("GPU", "CPU"),
        remedy="it needs a GPU with a recent driver, on Linux also libvulkan.so.1; a software adapter serves if "
        "ORT_WEBGPU_EP_ALLOW_SOFTWARE_ADAPTER=1 is in the environment",
    ),
    Provider(
        "nnapi",
        "NnapiExecutionProvider",
        "take onnxruntime's Android package, or build it with --use_nnapi: no Python package has it",
        platforms=("Android",),
        remedy="it needs Android",
        fixed_shapes=True,
        arithmetic="float16 on many a chip",
        rtol=2e-2,
    ),
    Provider(
        "xnnpack",
        "XnnpackExecutionProvider",
        "take onnxruntime's Android or iOS package, or build it with --use_xnnpack: no Python package has it",
        remedy="build onnxruntime with --use_xnnpack",
        fixed_shapes=True,
        in_auto=False,
    ),
    Provider("cpu", "CPUExecutionProvider", hint("rrwkv-runtime", "cpu")),
)
PROVIDERS: dict[str, Provider] = {provider.name: provider for provider in _ALL}
NAMES = ("cpu", *(name for name in PROVIDERS if name != "cpu"), AUTO)


def find(name: str) -> Provider:
    """The provider of a name. Raises ProviderError naming those there are; "auto" is none of them."""
    if name not in PROVIDERS:
        raise ProviderError(f"unknown provider {name!r}; known are {', '.join(NAMES)}")
    return PROVIDERS[name]


def import_onnxruntime() -> ModuleType:
    """onnxruntime, or a ProviderError saying how to install it."""
    try:
        import onnxruntime
    except ImportError as error:
        raise ProviderError(
            f"onnxruntime cannot be imported ({error}); {hint('rrwkv-runtime', 'cpu')}, or [cuda] for an NVIDIA GPU"
        ) from None
    module: ModuleType = onnxruntime
    return module


def parse_options(pairs: Iterable[str]) -> dict[str, str]:
    """{"a": "1"} of ["a=1"]. Raises UsageError."""
    found = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not (name and equals):
            raise UsageError(f"a provider option is KEY=VALUE, not {pair!r}")
        found[name] = value
    return found
