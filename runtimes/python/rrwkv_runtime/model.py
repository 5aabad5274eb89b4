"""A loaded bundle: its graph in an onnxruntime session, run forward over token ids with the state carried along.

`Model` knows no architecture: the manifest says which states there are, and they are carried from output to input.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from rrwkv_runtime.bundle.graph_file import LARGEST_GRAPH, check_graph
from rrwkv_runtime.bundle.held import HeldFiles
from rrwkv_runtime.bundle.shared_weights import SharedWeights
from rrwkv_runtime.common.checks import check_threads
from rrwkv_runtime.common.install import hint
from rrwkv_runtime.errors import BundleError, DamagedBundle, InputError, ProviderError, RRWKVError
from rrwkv_runtime.execution import native as kernels
from rrwkv_runtime.execution.cores import limited, usable
from rrwkv_runtime.execution.decoder import Decoder, Progress
from rrwkv_runtime.execution.device import Device, device_for, device_graphs
from rrwkv_runtime.execution.engine import Engine, candidates, reason, start
from rrwkv_runtime.execution.fixed_shape_decoder import StaticDecoder, check_static_interface
from rrwkv_runtime.execution.placement import Node, assigned, shares
from rrwkv_runtime.manifest import Manifest, check_sizes, resolve_inside
from rrwkv_runtime.providers import AUTO, import_onnxruntime
from rrwkv_runtime.state import State

if TYPE_CHECKING:
    from rrwkv_runtime.generate import Token
    from rrwkv_runtime.sampling import SamplingOptions
    from rrwkv_runtime.tokenizer import Tokenizer

OPTIMIZATION_LEVELS = ("disabled", "basic", "extended", "layout", "all")
# What onnxruntime may make of constants ahead of time: a matrix as floats, and not gigabytes of a few bytes.
_LEAST_FOLDED, _FOLDED_TO_FILES = 2**18, 2
_SPIN_US = "500"  # longer than what is between two tokens; from onnxruntime 1.32 on
_DAMAGE = frozenset({"InvalidProtobuf", "InvalidGraph", "NoSuchFile"})  # onnxruntime's errors that no provider explains
_SHARING = frozenset({"main", "step"})  # graphs that one file's weights are lent to
_TENSORS = {"float32": "tensor(float)", "float16": "tensor(float16)", "int64": "tensor(int64)"}  # onnxruntime's names


class Model:
    """A bundle ready to run. Make it with `Model.load`."""

    def __init__(
        self,
        path: Path,
        manifest: Manifest,
        sessions: Mapping[str, Any],
        tokenizer: Tokenizer | None,
        engine: Engine,
        files: HeldFiles | None = None,
    ) -> None:
        self.path = path
        self.manifest = manifest
        self.sessions = sessions
        self.tokenizer = tokenizer
        self.engine = engine
        self._files = files
        self._device: Device = device_for(engine.provider.name, manifest)

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        provider: str = "cpu",
        threads: int | None = None,
        *,
        provider_options: Mapping[str, str] | None = None,
        strict: bool = False,
        optimization: str = "all",
        verify: bool = True,
        variant: str | None = None,
        spin: bool = True,
        native: bool | None = None,
    ) -> Model:
        """Load a bundle directory.

        provider: a name of `providers.NAMES`; "auto" takes the first that is installed and works, see `provider`.
        threads: None takes the cores that the process may use. provider_options: the provider's own, by name. strict:
        no node may be on the CPU instead of the provider. optimization: onnxruntime's graph optimization level, one of
        OPTIMIZATION_LEVELS. verify: hold every file against its sha256 (they are read while the session is made).
        variant: the name of other graphs that the bundle holds, such as "mobile" for those in static shapes; states go
        from one to the other. None takes those that run anything; where the provider takes none such, a variant. spin:
        threads look for work all the time while a run lasts; False lets them sleep, which is slower and saves a
        battery. native: use the kernels of rrwkv-native; None uses them where they are installed and run. Raises
        BundleError, ProviderError or InputError.
        """
        if provider == AUTO:
            if provider_options:
                raise InputError("provider options are one provider's own: name it, not 'auto'")
            more = {"strict": strict, "optimization": optimization, "verify": verify, "spin": spin, "native": native}
            return _load_best(path, threads, **more)
        bundle = Path(path)
        manifest = Manifest.load(bundle)
        check_sizes(bundle, manifest)
        files = HeldFiles(bundle, manifest)
        engine = start(provider, provider_options)
        threads = limited() if threads is None else threads
        names = device_graphs(provider, manifest, _graphs(bundle, manifest, variant, engine.provider.static))
        options = {name: _session_options(threads, optimization, engine.provider.name) for name in names}
        fold = str(max(_LEAST_FOLDED, _FOLDED_TO_FILES * sum(entry.bytes for entry in manifest.files)))
        library = kernels.find(engine.provider.name, native)
        kernel_threads = threads or usable() if library else 0
        weights = _shared_weights(bundle, manifest) if library else None
        for name, one in options.items():
            if manifest.graphs[name].updates:  # so little work that threads and an arena of its own cost more than that
                one.intra_op_num_threads, one.enable_cpu_mem_arena = 1, False
            one.add_session_config_entry("session.intra_op.allow_spinning", str(int(spin)))
            # On an x86-64 without VNNI: no products of unsigned and signed bytes, which overflow 16 bits there.
            one.add_session_config_entry("session.x64quantprecision", "1")
            one.add_session_config_entry("optimization.constant_folding_max_output_size_in_bytes", fold)
            # A run's threads stop with it: another graph may run next, with threads of its own on the same cores. Those
            # of a step wait a little for the next one, if no other graph with threads comes in between.
            stops = name != "step" or bool(manifest.graphs[name].not_every)
            one.add_session_config_entry("session.force_spinning_stop", str(int(stops)))
            one.add_session_config_entry("session.intra_op.spin_duration_us", _SPIN_US)
            # weights are found from the bundle's folder, also by graphs in a folder within
            one.add_session_config_entry("session.model_external_initializers_file_folder_path", str(bundle.resolve()))
            if library and not manifest.graphs[name].updates:  # which looks at what was set until here
                kernels.register(one, library, kernel_threads)
            if weights and name in _SHARING:
                weights.lend(one)
        graphs = [manifest.graphs[name] for name in names]
        contents = [files.read(graph.file, LARGEST_GRAPH + 1) for graph in graphs]
        with _Verification(files, verify):
            for graph, content in zip(graphs, contents):
                check_graph(content, f"{bundle}: {graph.file}", graph.data)
            del contents
            sessions = {name: _make_session(bundle, manifest, name, engine, options[name], strict) for name in options}
            for name in _SHARING & sessions.keys():
                sessions[name].lent = weights  # which onnxruntime itself does not keep
            from rrwkv_runtime.tokenizer import load_tokenizer

            tokenizer = load_tokenizer(bundle, manifest)
        files.settle({data for name in names for data in manifest.graphs[name].data})
        return cls(bundle, manifest, sessions, tokenizer, engine, files)

    def __repr__(self) -> str:
        manifest = self.manifest
        kind = f"{manifest.config['architecture']}, {manifest.parameters:,} parameters"
        return f"Model({str(self.path)!r}, {kind}, {'quantized, ' if manifest.quantization else ''}{self.provider})"

    @property
    def provider(self) -> str:
        """The name of the provider that it runs on; after "auto", which one was taken."""
        return self.engine.provider.name

    @property
    def nodes(self) -> dict[str, list[Node]]:
        """Of each graph, by its name in the manifest: its nodes and where they run."""
        return {name: assigned(session) for name, session in self.sessions.items()}

    def provider_note(self, asked: str) -> str | None:
        """One line for people if that is not plain where it runs: "auto" was asked for, or some nodes are elsewhere."""
        rest = shares(self.nodes, self.engine.provider.ort)
        if rest or asked == AUTO:
            return f"provider {self.provider}" + (f": {rest}" if rest else "")
        return None

    @property
    def vocab_size(self) -> int:
        """V: ids run from 0 to V - 1."""
        return self.manifest.vocab_size

    def initial_state(self) -> State:
        """The state before the first token."""
        return State.initial(self.manifest)

    def load_state(self, path: str | os.PathLike[str], allow_other_quantization: bool = False) -> State:
        """Read a saved state of this bundle, or one of any of the same model if that is allowed. Raises StateError."""
        return State.load(path, self.manifest, allow_other_quantization)

    def decoder(self, state: State | None = None, allow_other_quantization: bool = False) -> Decoder:
        """A moving copy of a state (None: before the first token); the given state is left as it was.

        Its values are checked here, once, and not again at every token. Raises StateError.
        """
        if state is not None:
            state = state.fitted(self.manifest, allow_other_quantization)
        if "main" not in self.sessions:
            return StaticDecoder(self.sessions, self.manifest, state or self.initial_state(), self._files)
        return Decoder(self.sessions, self.manifest, self._device, state or self.initial_state(), self._files)

    def forward(
        self,
        ids: Sequence[int] | np.ndarray,
        state: State | None = None,
        num_logits: int = 1,
        *,
        chunk: int | None = None,
        progress: Progress | None = None,
    ) -> tuple[np.ndarray, State]:
        """Logits [N, V] float32 of the last N = num_logits tokens, and the state after all of them.

        ids: T >= 1 token ids, run in chunks of at most `chunk` (the bundle's own by default). The given state is left
        as it was. progress(done, total) is called after each chunk; returning False raises Cancelled. Raises InputError
        for ids outside 0..V-1, for T = 0 and for num_logits outside 1..T; StateError for a state of another bundle.
        """
        decoder = self.decoder(state)
        logits = decoder.run(ids, num_logits, chunk=chunk, progress=progress)
        return logits, decoder.take_state()

    def generate(
        self,
        prompt: str | Sequence[int],
        *,
        state: State | None = None,
        max_tokens: int | None = 256,
        seed: int | None = None,
        stop: str | Iterable[str] = (),
        stop_ids: Iterable[int] = (),
        ignore_eos: bool = False,
        special: bool = False,
        top_logprobs: int = 0,
        progress: Progress | None = None,
        **sampling: Unpack[SamplingOptions],
    ) -> Iterator[Token]:
        """Stream tokens after a prompt; see `rrwkv_runtime.generate.generate` for the options."""
        from rrwkv_runtime.generate import generate

        return generate(
            self,
            prompt,
            state=state,
            max_tokens=max_tokens,
            seed=seed,
            stop=stop,
            stop_ids=stop_ids,
            ignore_eos=ignore_eos,
            special=special,
            top_logprobs=top_logprobs,
            progress=progress,
            **sampling,
        )


class _Verification:
    """Hashes the files in a thread of its own while the session is made, and raises what it found at the end."""

    def __init__(self, files: HeldFiles, wanted: bool) -> None:
        self._files = files
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True) if wanted else None

    def _run(self) -> None:
        try:
            self._files.verify()
        except BaseException as error:  # handed to the thread that waits
            self._error = error

    def __enter__(self) -> None:
        if self._thread:
            self._thread.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if self._thread and (kind is None or issubclass(kind, RRWKVError)):
            self._thread.join()
        if self._error is not None:
            raise self._error  # damage explains whatever onnxruntime said


def _session_options(threads: int | None, optimization: str, provider: str) -> Any:
    ort = import_onnxruntime()
    options = ort.SessionOptions()
    # What onnxruntime remembers of a run's allocations speeds nothing up here, and costs several MB for every length.
    options.enable_mem_pattern = provider != "cpu"
    options.log_severity_level = 4  # errors come back as exceptions; printing them as well would break the one line
    levels = dict(
        zip(OPTIMIZATION_LEVELS, ("DISABLE_ALL", "ENABLE_BASIC", "ENABLE_EXTENDED", "ENABLE_LAYOUT", "ENABLE_ALL"))
    )
    if optimization not in levels:
        raise InputError(f"optimization must be one of {', '.join(levels)}, not {optimization!r}")
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, f"ORT_{levels[optimization]}")
    if threads is not None:
        options.intra_op_num_threads = check_threads(threads)
    return options


def _shared_weights(bundle: Path, manifest: Manifest) -> SharedWeights | None:
    main = manifest.graphs.get("main")
    return SharedWeights(resolve_inside(bundle, main.data[0]), main.weights) if main and main.weights else None


def _graphs(bundle: Path, manifest: Manifest, variant: str | None, static: bool) -> list[str]:
    """The names of a variant's graphs; static: of some variant, if there is one. Raises InputError if there is none."""
    if static and variant is None:
        variant = min((graph.variant for graph in manifest.graphs.values() if graph.variant), default=None)
    names = [name for name, graph in manifest.graphs.items() if graph.variant == variant]
    shapes = [manifest.graphs[name].static for name in names]
    if variant is None:
        if "main" not in names or any(shapes):
            raise DamagedBundle(f"{bundle}: its main graph is not one for any number of tokens; export it again")
    elif not names:
        known = sorted({graph.variant for graph in manifest.graphs.values() if graph.variant})
        said = f"it has {', '.join(known)}" if known else "make one with `rrwkv export --target mobile`"
        raise InputError(f"{bundle}: no variant {variant!r}; {said}")
    elif not all(shapes) or not any(shape and shape.tokens == shape.align == 1 for shape in shapes):
        raise DamagedBundle(f"{bundle}: variant {variant!r} lacks a static graph for one token; export it again")
    return names


def _make_session(bundle: Path, manifest: Manifest, name: str, engine: Engine, options: Any, strict: bool) -> Any:
    graph, provider = resolve_inside(bundle, manifest.graphs[name].file), engine.provider
    static = manifest.graphs[name].static
    try:
        session = engine.session(str(graph), options, one_shape=name == "step", strict=strict)
    except ProviderError as error:
        raise ProviderError(f"{graph.name}: {error}") from None
    except Exception as error:  # onnxruntime's own exception types share no base
        if provider.name == "cpu" or type(error).__name__ in _DAMAGE:
            raise DamagedBundle(f"{bundle}: onnxruntime cannot load {graph.name}: {reason(error)}") from None
        for_cuda = manifest.graphs[name].over in ("step", "blocked") and provider.name != "cuda"
        remedy = "it is for CUDA; export another with --target cpu or mobile" if for_cuda else provider.remedy
        raise ProviderError(
            f"{graph.name}: provider {provider.name!r} cannot run it: {reason(error)}; {remedy}"
        ) from None
    if static:
        check_static_interface(session, name, static, manifest.vocab_size)
    else:
        _check_interface(session, manifest, name)
    return session


def _load_best(path: str | os.PathLike[str], threads: int | None, **options: Any) -> Model:
    """On the first of the candidates that takes the bundle and gives logits for a token; the CPU is the last."""
    for name in candidates():
        try:
            model = Model.load(path, name, threads, **options)
            if name == "cpu" or np.isfinite(model.decoder().step(0)).all():
                return model
        except BundleError:
            raise
        except RRWKVError:
            if name == "cpu":
                raise
    raise ProviderError(f"no provider that is installed here runs this bundle; {hint('rrwkv-runtime', 'cpu')}")


def _check_interface(session: Any, manifest: Manifest, name: str) -> None:
    inputs = {value.name: value for value in session.get_inputs()}
    outputs = {value.name: value for value in session.get_outputs()}
    entry, specs = manifest.graphs[name], manifest.states
    own_inputs = () if entry.updates else ("input_ids",) if name == "step" else ("input_ids", "num_logits")
    has_input = [spec for spec in specs if entry.has_input(spec.input)]
    taken = [(spec, value) for spec in has_input for value in spec.inputs(apart=spec.input in entry.reads)]
    given = [(spec, (spec.output, spec.shape)) for spec in specs if entry.has_output(spec.input)]
    wanted_inputs = [*own_inputs, *(value for _, (value, _) in taken)]
    wanted_outputs = [*(() if entry.updates else ("logits",)), *(value for _, (value, _) in given)]
    for wanted in (wanted_inputs, wanted_outputs):
        if twice := [name for name in wanted if wanted.count(name) > 1]:
            raise DamagedBundle(f"manifest.json: the name {twice[0]!r} is there twice among the graph's values")
    if inputs.keys() != set(wanted_inputs) or outputs.keys() != set(wanted_outputs):
        odd = sorted((inputs.keys() ^ set(wanted_inputs)) | (outputs.keys() ^ set(wanted_outputs)))
        raise DamagedBundle(f"the graph's inputs and outputs are not the manifest's (they differ in {odd[0]!r})")
    for values, states in ((inputs, taken), (outputs, given)):
        for spec, (value_name, shape) in states:
            value, wanted_type = values[value_name], _TENSORS[spec.dtype]
            if value.type != wanted_type or tuple(value.shape) != shape:
                raise DamagedBundle(
                    f"state {value_name!r} is {value.type} {value.shape} in the graph, {wanted_type} {list(shape)} in "
                    "the manifest; export the bundle again"
                )
