"""How this project's packages are installed today, decided here alone: every error and every page says it this way.

`hint("rrwkv-runtime", "cuda")` is a command that a shell takes. No index has the packages yet, so it names folders of a
clone; a release sets ON_AN_INDEX.
"""

from __future__ import annotations

import shlex

ON_AN_INDEX = False
# package -> what pip is given in a clone, the package itself last. The export side needs a runtime from here beside it.
_IN_A_CLONE = {
    "rrwkv-runtime": ("./runtimes/python",),
    "rrwkv-native": ("./runtimes/native",),
    "rrwkv-server": ("./runtimes/python[cpu]", "./runtimes/server"),
    "rrwkv-export": ("./runtimes/python[cpu]", "."),
}
_BESIDE = {("rrwkv-export", "serve"): "./runtimes/server"}  # what an extra is, from here too
EXTRAS = {
    "rrwkv-runtime": ("cpu", "cuda", "openvino", "webgpu", "qnn", "tensorrt-rtx"),
    "rrwkv-native": (),
    "rrwkv-server": (),
    "rrwkv-export": ("optimum", "ray", "serve", "train"),
}


def command(package: str, extra: str = "") -> str:
    """The bare `pip install …` for a package of this project, with one of its EXTRAS."""
    wanted = (package,) if ON_AN_INDEX else _IN_A_CLONE[package]
    if extra:
        beside = () if ON_AN_INDEX else filter(None, [_BESIDE.get((package, extra))])
        wanted = (*wanted[:-1], *beside, f"{wanted[-1]}[{extra}]")
    return shlex.join(["pip", "install", *wanted])


def hint(package: str, extra: str = "") -> str:
    """The command, and where to give it."""
    return command(package, extra) + ("" if ON_AN_INDEX else " in a clone of rrwkv-export")
