"""`python -m rrwkv_export.evaluate`: lm-evaluation-harness's own command, with the model type `rrwkv` and the tasks
that come along.

    python -m rrwkv_export.evaluate run --model rrwkv --model_args bundle=DIR --tasks rrwkv_next_reply,rrwkv_last_word

`--include_path` names a folder of other tasks in their place.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec

from rrwkv_export.evaluate.tasks import FOLDER
from rrwkv_runtime.common import install
from rrwkv_runtime.common.printable import one_line
from rrwkv_runtime.errors import RRWKVError


def main(arguments: list[str]) -> int:
    """The exit status. Errors of this project are one line."""
    if find_spec("lm_eval") is None:
        remedy = install.hint("rrwkv-export", "evaluate")
        print(f"rrwkv: error: this needs lm-evaluation-harness, which is not installed; {remedy}", file=sys.stderr)
        return 1
    from lm_eval.__main__ import cli_evaluate

    import rrwkv_export.evaluate.harness  # noqa: F401

    sys.argv = ["lm-eval", *arguments, *([] if _says(arguments) else ["--include_path", str(FOLDER)])]
    try:
        cli_evaluate()
    except RRWKVError as error:
        print(f"rrwkv: error: {one_line(str(error))}", file=sys.stderr)
        return 1
    return 0


def _says(arguments: list[str]) -> bool:
    """Whether it is said which folder of tasks is looked through, or there is nothing to look for."""
    options = {argument.partition("=")[0] for argument in arguments}
    return bool(options & {"--include_path", "--help", "-h"}) or len(arguments) < 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
