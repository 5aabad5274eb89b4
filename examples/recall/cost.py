"""What a token costs, and what is carried, by position: of each model as an ONNX graph on onnxruntime, one thread.

RWKV and RRWKV are the package's bundles (`decode.onnx` and `segment_end.onnx`). LSTM, GRU and Transformer are exported
by torch.onnx, a token a run; the Transformer's graph takes keys and values of all tokens before and gives them with one
more, as decoders "with past" do. Weights are random: the figures do not depend on them.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import nn

from examples.recall.models import Sizes, build, count
from examples.recall.models.recurrent import Recurrent, RecurrentStep
from examples.recall.models.rwkv import RWKV
from examples.recall.models.transformer import Transformer, TransformerStep
from rrwkv_export.bench.machine import machine
from rrwkv_export.bundle import GraphOptions, write_graph, write_manifest
from rrwkv_runtime.manifest import ChatFormat
from rrwkv_runtime.model import Model

_ROUNDS = 3
GROWS = {name: {2: "tokens"} for name in ("state0", "state1")}  # a Transformer's keys and values
Step = Callable[[int], int]
"""Runs a token, and gives the bytes that are carried on."""


def cost(
    *, variant: Mapping[str, Any], sizes: Mapping[str, int], positions: list[int], window: int, seed: int
) -> dict[str, Any]:
    """One run. sizes: of the model. Of the `window` tokens before each position: their mean time, the median of three
    rounds, in seconds; and the bytes that are carried after them.
    """
    torch.set_num_threads(1)
    model = build(variant, Sizes(**sizes), seed)
    seconds: dict[str, float] = {}
    carried: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        at = _steps(model, Path(folder))
        for position in positions:
            rounds = []
            for _ in range(_ROUNDS):
                step = at(position - window)
                begun = perf_counter()
                for token in range(window):
                    bytes_carried = step(token)
                rounds.append((perf_counter() - begun) / window)
            seconds[str(position)], carried[str(position)] = median(rounds), bytes_carried
    where = {name: machine()[name] for name in ("processor", "onnxruntime")}
    return {"parameters": count(model), "seconds": seconds, "bytes": carried, "machine": where}


def _steps(model: nn.Module, folder: Path) -> Callable[[int], Step]:
    """What makes ready to run tokens from a position on."""
    if isinstance(model, RWKV):
        return _bundle(model, folder)
    if isinstance(model, Recurrent):
        recurrent = RecurrentStep(model)
        run = _exported(recurrent, recurrent.empty(), folder, {})
        return lambda _: run([each.numpy() for each in recurrent.empty()])
    assert isinstance(model, Transformer)
    transformer = TransformerStep(model)
    run = _exported(transformer, transformer.past(1), folder, GROWS)
    return lambda position: run([each.numpy() for each in transformer.past(position)])


def _bundle(model: RWKV, folder: Path) -> Callable[[int], Step]:
    """Positions are asked for in order: each goes on from the one before."""
    config, weights = model.model.config, model.model.weights()
    options = GraphOptions("stable")
    write_graph(folder, config, lambda name: weights[name].numpy(), options)
    write_manifest(
        folder, config, options, model_id="0" * 64, tokenizer=None, chat=ChatFormat(), provenance={"random": "cost"}
    )
    loaded = Model.load(folder, threads=1, native=False)
    reached = loaded.initial_state()

    def ready(position: int) -> Step:
        nonlocal reached
        decoder = loaded.decoder(reached)
        if missing := position - reached.position:
            decoder.prefill(np.zeros(missing, np.int64))
            reached = decoder.state()

        def step(token: int) -> int:
            decoder.step(token)
            return reached.nbytes  # which is the same at every position

        return step

    return ready


def _exported(
    module: nn.Module, state: list[torch.Tensor], folder: Path, grows: dict[str, dict[int, str]]
) -> Callable[[list[Any]], Step]:
    run = exported(module, state, folder / "step.onnx", grows)

    def ready(held: list[Any]) -> Step:
        def step(token: int) -> int:
            nonlocal held
            _, held = run(token, held)
            return sum(value.nbytes for value in held)

        return step

    return ready


def exported(
    module: nn.Module, state: list[torch.Tensor], path: Path, grows: dict[str, dict[int, str]]
) -> Callable[[int, list[Any]], tuple[Any, list[Any]]]:
    """A module that runs one token, as a graph at `path`: called, it gives logits [1, V] of a token after a state, and
    the state after it. grows: axes of "state0", "state1" … that are of no fixed length.
    """
    import onnxruntime

    names = [f"state{i}" for i in range(len(state))]
    after = [f"after_{name}" for name in names]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there is a newer exporter, which needs onnxscript
        torch.onnx.export(
            module,
            (torch.zeros(1, dtype=torch.int64), *state),
            str(path),
            dynamo=False,
            input_names=["token", *names],
            output_names=["logits", *after],
            dynamic_axes={**grows, **{f"after_{name}": grown for name, grown in grows.items()}},
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def run(token: int, held: list[Any]) -> tuple[Any, list[Any]]:
        logits, *found = session.run(None, {"token": np.array([token]), **dict(zip(names, held))})
        return logits, found

    return run
