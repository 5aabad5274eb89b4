"""Hostile inputs by the thousand: every reader's files, changed byte by byte and by what they say, with right hashes.

    python tests/fuzzing.py onnx pth -n 5000

Each target runs in a process of its own whose memory is limited; for each it prints how many inputs were taken and
refused, errors that are not the project's own, crashes, hangs, and the peak of memory above the start. An input is its
number: `-n 1 --first 4711` makes one again. The everyday tests run some of each in their own process.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import onnx
import torch
from checkpoint_files import RRWKV, RWKV4, random_weights, write_blinkdl, write_rrwkv

from rrwkv_export.bench.record import read_earlier
from rrwkv_export.checkpoint import open_checkpoint
from rrwkv_export.export import export
from rrwkv_export.quantize.recipe import load_recipe
from rrwkv_runtime.errors import RRWKVError
from rrwkv_runtime.manifest import Manifest, compute_bundle_id, file_sha256
from rrwkv_runtime.model import Model

Random = random.Random
_SECONDS, _MOST_MEMORY = 20, 6 * 2**30


def nested(depth: int) -> Any:
    value: Any = 0
    for _ in range(depth):
        value = [value]
    return value


def values() -> list[Any]:
    """New ones each time: what is put somewhere may be changed there."""
    return [
        *(0, 1, -1, 2, 255, 2**31, 2**32, 2**63, 10**30, 10**400, 1.5, 1e308, float("inf"), float("nan"), True, None),
        *(
            "",
            "a",
            "\x1b[31m",
            "../x",
            "model.onnx",
            "position",
            "[red]",
            "\u202e",
            "x" * 5000,
            [],
            {},
            [0],
            [[1], [1, 2]],
        ),
        *([2**14, 2**14], [2**20] * 2, [1] * 70, nested(200), nested(990), {"a": nested(985)}, {"": {}}, [None], ["1"]),
    ]


def nasty(rng: Random) -> Any:
    return rng.choice(values())


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a JSON value but the whole, and what is nested deeper than any real one."""
    if len(at) > 9:
        return
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield (*at, key)
        yield from places(inner, (*at, key))


def change_json(rng: Random, value: Any) -> None:
    """Replace, remove, repeat or add something, up to three times."""
    for _ in range(rng.randint(1, 3)):
        *path, last = rng.choice(list(places(value)))
        parent = value
        for step in path:
            parent = parent[step]
        action = rng.random()
        if action < 0.7:
            parent[last] = nasty(rng)
        elif action < 0.85:
            del parent[last]
        elif isinstance(parent, list):
            parent.append(parent[last])  # the same twice; a copy of what is nested deeply would fail here
        else:
            parent[rng.choice(["x", "scheme", "init", "exponents", "fixed_shape", "weights"])] = nasty(rng)


def change_bytes(rng: Random, data: bytes, where: int | None = None) -> bytes:
    """Flip, insert, delete or repeat some, up to five times. where: only before this."""
    made = bytearray(data)
    for _ in range(rng.randint(1, 5)):
        at, size = rng.randrange(min(len(made), where or len(made)) or 1), rng.choice([1, 1, 2, 8, 100])
        action = rng.random()
        if action < 0.5 and made:
            made[at % len(made)] = rng.choice([0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)])
        elif action < 0.7:
            made[at:at] = rng.randbytes(size)
        elif action < 0.85:
            del made[at : at + size]
        else:
            made[at:at] = made[at : at + size]
    return bytes(made)


def text_json(value: Any) -> str:
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(100_000)
    try:
        return json.dumps(value)
    finally:
        sys.setrecursionlimit(limit)


