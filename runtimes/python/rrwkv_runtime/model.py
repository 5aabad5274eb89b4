"""A loaded bundle: its graph in an onnxruntime session, run forward over token ids with the state carried along.

`Model` knows no architecture: the manifest says which states there are, and they are carried from output to input.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from rrwkv_runtime.bundle.held import HeldFiles, Verification
from rrwkv_runtime.common.install import hint
from rrwkv_runtime.errors import BundleError, InputError, ProviderError, RRWKVError
from rrwkv_runtime.execution.any_length_decoder import AnyLengthDecoder
from rrwkv_runtime.execution.decoder import Decoder, Progress
from rrwkv_runtime.execution.device import Device, device_for
from rrwkv_runtime.execution.engine import Engine, candidates
from rrwkv_runtime.execution.fixed_shape_decoder import FixedShapeDecoder
from rrwkv_runtime.execution.loading import Wishes, check_graphs, make_plan, open_sessions, read_graphs
from rrwkv_runtime.execution.placement import Node, assigned, shares
from rrwkv_runtime.generate import Token, generate
from rrwkv_runtime.manifest import Manifest, check_sizes
from rrwkv_runtime.providers import AUTO
from rrwkv_runtime.sampling import SamplingOptions
from rrwkv_runtime.state import State
from rrwkv_runtime.tokenizer import Tokenizer, load_tokenizer


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
        native: bool | str | None = None,
        prepack: bool = True,
    ) -> Model:
        """Load a bundle directory.

        provider          a name of `providers.NAMES`; "auto" takes the first installed that works, see `provider`
        threads           None takes the cores that the process may use
        provider_options  the provider's own, by name
        strict            no node may be on the CPU instead of the provider
        optimization      onnxruntime's graph optimization level, one of OPTIMIZATION_LEVELS
        verify            hold every file against its sha256 (they are read while the sessions are made)
        variant           the name of other graphs that the bundle holds, such as "mobile" for those in fixed shapes;
                          states go from one to the other. None takes those that run anything; where the provider takes
                          none such, a variant
        spin              threads look for work all the time while a run lasts; False lets them sleep, which is slower
                          and saves a battery
        native            which kernels of rrwkv-native to use, by name, as "avx2"; True: some must be there;
                          False: none; None or "auto": what the environment's RRWKV_NATIVE says, else the best for this
                          processor where they are installed
        prepack           lay matrices out anew for each session's products, which in floats takes their memory once
                          more; False multiplies with them as they lie in the mapped file, more slowly

        Raises BundleError, ProviderError or InputError.
        """
        if provider == AUTO:
            if provider_options:
                raise InputError("provider options are one provider's own: name it, not 'auto'")
            more = {"strict": strict, "optimization": optimization, "verify": verify, "spin": spin, "native": native}
            return _load_best(path, threads, variant=variant, prepack=prepack, **more)
        wishes = Wishes(provider, threads, provider_options, strict, optimization, variant, spin, native, prepack)
        bundle = Path(path)
        manifest = Manifest.load(bundle)
        check_sizes(bundle, manifest)
        files = HeldFiles(bundle, manifest)
        plan = make_plan(bundle, manifest, wishes)
        contents = read_graphs(plan, files)
        with Verification(files, verify):
            check_graphs(plan, contents)
            del contents
            sessions = open_sessions(plan)
            tokenizer = load_tokenizer(bundle, manifest)
        files.settle(plan.mapped)
        return cls(bundle, manifest, sessions, tokenizer, plan.engine, files)

    def __repr__(self) -> str:
        manifest = self.manifest
        kind = f"{manifest.config['architecture']}, {manifest.parameters:,} parameters"
        return f"Model({str(self.path)!r}, {kind}, {'quantized, ' if manifest.quantization else ''}{self.provider})"

    @property
    def provider(self) -> str:
        """The name of the provider that it runs on; after "auto", which one was taken."""
        return self.engine.provider.name

    @property
    def takes_any_length(self) -> bool:
        """Whether its graphs take any number of tokens; else they have fixed shapes."""
        return self.manifest.graph_that_runs("any", self.sessions) is not None

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
        state = state or self.initial_state()
        if self.takes_any_length:
            return AnyLengthDecoder(self.sessions, self.manifest, self._device, state, self._files)
        return FixedShapeDecoder(self.sessions, self.manifest, state, self._files)

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
