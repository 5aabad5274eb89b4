"""What a process pays that does nothing but load a bundle and talk: time to the first logits, and memory."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rrwkv_runtime import errors

# Linux's peak is the process's own (VmHWM): getrusage's is carried over from the process that started it.
_REFUSED = 3  # its exit status after an error of the runtime
_PROGRAM = """
import json, sys
from pathlib import Path
from time import perf_counter

def peak():
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        import resource
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

started = perf_counter()
from rrwkv_runtime.errors import RRWKVError
from rrwkv_runtime.providers import import_onnxruntime
from rrwkv_runtime.model import Model
import rrwkv_runtime.generate, tokenizers
path, provider, threads, options = json.loads(sys.argv[1])
import_onnxruntime()
imported, before = perf_counter(), peak()
try:
    model = Model.load(path, provider, threads, **options)
    model.decoder().step(0)
except RRWKVError as error:
    print(json.dumps([type(error).__name__, str(error)]))
    sys.exit(3)
loaded = perf_counter()
ids = [i % model.vocab_size for i in range(256)]
for token in model.generate(ids, max_tokens=32, temperature=1.0, seed=0, ignore_eos=True):
    pass
print(json.dumps([1e3 * (imported - started), 1e3 * (loaded - imported), peak(), peak() - before]))
"""


@dataclass(frozen=True)
class Fresh:
    """Of a process that loads a bundle, reads 256 tokens and generates 32.

    imports_ms: for the packages. load_ms: from `Model.load`, every file held against its sha256, to the first logits.
    peak: the most resident memory in bytes, mapped files included. above_imports: what of it came after the imports.
    """

    imports_ms: float
    load_ms: float
    peak: int
    above_imports: int


def fresh(bundle: Path, provider: str = "cpu", threads: int | None = None, **options: Any) -> Fresh | None:
    """Start one and wait for it; None if it came to grief. options: of `Model.load`. Raises what that raised there."""
    arguments = json.dumps([str(bundle.resolve()), provider, threads, options])
    command = [sys.executable, "-P", "-c", _PROGRAM, arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode not in (0, _REFUSED):
        return None
    said = json.loads(done.stdout.splitlines()[-1])
    if done.returncode == _REFUSED:
        kind, message = said
        raise getattr(errors, kind, errors.RRWKVError)(message)
    return Fresh(*said)
