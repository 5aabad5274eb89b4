"""Execution providers by the names people use. What was asked for is what runs, or an error says what is missing."""

from __future__ import annotations

from types import ModuleType

from rrwkv_runtime.errors import ProviderError

# name -> (onnxruntime's name, the extra that installs it)
PROVIDERS = {
    "cpu": ("CPUExecutionProvider", "rrwkv-runtime[cpu]"),
    "cuda": ("CUDAExecutionProvider", "rrwkv-runtime[cuda]"),
}

Providers = list[str | tuple[str, dict[str, str]]]


def import_onnxruntime() -> ModuleType:
    """onnxruntime, or a ProviderError saying how to install it."""
    try:
        import onnxruntime
    except ImportError as error:
        raise ProviderError(
            f"onnxruntime cannot be imported ({error}); install rrwkv-runtime[cpu], or rrwkv-runtime[cuda] for a GPU"
        ) from None
    module: ModuleType = onnxruntime
    return module


def resolve(provider: str, one_shape: bool = False) -> Providers:
    """onnxruntime's provider list for a provider's name. Raises ProviderError if this installation lacks it.

    one_shape: every run has the same shapes, so a GPU may capture it. The CPU follows as the home of the few shape
    computations that no accelerator takes; a provider that is there but fails to start is an error when the session is
    made, not a silent fallback.
    """
    if provider not in PROVIDERS:
        raise ProviderError(f"unknown provider {provider!r}; known are {', '.join(PROVIDERS)}")
    name, package = PROVIDERS[provider]
    available = import_onnxruntime().get_available_providers()
    if name not in available:
        raise ProviderError(
            f"provider {provider!r} is not in this onnxruntime (it has {', '.join(available)}); install {package}"
        )
    if provider == "cpu":
        return [name]
    # TF32 rounds float32 products to 10 bits: off, so that a float32 bundle computes what was verified.
    return [(name, {"use_tf32": "0", "enable_cuda_graph": str(int(one_shape))}), "CPUExecutionProvider"]
