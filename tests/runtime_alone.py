"""Run by `make runtime-alone` with the Python of an environment that holds rrwkv-runtime[cpu] and nothing else."""

import importlib.util
import io
import subprocess
import sys
from contextlib import redirect_stdout
from importlib import metadata

from rrwkv_runtime.__main__ import main

bundle = sys.argv[1]
for package in ("torch", "onnx", "onnx_ir", "rrwkv_export", "safetensors", "transformers"):
    assert importlib.util.find_spec(package) is None, f"{package} is installed, so this proves nothing"

shown = io.StringIO()
with redirect_stdout(shown):
    assert main(["info", bundle]) == 0
    assert (
        main(["generate", bundle, "--prompt", "User: hi\n\nAssistant:", "--max-tokens", "8", "--temperature", "0"]) == 0
    )
assert "13,745,920" in shown.getvalue()
assert len(shown.getvalue().splitlines()[-1].strip()) > 8

command = [sys.executable, "-m", "rrwkv_runtime", "chat", bundle, "--seed", "1"]
talk = subprocess.run(command, input="Hello!\n/quit\n", capture_output=True, text=True, timeout=120, check=True)
assert talk.stdout.strip(), talk.stderr

installed = sorted(f"{d.name} {d.version}" for d in metadata.distributions())
print(f"runtime alone: ok with {', '.join(installed)}")
