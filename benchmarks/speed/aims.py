"""All that the kernels are held against, in one run: their speed, mediums' price and peers, then what is reached.

python -m benchmarks.speed.aims [--in FOLDER] [--native TABLE,…] [--threads N,…]     as in benchmarks.speed.kernels

With as many threads as the first of N says. Half an hour on two cores; llama.cpp is compared where it is installed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.machine import describe
from benchmarks.speed import kernels, mediums, peers_rwkv7
from rrwkv_export.markdown import table

SHARES = {"avx2": 0.75, "avx2-vnni": 0.75, "avx512": 0.88, "avx512-amx": 0.88}  # of the roof, RWKV-4 quantized
FLOAT_SHARE, RWKV7_SHARE = 0.85, 0.80
OVER_ALONE = {"decode": 1.3, "prefill": 1.4}
RWKV7_PREFILL = 3000  # tokens/s
OVER_LLAMA = (2.0, 3.0)  # decoding, reading a prompt
MEDIUMS = {"169m-medium:int8-static": 0.05, "169m-recall:int8-static": 0.08}
QUANTIZED = ("int8-static", "int8-dynamic", "int4", "int8-weight")
Row = tuple[str, float | None, float | None]
"""What, the least that is aimed at, and what was found; None is nothing."""


def of_kernels(results: Sequence[kernels.Result], used: str, threads: int) -> Iterator[Row]:
    """What a table of kernels reaches."""
    by_name = {(each.name, each.kernels): each for each in results if each.threads == threads}

    def share(name: str, least: float | None) -> Row:
        return f"{name}, decode, of the roof", least, by_name[name, used].share

    def over_alone(name: str, test: str) -> Row:
        ours, alone = by_name[name, used], by_name[name, kernels.ALONE]
        found = alone.decode / ours.decode if test == "decode" else ours.prefill / alone.prefill
        return f"{name}, {test}, times onnxruntime alone", OVER_ALONE[test], found

    for scheme in QUANTIZED:
        yield share(f"169m:{scheme}", SHARES.get(used))
        yield over_alone(f"169m:{scheme}", "decode")
    yield over_alone("169m:int8-static", "prefill")
    yield share("169m:float32", FLOAT_SHARE)
    for scheme in ("int8-dynamic", "int4"):
        yield share(f"rwkv7-0.19b:{scheme}", RWKV7_SHARE)
        yield f"rwkv7-0.19b:{scheme}, prefill, tokens/s", RWKV7_PREFILL, by_name[f"rwkv7-0.19b:{scheme}", used].prefill
    yield "demo:int8, decode, ms a token", None, 1e3 * by_name["demo:int8", used].decode


def of_mediums(prices: dict[tuple[str, str, int], float], used: str, threads: int) -> Iterator[Row]:
    """As the speed that is left: a price of 5 % leaves 1 / 1.05."""
    for name, price in MEDIUMS.items():
        left = prices[mediums.PLAIN, used, threads] / prices[name, used, threads]
        yield f"{mediums.BUNDLES[name]}, decode, of the speed without mediums", 1 / (1 + price), left


def of_peers(ratios: dict[tuple[str, int], tuple[float, float]], threads: int) -> Iterator[Row]:
    for (name, count), found in ratios.items():
        if count == threads and name.endswith(tuple(peers_rwkv7.LIKE)):
            for test, least, ratio in zip(("decode", "prefill"), OVER_LLAMA, found):
                yield f"rwkv7-0.19b, {test}, times {name}", least, ratio


def print_reached(used: str, rows: Iterator[Row]) -> None:
    said = []
    for what, least, found in rows:
        reached = "–" if least is None or found is None else "yes" if found >= least else "no"
        said.append([what, *map(_number, (least, found)), reached])
    print(f"\n{used}\n\n{table(('what', 'aim, at least', 'found', 'reached'), said)}\n")


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def main(folder: Path, tables: Sequence[str], threads: Sequence[int]) -> None:
    results = kernels.measure_all(kernels.DEFAULT, folder, tables, threads)
    print()
    prices = mediums.price(folder, tables, threads)
    mediums.print_prices(prices)
    print()
    (folder / "peers").mkdir(exist_ok=True)
    ratios = peers_rwkv7.measure_all("rwkv7-0.19b", folder / "peers")
    for used in tables:
        print_reached(used, of_kernels(results, used, threads[0]))
        print_reached(f"mediums, {used}", of_mediums(prices, used, threads[0]))
    print_reached("peers", of_peers(ratios, threads[0]))


if __name__ == "__main__":
    given = kernels.parser(__doc__).parse_args()
    found = given.native or kernels.default_tables()
    if not found:
        raise SystemExit("there are no kernels here to measure; runtimes/native/README.md says how to install them")
    with tempfile.TemporaryDirectory() as temporary:
        place = given.folder or Path(temporary)
        place.mkdir(parents=True, exist_ok=True)
        main(place, found, given.threads)
    print(f"\n{describe()}")
