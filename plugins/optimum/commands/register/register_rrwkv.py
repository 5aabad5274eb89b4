"""`optimum-cli` imports every module of this folder, whoever installed it: this one adds RWKV to its `export onnx`."""

import sys

if "export" in sys.argv:  # other commands start without what the exporter loads
    from rrwkv_export.optimum import register

    register()

REGISTER_COMMANDS: list[object] = []  # no command of its own
