"""README and docs: what is made of the code is as the code makes it, and what they name is there."""

from __future__ import annotations

import importlib
import importlib.util
import re
from collections import Counter
from pathlib import Path

import click
import pytest

from rrwkv_export.commands import cli
from rrwkv_export.markdown import between

REPOSITORY = Path(__file__).resolve().parents[2]
DOCS = REPOSITORY / "docs"
FOLDERS = ("", "docs", "calibration", "tests/conformance", "runtimes/python", "runtimes/native", "runtimes/server")
PAGES = [page for folder in FOLDERS for page in sorted((REPOSITORY / folder).glob("*.md"))]
PAGES += sorted((REPOSITORY / "examples").glob("*/README.md"))
MAKEFILE = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
# Of lm-evaluation-harness, which docs/evaluate.md names.
HARNESS = {"--model", "--model_args", "--limit", "--include_path", "--apply_chat_template"}
BENCHMARKS = [
    ".".join(path.relative_to(REPOSITORY).with_suffix("").parts)
    for path in sorted((REPOSITORY / "benchmarks").rglob("*.py"))
    if path.name != "__init__.py"
]
# Of accelerate, which docs/train.md names, of the examples' own programs, and of others and all.
ACCELERATE = {"--use_fsdp", "--fsdp_version"}
EXAMPLES = {"--plan", "--readme", "--seeds", "--sizes"}
OTHERS = {"--help", "--model", "--task", "--trust-remote-code", "--opset", "--device", "--optimize", "--slim"}


def prose(text):
    """A page without its blocks of code."""
    return re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)


def anchors(text):
    """As GitHub makes them of headings."""
    headings = re.findall(r"^#+ (.+)$", prose(text), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(page, text):
    """Relative links whose file or anchor is not there."""
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(text)):
        path, _, anchor = link.partition("#")
        if link.startswith(("http://", "https://")):
            continue
        target = page.parent / path
        there = target.read_text(encoding="utf-8") if path and anchor and target.exists() else text
        if (path and not target.exists()) or (anchor and anchor not in anchors(there)):
            yield link


def missing(text):
    """What a page names and the repository lacks: modules and targets, paths, options of the two programs."""
    yield from set(re.findall(r"-m (benchmarks\.[\w.]+)", text)) - set(BENCHMARKS)
    yield from (name for name in re.findall(r"`make ([\w-]+)", text) if not re.search(rf"^{name}:", MAKEFILE, re.M))
    for path in re.findall(r"`((?:rrwkv_export|runtimes|benchmarks|calibration|docs|tests)/[\w./-]*)`", text):
        if not (REPOSITORY / path).exists():
            yield path
    known = {name for c in (cli, *cli.commands.values()) for p in c.params for name in (*p.opts, *p.secondary_opts)}
    yield from set(re.findall(r"(?<![\w-])--[a-z][\w-]+", text)) - known - OTHERS - HARNESS - ACCELERATE - EXAMPLES


@pytest.fixture(scope="module")
def make():
    spec = importlib.util.spec_from_file_location("make_docs", DOCS / "make.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("columns", ["40", "200"])
def test_the_page_of_commands_is_what_the_programs_say(make, columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", columns)
    assert make.COMMANDS.read_text(encoding="utf-8") == make.commands_page(), "run `make docs`"


def test_the_readme_says_what_is_supported(make):
    assert make.README.read_text(encoding="utf-8") == make.readme(), "run `make docs`"


def test_every_architecture_and_target_is_in_that_table(make):
    from rrwkv_export.architectures import NAMES
    from rrwkv_export.graph.drawings import _TARGETS

    assert set(make.TITLES) == set(NAMES)
    assert set(make.TARGETS) == set(_TARGETS)
    assert make.supported("rwkv4", "cpu")[:3] == ("float32", "float16", "int8")
    assert "qnn" in make.supported("rrwkv", "mobile")
    assert make.supported("rrwkv", "cuda") == ("float32", "float16", "int8-weight", "int4")


def test_what_is_written_between_marks_leaves_the_rest():
    page = "a\n<!-- x: by hand -->\nold\n<!-- end of x -->\nb\n"
    assert between(page, "x", "new\n") == page.replace("old", "new")
    with pytest.raises(ValueError, match="no marks"):
        between(page, "y", "new")
    quantize = (DOCS / "quantize.md").read_text(encoding="utf-8")
    assert between(quantize, "measured", "figures").endswith("\nfigures\n<!-- end of measured -->\n")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_what_a_page_links_to_and_names_is_there(page):
    text = page.read_text(encoding="utf-8")
    assert list(broken_links(page, text)) == []
    assert sorted(missing(text)) == []


def test_what_is_not_there_is_found():
    page, text = (
        DOCS / "x.md",
        "[a](nowhere.md) [b](#here) [c](speed.md#nothing) [d](speed.md#other-programs)\n# Here\n",
    )
    assert list(broken_links(page, text)) == ["nowhere.md", "speed.md#nothing"]
    named = "python -m benchmarks.gone, `make gone`, `docs/gone.md`, --gone, `make test`, --max-kl"
    assert sorted(missing(named)) == ["--gone", "benchmarks.gone", "docs/gone.md", "gone"]


def test_the_readme_leads_to_every_page():
    linked = set(re.findall(r"\(docs/([\w-]+\.md)", (REPOSITORY / "README.md").read_text(encoding="utf-8")))
    assert linked == {page.name for page in DOCS.glob("*.md")}


def test_the_changelog_says_a_thing_once():
    text = (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")
    changes = [change.strip() for change in re.split(r"^- |^#.*", text, flags=re.M)]
    assert [change for change, times in Counter(filter(None, changes)).items() if times > 1] == []


@pytest.mark.parametrize("page", ["docs/runtime.md", "runtimes/python/README.md"])
def test_the_examples_in_python_run(page, small_bundle, capsys):
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    examples = re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)
    code = re.sub(r'"(my-bundle|BUNDLE)"', repr(str(small_bundle)), "".join(examples))
    exec(compile(code, page, "exec"), {})
    assert len(capsys.readouterr().out) > 20


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_benchmark_can_be_imported(name, monkeypatch):
    monkeypatch.syspath_prepend(str(REPOSITORY))
    importlib.import_module(name)


@pytest.mark.parametrize("command", cli.commands.values(), ids=list(cli.commands))
def test_help_is_complete(command):
    assert not command.get_short_help_str(limit=63).endswith("...")  # what a terminal of 80 columns leaves
    for option in command.params:
        if isinstance(option, click.Option):
            assert re.match(r"[A-Z].*[.)\]]", option.help or ""), option.name
            assert " RANGE" not in option.make_metavar(click.Context(command)), option.name
