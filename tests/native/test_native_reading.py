"""How matrices are read is tried by large models alone."""

import json
import subprocess
import sys

import pytest

native = pytest.importorskip("rrwkv_native")

ASKED = "import json, rrwkv_native as n; print(json.dumps(n.reading()))"


def test_a_process_begins_with_four_streams() -> None:
    shown = subprocess.run([sys.executable, "-c", ASKED], capture_output=True, text=True, check=True)
    assert json.loads(shown.stdout) == "four streams, 512 bytes ahead"
