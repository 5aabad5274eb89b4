"""How a bundle is loaded: a plan of what shall run where, made of its manifest alone, and then the plan's sessions.

Nothing large is read before the plan stands, so what cannot be had is refused at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rrwkv_runtime.bundle.graph_file import LARGEST_GRAPH, check_graph
from rrwkv_runtime.bundle.held import HeldFiles
from rrwkv_runtime.bundle.shared_weights import SharedWeights
from rrwkv_runtime.common.checks import check_threads
from rrwkv_runtime.errors import DamagedBundle, InputError, ProviderError
from rrwkv_runtime.execution import native as kernels
from rrwkv_runtime.execution.cores import limited, usable
from rrwkv_runtime.execution.device import device_graphs
from rrwkv_runtime.execution.engine import Engine, reason, start
from rrwkv_runtime.execution.interface import check_interface
from rrwkv_runtime.manifest import Manifest, resolve_inside
from rrwkv_runtime.providers import import_onnxruntime

OPTIMIZATION_LEVELS = ("disabled", "basic", "extended", "layout", "all")
_ORT_LEVELS = ("DISABLE_ALL", "ENABLE_BASIC", "ENABLE_EXTENDED", "ENABLE_LAYOUT", "ENABLE_ALL")
# What onnxruntime may make of constants ahead of time: a matrix as floats, and not gigabytes of a few bytes.
_LEAST_FOLDED, _FOLDED_TO_FILES = 2**18, 2
_SPIN_US = "500"  # longer than what is between two tokens; from onnxruntime 1.32 on
_DAMAGE = frozenset({"InvalidProtobuf", "InvalidGraph", "NoSuchFile"})  # onnxruntime's errors that no provider explains
_FOR_CUDA = frozenset({"decode_gpu", "chunked"})  # what `over` says of graphs that are built for it
Contents = Mapping[str, bytes]


@dataclass(frozen=True)
class Wishes:
    """What whoever loads a bundle asks for; see `Model.load` for each."""

    provider: str = "cpu"
    threads: int | None = None
    provider_options: Mapping[str, str] | None = None
    strict: bool = False
    optimization: str = "all"
    variant: str | None = None
    spin: bool = True
    native: bool | str | None = None
    prepack: bool = True


@dataclass(frozen=True)
class Plan:
    """What is to run where.

    graphs: names in the manifest. threads: of each session; None leaves it to onnxruntime. native: the kernels of
    rrwkv-native, if they are used.
    """

    bundle: Path
    manifest: Manifest
    wishes: Wishes
    engine: Engine
    graphs: tuple[str, ...]
    threads: int | None
    native: kernels.Kernels | None

    @property
    def mapped(self) -> set[str]:
        """The files of weights that stay mapped while sessions run."""
        return {data for name in self.graphs for data in self.manifest.graphs[name].data}


def make_plan(bundle: Path, manifest: Manifest, wishes: Wishes) -> Plan:
    """Raises DamagedBundle, ProviderError or InputError."""
    engine = start(wishes.provider, wishes.provider_options)
    threads = limited() if wishes.threads is None else check_threads(wishes.threads)
    graphs = _graphs(bundle, manifest, wishes.variant, engine.provider.fixed_shapes)
    if wishes.optimization not in OPTIMIZATION_LEVELS:
        known = ", ".join(OPTIMIZATION_LEVELS)
        raise InputError(f"optimization must be one of {known}, not {wishes.optimization!r}")
    native = kernels.find(engine.provider.name, wishes.native)
    return Plan(
        bundle, manifest, wishes, engine, tuple(device_graphs(wishes.provider, manifest, graphs)), threads, native
    )


def read_graphs(plan: Plan, files: HeldFiles) -> Contents:
    """The graphs' files, each to its last byte or to one byte more than is allowed."""
    return {name: files.read(plan.manifest.graphs[name].file, LARGEST_GRAPH + 1) for name in plan.graphs}


def check_graphs(plan: Plan, contents: Contents) -> None:
    """They are graphs, and read no other files than the manifest says. Raises DamagedBundle."""
    for name, content in contents.items():
        graph = plan.manifest.graphs[name]
        check_graph(content, f"{plan.bundle}: {graph.file}", graph.data)


def open_sessions(plan: Plan) -> dict[str, Any]:
    """A session of each graph, its inputs and outputs as the manifest says. Raises DamagedBundle or ProviderError."""
    lent = _lent(plan)
    options = {name: _options(plan, name, lent.get(name)) for name in plan.graphs}
    sessions = {name: _session(plan, name, options[name]) for name in plan.graphs}
    for name, weights in lent.items():
        sessions[name].lent = weights  # which onnxruntime itself does not keep
    return sessions