def seal(folder: Path, fields: dict[str, Any], files: bool = True) -> None:
    """Hashes and bundle id made right, as whoever makes a hostile bundle does."""
    for entry in fields["files"] if files else ():
        entry["bytes"], entry["sha256"] = (folder / entry["name"]).stat().st_size, file_sha256(folder / entry["name"])
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(100_000)
    try:
        fields["bundle_id"] = compute_bundle_id(fields)
    finally:
        sys.setrecursionlimit(limit)
    (folder / "manifest.json").write_text(text_json(fields))


class Seeds:
    """What the inputs are made of, in a folder; made once."""

    def __init__(self, folder: Path) -> None:
        self.checkpoint, self.bundle, self.pth = folder / "checkpoint", folder / "bundle", folder / "model.pth"
        if not (self.bundle / "manifest.json").exists():
            write_rrwkv(self.checkpoint, RRWKV, random_weights(RRWKV))
            export(open_checkpoint(self.checkpoint), self.bundle)
            write_blinkdl(self.pth, RWKV4, random_weights(RWKV4))
        self.fields = (self.bundle / "manifest.json").read_text()


def run_bundle(folder: Path) -> None:
    model = Model.load(folder, native=False, threads=1)
    model.forward([1, 2, 3, 4, 5])


def fuzz_manifest(rng: Random, seeds: Seeds, folder: Path) -> None:
    shutil.copytree(seeds.bundle, folder / "b")
    fields = json.loads(seeds.fields)
    change_json(rng, fields)
    try:
        seal(folder / "b", fields, files=False)
    except (TypeError, ValueError, AttributeError):
        (folder / "b" / "manifest.json").write_text(text_json(fields))
    if rng.random() < 0.1:
        path = folder / "b" / "manifest.json"
        path.write_bytes(change_bytes(rng, path.read_bytes()))
    Manifest.load(folder / "b").to_json()
    run_bundle(folder / "b")


def fuzz_onnx(rng: Random, seeds: Seeds, folder: Path) -> None:
    shutil.copytree(seeds.bundle, folder / "b")
    path = folder / "b" / rng.choice(["model.onnx", "model.onnx", "decode.onnx", "segment_end.onnx"])
    if rng.random() < 0.5:
        path.write_bytes(change_bytes(rng, path.read_bytes()))
    else:
        model = onnx.load(str(path), load_external_data=False)
        for _ in range(rng.randint(1, 2)):
            rng.choice(GRAPH_CHANGES)(rng, model)
        path.write_bytes(model.SerializeToString())
    seal(folder / "b", json.loads(seeds.fields))
    run_bundle(folder / "b")


def _external(rng: Random, model: onnx.ModelProto) -> None:
    tensor = rng.choice(model.graph.initializer)
    tensor.data_location = onnx.TensorProto.EXTERNAL
    place = rng.choice(["model.onnx.data", "manifest.json", "../bundle/model.onnx.data", "/etc/hostname", "a\0b", ""])
    values = {"location": rng.choice([place, "*/_ORT_MEM_ADDR_/*"]), "offset": str(nasty(rng))[:30]}
    values["length"] = rng.choice(["0", "1", "-1", str(2**40), str(2**63 - 1), "x"])
    for key, value in values.items():
        found = [entry for entry in tensor.external_data if entry.key == key]
        if rng.random() < 0.6:
            (found[0] if found else tensor.external_data.add(key=key)).value = value


def _dims(rng: Random, model: onnx.ModelProto) -> None:
    tensor = rng.choice(model.graph.initializer)
    tensor.dims[:] = rng.choice([[], [0], [-1], [2**31], [2**40], [2**32, 2**32], [1] * 70, [3, 3]])


def _type(rng: Random, model: onnx.ModelProto) -> None:
    rng.choice(model.graph.initializer).data_type = rng.randrange(30)


