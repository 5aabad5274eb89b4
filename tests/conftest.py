"""The demo bundle, tiny random bundles, and how much hypothesis may try."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoint_files import ASSET, SMALL, random_weights, write_rrwkv
from filelock import FileLock
from hypothesis import HealthCheck, settings
from workers import THREADS, WORKER

from rrwkv_export.architectures.config import ModelConfig
from rrwkv_export.bundle import GraphOptions, write_graph, write_manifest
from rrwkv_export.checkpoint import open_checkpoint
from rrwkv_export.commands import _run as run_command
from rrwkv_export.export import export
from rrwkv_runtime.manifest import ChatFormat
from rrwkv_runtime.model import Model

GOLDEN = Path(__file__).parent / "golden"

settings.register_profile(
    "local", deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.register_profile("ci", settings.get_profile("local"), derandomize=True)
settings.register_profile("thorough", settings.get_profile("local"), max_examples=100)  # of `make test-all`
settings.load_profile("ci" if os.environ.get("CI") else "local")
if WORKER:
    torch.set_num_threads(1)
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[int(WORKER.removeprefix("gw")) % len(cores)]})


@pytest.fixture
def rrwkv(capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """The command in this process, which saves seconds, and what it said."""

    def run(*arguments: object, status: int = 0) -> Any:
        assert run_command(list(map(str, arguments))) == status, capsys.readouterr().err
        return capsys.readouterr()

    return run


@pytest.fixture
def no_utf8(tmp_path: Path) -> str:
    """A file's name that is no UTF-8, which macOS has none of."""
    try:
        (tmp_path / "\udcff").touch()
    except OSError:
        pytest.skip("this file system takes names in UTF-8 alone")
    (tmp_path / "\udcff").unlink()
    return "\udcff"


@dataclass(frozen=True)
class Golden:
    """A text of a trained model: logits [positions, V] of float64 arithmetic, the likeliest token everywhere."""

    ids: np.ndarray
    positions: np.ndarray
    logits: np.ndarray
    argmax: np.ndarray

    def error(self, logits: np.ndarray) -> float:
        """The largest error over the largest logit, of logits [len(ids), V]."""
        return float(np.abs(logits[self.positions] - self.logits).max() / np.abs(self.logits).max())


@dataclass(frozen=True)
class Tiny:
    """A random model and its bundle."""

    config: ModelConfig
    weights: Mapping[str, torch.Tensor]
    path: Path
    model: Model


MakeTiny = Callable[..., Tiny]


def _golden(name: str) -> Golden:
    with np.load(GOLDEN / f"{name}.npz") as arrays:
        return Golden(**arrays)


@pytest.fixture(scope="session")
def golden() -> Golden:
    """300 tokens."""
    return _golden("rrwkv-chat")


@pytest.fixture(scope="session")
def long_golden() -> Golden:
    """700 tokens: more mediums than the bank holds."""
    return _golden("rrwkv-chat-long")


@pytest.fixture(scope="session")
def rwkv7_golden() -> Golden:
    """300 tokens of a trained RWKV-7, which does not come along."""
    return _golden("rwkv7-chat")


@pytest.fixture(scope="session")
def demo_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo checkpoint, exported and verified. Read only: copy it to change it. All workers have the same one."""
    base = tmp_path_factory.getbasetemp()
    out = (base.parent if WORKER else base) / "demo" / "rrwkv-chat"
    out.parent.mkdir(exist_ok=True)
    with FileLock(out.with_suffix(".lock")):
        if not out.exists():
            export(open_checkpoint(ASSET), out)
    return out


@pytest.fixture(scope="session")
def demo_model(demo_bundle: Path) -> Model:
    return Model.load(demo_bundle, threads=THREADS)


@pytest.fixture(scope="session")
def small_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model of the config SMALL. Read only."""
    folder = tmp_path_factory.mktemp("small") / "checkpoint"
    return write_rrwkv(folder, SMALL, random_weights(SMALL), tokenizer=ASSET / "tokenizer.json")


@pytest.fixture(scope="session")
def small_bundle(small_checkpoint: Path) -> Path:
    """The small checkpoint, exported and verified. Read only."""
    out = small_checkpoint.with_name("bundle")
    export(open_checkpoint(small_checkpoint), out)
    return out


@pytest.fixture
def bundle(small_bundle: Path, tmp_path: Path) -> Path:
    """A copy of the small bundle, to be damaged."""
    return Path(shutil.copytree(small_bundle, tmp_path / "bundle"))


@pytest.fixture(scope="session")
def make_tiny(tmp_path_factory: pytest.TempPathFactory) -> MakeTiny:
    """make_tiny(config, seed=0, wkv="plain", dtype="float32", target="cpu", weights=None): a bundle, not verified."""

    def make(
        config: ModelConfig,
        seed: int = 0,
        wkv: str = "plain",
        dtype: str = "float32",
        target: str = "cpu",
        weights: Mapping[str, torch.Tensor] | None = None,
    ) -> Tiny:
        weights, folder = weights or random_weights(config, seed), tmp_path_factory.mktemp("tiny")
        options = GraphOptions(wkv, dtype, target)
        write_graph(folder, config, lambda name: weights[name].numpy().copy(), options)
        model_id = f"{seed:064x}"
        write_manifest(folder, config, options, model_id=model_id, tokenizer=None, chat=ChatFormat(), provenance={})
        return Tiny(config, weights, folder, Model.load(folder, threads=1))

    return make


@pytest.fixture(scope="session")
def conformance_model() -> Model:
    """The tiny bundle that every runtime is held against."""
    return Model.load(Path(__file__).parent / "conformance" / "bundle", threads=1)


@pytest.fixture
def client_of(conformance_model: Model) -> Iterator[Callable[..., Any]]:
    """client_of(model, limits, **settings): a client of a server in this process, to which failures are answers."""
    from starlette.testclient import TestClient

    from rrwkv_server import Limits, Settings, create_app

    with ExitStack() as opened:

        def make(model: Any = conformance_model, limits: Limits | None = None, **settings: Any) -> TestClient:
            app = create_app(model, Settings("bundle", limits=limits or Limits(), **settings))
            client = TestClient(app, base_url="http://localhost", raise_server_exceptions=False)
            return opened.enter_context(client)

        yield make


@pytest.fixture
def client(client_of: Callable[..., Any]) -> Any:
    """Of a server in this process."""
    return client_of()


@pytest.fixture(scope="session")
def server_url() -> Iterator[str]:
    """`rrwkv serve` over the tiny bundle, for all tests that leave it running."""
    from serving import process

    with process() as (_, url):
        yield url