def _graphs(bundle: Path, manifest: Manifest, variant: str | None, fixed_shapes: bool) -> list[str]:
    """The names of a variant's graphs; fixed_shapes: of some variant, if there is one. Raises InputError if there is
    none of this name.
    """
    if fixed_shapes and variant is None:
        variant = min(manifest.variants, default=None)
    if variant is not None and variant not in manifest.variants:
        known = ", ".join(manifest.variants)
        said = f"it has {known}" if known else "make one with `rrwkv export --target mobile`"
        raise InputError(f"{bundle}: no variant {variant!r}; {said}")
    return manifest.of_variant(variant)


def _lent(plan: Plan) -> dict[str, SharedWeights]:
    """By graph: weights that the kernels read where they lie, mapped once for all of the sessions.

    Graphs of fixed shapes have others, and so may one that takes no tokens.
    """
    main = plan.manifest.graph_that_runs("any", plan.graphs)
    entry = plan.manifest.graphs[main] if main and plan.native else None
    if entry is None or not entry.weights:
        return {}
    weights = SharedWeights(resolve_inside(plan.bundle, entry.data[0]), entry.weights)
    decode = plan.manifest.graph_that_runs("one", plan.graphs)
    return {name: weights for name in (main, decode) if name}


def _options(plan: Plan, name: str, lent: SharedWeights | None) -> Any:
    """SessionOptions for a graph."""
    ort, takes_tokens = import_onnxruntime(), plan.manifest.graphs[name].runs != "none"
    options = ort.SessionOptions()
    # What onnxruntime remembers of a run's allocations speeds nothing up here, and costs several MB for every length.
    options.enable_mem_pattern = plan.engine.provider.name != "cpu"
    options.log_severity_level = 4  # errors come back as exceptions; printing them as well would break the one line
    level = _ORT_LEVELS[OPTIMIZATION_LEVELS.index(plan.wishes.optimization)]
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, f"ORT_{level}")
    if plan.threads is not None:
        options.intra_op_num_threads = plan.threads
    if not takes_tokens:  # so little work that threads and an arena of its own cost more than that
        options.intra_op_num_threads, options.enable_cpu_mem_arena = 1, False
    for key, value in _entries(plan, name).items():
        options.add_session_config_entry(key, value)
    if plan.native and takes_tokens:  # which looks at what was set until here
        kernels.register(options, plan.native, plan.threads or usable())
    if lent:
        lent.lend(options)
    return options


def _entries(plan: Plan, name: str) -> dict[str, str]:
    """onnxruntime's session options that have no attribute of their own."""
    folded = max(_LEAST_FOLDED, _FOLDED_TO_FILES * sum(entry.bytes for entry in plan.manifest.files))
    # A run's threads stop with it: another graph may run next, with threads of its own on the same cores. Those of a
    # token wait a little for the next one.
    stops = plan.manifest.graphs[name].runs != "one"
    return {
        "session.intra_op.allow_spinning": str(int(plan.wishes.spin)),
        "session.intra_op.spin_duration_us": _SPIN_US,
        "session.force_spinning_stop": str(int(stops)),
        "session.disable_prepacking": str(int(not plan.wishes.prepack)),
        # On an x86-64 without VNNI: no products of unsigned and signed bytes, which overflow 16 bits there.
        "session.x64quantprecision": "1",
        "optimization.constant_folding_max_output_size_in_bytes": str(folded),
        # weights are found from the bundle's folder, also by graphs in a folder within
        "session.model_external_initializers_file_folder_path": str(plan.bundle.resolve()),
    }


def _session(plan: Plan, name: str, options: Any) -> Any:
    entry, engine = plan.manifest.graphs[name], plan.engine
    graph, provider = resolve_inside(plan.bundle, entry.file), engine.provider
    try:
        session = engine.session(str(graph), options, one_shape=entry.runs == "one", strict=plan.wishes.strict)
    except ProviderError as error:
        raise ProviderError(f"{graph.name}: {error}") from None
    except Exception as error:  # onnxruntime's own exception types share no base
        if provider.name == "cpu" or type(error).__name__ in _DAMAGE:
            raise DamagedBundle(f"{plan.bundle}: onnxruntime cannot load {graph.name}: {reason(error)}") from None
        for_cuda = entry.over in _FOR_CUDA and provider.name != "cuda"
        remedy = "it is for CUDA; export another with --target cpu or mobile" if for_cuda else provider.remedy
        raise ProviderError(
            f"{graph.name}: provider {provider.name!r} cannot run it: {reason(error)}; {remedy}"
        ) from None
    check_interface(session, plan.manifest, name)
    return session