def _node(rng: Random, model: onnx.ModelProto) -> None:
    node = rng.choice(model.graph.node)
    action = rng.random()
    if action < 0.4:
        node.op_type = rng.choice(["Add", "MatMul", "Loop", "If", "Expand", "Range", "Tile", "ConstantOfShape", "X"])
    elif action < 0.7 and node.input:
        node.input[rng.randrange(len(node.input))] = rng.choice(rng.choice(model.graph.node).output)
    elif node.attribute:
        attribute = rng.choice(node.attribute)
        attribute.i = rng.choice([-1, 0, 2**31, 2**62, -(2**63)])
        attribute.type = rng.randrange(15)


def _grow(rng: Random, model: onnx.ModelProto) -> None:
    """A constant that is large once it is computed."""
    size = rng.choice([2**20, 2**27, 2**29, 2**31, 2**40])
    shape = onnx.helper.make_tensor("big_shape", onnx.TensorProto.INT64, [1], [size])
    model.graph.initializer.append(shape)
    made = onnx.helper.make_node("ConstantOfShape", ["big_shape"], ["big"])
    total = onnx.helper.make_node("ReduceMax", ["big"], ["big_max"], keepdims=0)
    model.graph.node.insert(0, total)
    model.graph.node.insert(0, made)
    model.graph.node[-1].input[0] = rng.choice([model.graph.node[-1].input[0], "big_max"])


def _function(rng: Random, model: onnx.ModelProto) -> None:
    """Functions that call one another ten times each."""
    depth = rng.choice([1, 2, 6, 9])
    opset = [onnx.helper.make_opsetid("", 20), onnx.helper.make_opsetid("f", 1)]
    for level in range(depth):
        inner = ("f", f"level_{level - 1}") if level else ("", "Identity")
        nodes = [onnx.helper.make_node(inner[1], [f"x{i}"], [f"x{i + 1}"], domain=inner[0]) for i in range(10)]
        model.functions.append(onnx.helper.make_function("f", f"level_{level}", ["x0"], ["x10"], nodes, opset))
    model.opset_import.append(onnx.helper.make_opsetid("f", 1))
    first = model.graph.node[0]
    model.graph.node.insert(0, onnx.helper.make_node(f"level_{depth - 1}", [first.input[0]], ["grown"], domain="f"))


def _sparse(rng: Random, model: onnx.ModelProto) -> None:
    sparse = model.graph.sparse_initializer.add(dims=[rng.choice([2**20, 2**28, 2**31])])
    sparse.values.CopyFrom(onnx.helper.make_tensor("sparse", onnx.TensorProto.FLOAT, [1], [1.0]))
    sparse.indices.CopyFrom(onnx.helper.make_tensor("at", onnx.TensorProto.INT64, [1], [5]))


GRAPH_CHANGES: list[Callable[[Random, Any], None]] = [_external, _dims, _type, _node, _node, _grow, _function, _sparse]

_SNIPPETS = [
    b"cbuiltins\nbytearray\n\x8a\x05\x00\x00\x00\x80\x00\x85R0",
    b"ccollections\nOrderedDict\n(]](K\x00K\x01eetR0",
    b"c_codecs\nencode\n(X\x01\x00\x00\x00aX\x06\x00\x00\x00latin1tR0",
    b"ctorch\nTensor\n\x8a\x05\x00\x00\x00\x80\x00\x85R0",
    b")" + b"\x85" * 50_000 + b"0",
    b"}(" + b")" + b"\x85" * 50_000 + b"K\x00u0",
    b"\x96\x00\x00\x00\x00\x02\x00\x00\x000",
    b"r\xff\xff\xff\x7f",
    b"]" * 100_000,
    b"cos\nsystem\n(X\x01\x00\x00\x00:tR0",
]


