"""Prompts, stop strings and ids as people give them on a command line."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
from pathlib import Path

import click.testing
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rrwkv_export.commands import cli
from rrwkv_runtime.__main__ import main
from rrwkv_runtime.common.reading import decode_utf8, read_utf8
from rrwkv_runtime.errors import InputError, RRWKVError
from rrwkv_runtime.terminal.prompt import parse_ids, read_prompt, token_limit, typed


class Piped(io.StringIO):
    """Standard input that is a pipe, or a terminal."""

    def __init__(self, data: bytes, terminal: bool = False) -> None:
        super().__init__()
        self.buffer, self._terminal = io.BytesIO(data), terminal

    def isatty(self) -> bool:
        return self._terminal


def piped(monkeypatch, data, **options):
    monkeypatch.setattr("sys.stdin", Piped(data, **options))
    return read_prompt(None, None, None)


def test_waiting_for_a_prompt_at_a_terminal_is_said(monkeypatch, capsys):
    assert piped(monkeypatch, b"typed", terminal=True) == "typed"
    assert "standard input; end it with Ctrl-D" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("data", "prompt"),
    [
        (b"Once\n", "Once"),
        (b"Once\r\n", "Once"),
        (b"Once", "Once"),
        (b"User: hi\n\nAssistant:\n", "User: hi\n\nAssistant:"),
        (b"Once\n\n", "Once\n"),  # one line end is the editor's, the other the author's
        (b"Once\r", "Once\r"),
        (b"\xef\xbb\xbfOnce\n", "Once"),
        (b"a\\nb\n", "a\\nb"),  # a file can say line ends itself
        (b"\n", ""),
        (b"", ""),
    ],
)
def test_a_pipe_and_a_file_are_the_text_less_its_last_line_end(monkeypatch, tmp_path, data, prompt):
    (tmp_path / "prompt").write_bytes(data)
    assert piped(monkeypatch, data) == read_prompt(None, tmp_path / "prompt", None) == prompt


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        (r"User: hi\n\nAssistant:", "User: hi\n\nAssistant:"),
        (r"\t\r\\n\'\"", "\t\r\\n'\""),
        (r"\x41\xe2\x80\xa6", "A…"),
        (r"C:\Users\pi \x4 \xzz \ ", "C:\\Users\\pi \\x4 \\xzz \\ "),
        ("日本\\n", "日本\n"),
        ("ends in \\", "ends in \\"),
        ("", ""),
    ],
)
def test_escapes_that_are_typed_mean_what_they_do_in_c(text, meant):
    assert typed(text) == read_prompt(text, None, None) == meant
    assert typed(text, escape=False) == read_prompt(text, None, None, escape=False) == text


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_text_without_backslashes_and_one_with_them_doubled_are_themselves(text):
    assert typed(text.replace("\\", "\\\\")) == text


@pytest.mark.parametrize(
    ("text", "ids"), [("1,2, 3", [1, 2, 3]), ("[1, 2]", [1, 2]), ("4 5\t6", [4, 5, 6]), ("", []), ("-1", [-1])]
)
def test_ids(text, ids):
    assert parse_ids(text) == read_prompt(None, None, text) == ids


@pytest.mark.parametrize("part", ["x", "1.5", "1e3", "9" * 30, "1_000", "٣", "0x1", "--1", "[1"])
def test_what_is_no_id_is_named(part):
    with pytest.raises(
        InputError, match=r"--ids takes token ids with commas between them: .* is not a token id"
    ) as raised:
        read_prompt(None, None, f"1,{part}")
    assert part[:30] in str(raised.value)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"caf\xe9", r"not UTF-8 text \(byte 3\)"),
        (b"\x89PNG\r\n\x1a\n\0\0", r"not UTF-8 text \(byte 0\), it has NULs: a binary file"),
        (b"\xef\xbb\xbfcaf\xe9", r"not UTF-8 text \(byte 6\)"),
        ("hi".encode("utf-16"), "UTF-16, not UTF-8 text; convert it first: iconv -f UTF-16"),
        ("hi".encode("utf-32"), "UTF-32, not UTF-8"),
        ("hi".encode("utf-16-le"), "a NUL at character 1"),
    ],
)
def test_a_prompt_in_another_encoding_is_named(monkeypatch, tmp_path, data, said):
    (tmp_path / "prompt").write_bytes(data)
    with pytest.raises(InputError, match=said):
        read_prompt(None, tmp_path / "prompt", None)
    with pytest.raises(InputError, match=f"the prompt on standard input: .*{said}"):
        piped(monkeypatch, data)


def test_prompts_that_are_no_text_file(tmp_path):
    for path, said in (
        (tmp_path, "cannot be read"),
        (tmp_path / "none", "no such file"),
        ("/dev/zero", "larger than 64"),
    ):
        with pytest.raises(InputError, match=said):
            read_prompt(None, Path(path), None)
    with pytest.raises(InputError, match="not UTF-8; with --no-escape"):
        read_prompt(r"\xff", None, None)


@given(st.binary(max_size=40))
def test_any_bytes_are_a_text_or_one_error(data):
    with contextlib.suppress(RRWKVError):
        assert "\0" not in decode_utf8(data, "it")


def test_a_pipe_is_read_to_its_end():
    with subprocess.Popen([sys.executable, "-c", "print('a' * 3_000_000)"], stdout=subprocess.PIPE) as process:
        assert len(read_utf8(Path(f"/dev/fd/{process.stdout.fileno()}"), 4 << 20)) == 3_000_001


def test_limits():
    assert [token_limit(n) for n in (-1, 0, 7)] == [None, None, 7]


@pytest.fixture
def generated(demo_bundle, monkeypatch, capsys):
    """generated(*options, piped=bytes): what both programs write for `generate`, which must be the same."""

    def run(*options, piped=b""):
        fixed = ["generate", str(demo_bundle), "--temperature", "0", "--max-tokens", "8", *options]
        of_export = click.testing.CliRunner().invoke(cli, fixed, input=piped)
        assert of_export.exit_code == 0, of_export.output
        monkeypatch.setattr("sys.stdin", Piped(piped))
        capsys.readouterr()
        assert main(fixed) == 0
        assert capsys.readouterr().out == of_export.stdout
        return of_export.stdout

    return run


def test_both_programs_read_every_kind_of_prompt_alike(generated, tmp_path):
    (tmp_path / "prompt").write_text("Once upon a time\n")
    typed_text = generated("--prompt", "Once upon a time")
    assert typed_text == generated(piped=b"Once upon a time\n") == generated("--prompt-file", str(tmp_path / "prompt"))
    dialogue = generated("--prompt", "User: hi\n\nAssistant:")
    assert dialogue == generated("--prompt", r"User: hi\n\nAssistant:")
    assert dialogue != generated("--no-escape", "--prompt", r"User: hi\n\nAssistant:")
    assert generated("--prompt", "") == generated(piped=b"\n")  # the demo has a beginning token
    assert generated("--prompt", "--ids") != generated("--prompt", "--stop")


def test_both_programs_unescape_stop_strings(generated):
    whole = generated("--prompt", r"Once.\n\nUpon a time, \x49", "--stop", "none")
    first = json.dumps(whole[:3])[1:-1]
    assert generated("--prompt", r"Once.\n\nUpon a time, I", "--stop", first).strip() == ""


@pytest.mark.parametrize("program", ["rrwkv_export", "rrwkv_runtime"])
def test_a_closed_standard_input_is_an_empty_one(program, bundle):
    command = f'exec "{sys.executable}" -m {program} generate "{bundle}" -n 2 <&-'
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=300)
    assert "this is a bug" not in done.stderr
