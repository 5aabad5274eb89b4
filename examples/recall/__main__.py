"""What mediums buy: recall at a distance, its cost, and the loss on text, of seven models of one size.

python -m examples.recall run RESULTS.sqlite [--text FILE] [--ray ADDRESS] [--workers N] [--plan FILE] [--list]
python -m examples.recall cost RESULTS.sqlite [--plan FILE]
python -m examples.recall page RESULTS.sqlite -o PAGE.html [--text FILE] [--plan FILE] [--readme README.md]

`run` trains whatever is not finished; `cost` measures what a token costs, for which the machine should do nothing else;
`page` shows what is finished.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from examples.commands import whole
from examples.recall.grid import costs, phases
from examples.recall.plan import Plan, read_plan
from rrwkv_export.errors import RunError
from rrwkv_export.runs import Store, execute
from rrwkv_runtime.errors import RRWKVError


def main(arguments: list[str] | None = None) -> int:
    given = _parser().parse_args(arguments)
    try:
        plan = read_plan(given.plan)
        if given.command == "page":
            from examples.recall.page import write_page

            if not given.results.is_file():
                raise RunError(f"{given.results}: no such file; begin with `run`")
            write_page(Store(given.results), plan, given.text, given.output, given.readme)
            return 0
        store = Store(given.results)
        if given.command == "cost":
            return _told(execute(costs(plan), store, say=_say).failed)
        return _run(given, plan, store)
    except RRWKVError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; the same command goes on", file=sys.stderr)
        return 130


def _run(given: argparse.Namespace, plan: Plan, store: Store) -> int:
    failed = list[str]()
    for name, planned, runs_of in phases(plan, given.text):
        runs = runs_of(store.finished())
        if given.list:
            kept = store.finished_keys()
            _say(f"{name}: {sum(run.key in kept for run in runs)} of {planned} runs are finished")
            continue
        _say(f"{name}: {len(runs)} runs")
        failed += execute(runs, store, ray=given.ray, workers=given.workers, say=_say).failed
    return _told(failed)


def _told(failed: Sequence[str]) -> int:
    if failed:
        print(f"{len(failed)} runs failed; the same command tries them again", file=sys.stderr)
    return 1 if failed else 0


def _say(line: str) -> None:
    print(line, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m examples.recall", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    run, cost, page = (commands.add_parser(name) for name in ("run", "cost", "page"))
    for each in (run, cost, page):
        each.add_argument("results", type=Path, metavar="RESULTS.sqlite")
        each.add_argument("--plan", type=Path, metavar="FILE", help="JSON: numbers in place of plan.py's")
    for each in (run, page):
        each.add_argument("--text", type=Path, metavar="FILE", help="a text to model, such as tinyshakespeare.txt")
    run.add_argument("--ray", metavar="ADDRESS", help='of a Ray cluster; "local" starts one here while this runs')
    run.add_argument("--workers", type=whole, metavar="N", help="of a local Ray; one a core without it")
    run.add_argument("--list", action="store_true", help="how many runs are finished, and run none")
    page.add_argument("-o", "--output", type=Path, required=True, metavar="PAGE.html")
    page.add_argument(
        "--readme", type=Path, metavar="FILE", help='also put words and tables between the marks "results" of FILE'
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