def fuzz_pth(rng: Random, seeds: Seeds, folder: Path) -> None:
    path = folder / "m.pth"
    kind = rng.random()
    if kind < 0.25:
        path.write_bytes(change_bytes(rng, seeds.pth.read_bytes()))
    elif kind < 0.4:
        content = io.BytesIO()
        tensors = torch.load(seeds.pth)
        torch.save(tensors, content, _use_new_zipfile_serialization=False)
        path.write_bytes(change_bytes(rng, content.getvalue(), rng.choice([None, 4000])))
    else:
        with zipfile.ZipFile(seeds.pth) as old, zipfile.ZipFile(path, "w") as new:
            for record in old.infolist():
                data = old.read(record)
                if record.filename.endswith("data.pkl"):
                    if rng.random() < 0.5:
                        data = change_bytes(rng, data)
                    else:
                        ops = [position for _, _, position in pickletools_ops(data)]
                        at = rng.choice(ops)
                        data = data[:at] + rng.choice(_SNIPPETS) + data[at:]
                way = zipfile.ZIP_DEFLATED if rng.random() < 0.02 else zipfile.ZIP_STORED
                new.writestr(record.filename, data, way)
    read_checkpoint(path)


def pickletools_ops(data: bytes) -> Iterator[tuple[Any, Any, int]]:
    import pickletools

    return pickletools.genops(data)  # type: ignore[return-value]


def read_checkpoint(path: Path) -> None:
    weights = open_checkpoint(path).weights
    for name in weights:
        weights.array(name)


def fuzz_safetensors(rng: Random, seeds: Seeds, folder: Path) -> None:
    shutil.copytree(seeds.checkpoint, folder / "c")
    path = folder / "c" / "model.safetensors"
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    if rng.random() < 0.5:
        path.write_bytes(change_bytes(rng, data, rng.choice([8, length, None])))
    else:
        header = json.loads(data[8 : 8 + length])
        change_json(rng, header)
        text = text_json(header).encode()
        path.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length :])
    read_checkpoint(folder / "c")


def fuzz_config(rng: Random, seeds: Seeds, folder: Path) -> None:
    shutil.copytree(seeds.checkpoint, folder / "c")
    chat = {"user": "a", "stop": ["x"], "eos_token_id": 0, "sampling": {"temperature": 0.7, "top_k": 3, "top_p": 0.2}}
    chat |= {"system": "b", "thinking": {"open": "<t", "skip": "<t></t>", "begin": "<t>", "end": "</t>", "kept": True}}
    (folder / "c" / "chat.json").write_text(json.dumps(chat))
    path = folder / "c" / rng.choice(["config.json", "chat.json"])
    fields = json.loads(path.read_text())
    change_json(rng, fields)
    path.write_text(text_json(fields))
    if rng.random() < 0.2:
        path.write_bytes(change_bytes(rng, path.read_bytes()))
    open_checkpoint(folder / "c")


def fuzz_recipe(rng: Random, seeds: Seeds, folder: Path) -> None:
    import rrwkv_export

    recipes = sorted((Path(rrwkv_export.__file__).parent / "calibration" / "recipes").glob("*.toml"))
    lines = rng.choice(recipes).read_text().splitlines()
    values = ["[]", "{}", "[" * 2000, "9" * 5000, "8.0", "true", '"x"', "inf", "nan", "{a.b.c = 1}", "1979-05-27"]
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(lines))
        name = lines[at].partition("=")[0]
        lines[at] = rng.choice([f"{name} = {rng.choice(values)}", "", f"[layers.{'9' * 5000}]", '[roles."*"]', "[a.b]"])
    path = folder / "r.toml"
    path.write_text("\n".join(lines))
    if rng.random() < 0.3:
        path.write_bytes(change_bytes(rng, path.read_bytes()))
    load_recipe(path)


def fuzz_record(rng: Random, seeds: Seeds, folder: Path) -> None:
    record = {"bundle": "b", "provider": "cpu", "threads": 1, "test": "pp1", "median_ts": 1.0, "machine": {"a": "b"}}
    records: list[Any] = [{**record, "time": "now"}, {**record, "time": "now", "threads": 2}]
    change_json(rng, records)
    path = folder / "b.json"
    path.write_text(text_json(records) if rng.random() < 0.5 else "\n".join(map(text_json, records)))
    if rng.random() < 0.3:
        path.write_bytes(change_bytes(rng, path.read_bytes()))
    read_earlier(path)


TARGETS: dict[str, Callable[[Random, Seeds, Path], None]] = {
    name.removeprefix("fuzz_"): function for name, function in list(globals().items()) if name.startswith("fuzz_")
}


def attempt(target: str, number: int, seeds: Seeds, folder: Path) -> str:
    """One input: "taken", "refused", or what was raised that is not the project's own."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        TARGETS[target](Random(f"{target} {number}"), seeds, folder)
    except RRWKVError as error:
        text = str(error)
        return "refused" if len(text.splitlines()) <= 1 else f"several lines: {text[:80]!r}"
    except Exception as error:
        return f"{type(error).__name__}: {' '.join(str(error).split())[:90]}"
    return "taken"


def _child(target: str, first: int, count: int, folder: Path) -> None:
    """Prints a line for each input: number, milliseconds, peak MB above the start, what came of it."""
    seeds = Seeds(folder / "seeds")
    attempt("record", 0, seeds, folder / target)
    run_bundle(seeds.bundle)
    start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    resource.setrlimit(resource.RLIMIT_AS, (_MOST_MEMORY, _MOST_MEMORY))
    for number in range(first, first + count):
        begun = time.perf_counter()
        signal.alarm(_SECONDS)
        came = attempt(target, number, seeds, folder / target)
        signal.alarm(0)
        peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start) // 1024
        print(number, round(1000 * (time.perf_counter() - begun)), peak, came, flush=True)


def run(target: str, first: int, count: int, folder: Path, seconds: float) -> dict[str, Any]:
    """Figures of so many inputs, in as many processes as it takes."""
    found: Counter[str] = Counter()
    examples: dict[str, int] = {}
    peak = slowest = 0
    at, end, begun = first, first + count, time.perf_counter()
    while at < end and time.perf_counter() - begun < seconds:
        several = min(500, end - at)
        command = [sys.executable, __file__, "--child", target, "--first", str(at), "-n", str(several)]
        done = subprocess.run([*command, "--folder", str(folder)], capture_output=True, text=True)
        for line in done.stdout.splitlines():
            number, took, megabytes, came = line.split(" ", 3)
            found[came] += 1
            examples.setdefault(came, int(number))
            peak, slowest, at = max(peak, int(megabytes)), max(slowest, int(took)), int(number) + 1
        if done.returncode:
            came = "hang" if done.returncode == -signal.SIGALRM else f"crash: status {done.returncode}"
            came += f" {done.stderr.strip().splitlines()[-1:]}" if done.returncode > 0 else ""
            found[came] += 1
            examples.setdefault(came, at)
            at += 1
    odd = {came: (count, examples[came]) for came, count in found.items() if came not in ("taken", "refused")}
    plain = {came: found[came] for came in ("taken", "refused")}
    return {"inputs": at - first, **plain, "peak MB": peak, "slowest ms": slowest, "odd": odd}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("targets", nargs="*", default=list(TARGETS))
    parser.add_argument("-n", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=1e9, help="of each target, at most about so many")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--child", action="store_true")
    options = parser.parse_args()
    if options.child:
        _child(options.targets[0], options.first, options.n, options.folder)
        return
    folder = options.folder or Path(tempfile.mkdtemp(prefix="rrwkv-fuzz-"))
    folder.mkdir(parents=True, exist_ok=True)
    Seeds(folder / "seeds")
    for target in options.targets:
        figures = run(target, options.first, options.n, folder, options.seconds)
        odd = figures.pop("odd")
        print(target, figures, f"odd: {sum(count for count, _ in odd.values())}", flush=True)
        for came, (count, example) in sorted(odd.items(), key=lambda item: -item[1][0]):
            print(f"    {count} × {came} (input {example})", flush=True)


if __name__ == "__main__":
    main()
