import dataclasses
import io
import json
import os
import subprocess
import sys

import pytest
from test_chat import Actor, assert_canonical, words
from test_generate import TOKENIZER

from rrwkv_runtime.__main__ import main
from rrwkv_runtime.chat import Chat
from rrwkv_runtime.errors import OtherBundle
from rrwkv_runtime.terminal.console import ReadingLine, Terminal
from rrwkv_runtime.terminal.repl import HELP, Repl


class Script:
    """A console that reads from a list and keeps what was said; an exception in the list is raised there."""

    def __init__(self, *lines, interactive=True, on_write=None):
        self.lines, self.interactive, self.on_write = list(lines), interactive, on_write
        self.prompts, self.text, self.said, self.closed = [], "", [], False

    def read_line(self, prompt):
        self.prompts.append(prompt)
        line = self.lines.pop(0) if self.lines else EOFError()
        if isinstance(line, BaseException):
            raise line
        return line

    def write(self, text):
        self.text += text
        if self.on_write:
            self.on_write(text)

    def think(self, text):
        self.write(f"[{text}]")

    def say(self, text, kind):
        self.said.append((kind, text))

    def close(self):
        self.closed = True


def play(*lines, chat=None, status=0, allow=False, **options):
    """Run a conversation of these lines; gives (chat, console)."""
    chat = chat or Chat(words(" One\n\n", " Two\n\n", " Three\n\n"))
    console = Script(*lines, **options)
    assert Repl(chat, console, allow_other_quantization=allow).run() == status
    assert console.closed
    return chat, console


def errors(console):
    return [text for kind, text in console.said if kind == "error"]


def test_messages_are_answered_until_the_end_of_input():
    chat, console = play("hi", "", "  ", "and?")
    assert console.text == "One\nTwo\n"
    assert [user for user, _ in chat.turns] == ["hi", "and?"]
    assert console.prompts == ["> "] * 5


def test_piped_input_has_no_prompts_and_one_line_per_reply():
    _, console = play("hi", "and?", chat=Chat(words(" One\nmore\x1b[2J\n\n", " Two\n\n")), interactive=False)
    assert console.text == "One more[2J\nTwo\n"
    assert console.prompts == ["", "", ""]
    assert console.said == []


def test_piped_lines_are_messages_unless_they_name_a_command():
    chat, console = play("/etc/fstab is a file", "/rety", "/undo", "/retry", interactive=False)
    assert [user for user, _ in chat.turns] == ["/etc/fstab is a file"]
    assert console.text == "One\nTwo\nOne\n"


def test_what_fails_in_a_pipe_gives_an_empty_line_and_a_status_of_1(tmp_path):
    lines = ["hi", "caf\udce9", "and?", f"/load {tmp_path}/none"]
    chat, console = play(*lines, interactive=False, status=1)
    assert console.text == "One\n\nTwo\n"
    assert errors(console)[0] == "line 2: the message is not UTF-8 text: it holds the byte 0xe9"
    assert errors(console)[1].startswith("line 4: ")
    assert len(chat.turns) == 2


@pytest.mark.parametrize("allow", [True, False])
def test_load_follows_the_flag_that_the_program_was_started_with(tmp_path, allow, monkeypatch):
    chat = Chat(words(" One\n\n"))

    def load(path, allow_other_quantization=False):
        if not allow_other_quantization:
            raise OtherBundle("the state belongs to another bundle of this model")

    monkeypatch.setattr(chat, "load", load)
    _, console = play("/load x", chat=chat, allow=allow)
    advice = "the state belongs to another bundle of this model; start with --allow-other-quantization"
    assert [error.startswith(advice) for error in errors(console)] == ([] if allow else [True])


def test_quit_leaves_what_follows_unread():
    chat, console = play("/quit", "hi")
    assert (chat.turns, console.lines) == ([], ["hi"])


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["one \\", "two"], "one \ntwo"),
        (['"""', "/one", "  two\\", '"""'], "/one\n  two\\"),
        (['"""', "never closed"], "never closed"),
        (["goes on \\"], "goes on"),
    ],
)
def test_long_messages(lines, message):
    assert [user for user, _ in play(*lines)[0].turns] == [message]


def test_ctrl_c_at_the_prompt_clears_the_line_and_says_how_to_leave():
    chat, console = play("one \\", KeyboardInterrupt(), "hi")
    assert [user for user, _ in chat.turns] == ["hi"]
    assert "/quit" in console.said[0][1]


def interrupt(text):
    if "One" in text:
        raise KeyboardInterrupt


def test_ctrl_c_while_a_reply_is_shown_stops_the_reply_only():
    chat, console = play("hi", "and?", chat=Chat(words(" One two three\n\n", " Four\n\n")), on_write=interrupt)
    assert chat.turns == [("hi", "One"), ("and?", "Four")]
    assert ("note", "(stopped)") in console.said
    assert_canonical(chat)


def test_ctrl_c_within_the_model_stops_the_reply_only():
    actor = Actor(TOKENIZER.encode(" One two three\n\n"), TOKENIZER.encode(" Four\n\n"))
    actor.interrupt_at = 2
    chat, _ = play("hi", "and?", chat=Chat(actor))
    assert chat.turns == [("hi", "One two"), ("and?", "Four")]


def test_ctrl_c_ends_a_piped_conversation():
    with pytest.raises(KeyboardInterrupt):
        Repl(Chat(words(" One\n\n")), Script("hi", interactive=False, on_write=interrupt)).run()


def test_a_closed_pipe_ends_quietly(monkeypatch):
    def closed(text):
        raise BrokenPipeError

    silenced = []
    monkeypatch.setattr("rrwkv_runtime.terminal.repl.silence_stdout", lambda: silenced.append(True))
    play("hi", "and?", on_write=closed)
    assert silenced == [True]


def test_undo_retry_and_reset():
    chat, console = play("hi", "and?", "/undo", "/retry", "/undo", "/undo", "x", "/reset")
    assert chat.turns == []
    assert ("note", "(taken back: and?)") in console.said
    assert errors(console) == ["there is no turn to go back to"]
    assert console.text == "One\nTwo\nOne\nOne\n"


def test_system_starts_anew_with_its_text():
    chat, _ = play("hi", "/system Be brief.")
    assert (chat.system, chat.turns) == ("Be brief.", [])


def test_set_changes_and_shows_options():
    chat, console = play("/set temperature 0.5", "/set top_k 3", "/set seed 4", "/set max_tokens none", "/set")
    assert (chat.sampling.temperature, chat.sampling.top_k, chat.seed, chat.max_tokens) == (0.5, 3, 4, None)
    assert console.said[0] == ("note", "temperature = 0.5")
    assert len(console.said[-1][1].splitlines()) == 10


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("/rety", "unknown command /rety; did you mean /retry?"),
        ("/12345", "unknown command /12345; /help lists them"),
        ("/set temprature 1", "unknown option temprature; did you mean temperature?"),
        ("/set top_k some", "top_k takes a number, not 'some'"),
        ("/set top_p 7", "top_p must be a number from 0 to 1, not 7.0; 7 % is 0.07"),
        ("/set seed -1", "seed must be a whole number of 0 or more, not -1"),
        ("/set max_tokens -5", "max_tokens must be from 1, or 0 or -1 for no limit, not -5"),
        ("/save", "give a file name"),
        ("/save ~nobodyx/f", "~nobodyx/f: there is no home folder of that name"),
        ("/save a\0b", "a file name cannot hold the character NUL"),
        ("/load a\0b", "a file name cannot hold the character NUL"),
        ("\udcff", "the message is not UTF-8 text: it holds the byte 0xff"),
        ("\ud800", "the text has a lone surrogate at character 0; it is not valid Unicode"),
    ],
)
def test_mistakes_are_said_in_one_line_and_the_conversation_goes_on(line, message):
    chat, console = play(line, "hi")
    assert errors(console) == [message]
    assert len(chat.turns) == 1


@pytest.mark.parametrize("value", ["0", "-1", "none"])
def test_no_limit_has_several_names(value):
    assert play(f"/set max_tokens {value}")[0].max_tokens is None


def test_save_and_load(tmp_path):
    path = tmp_path / "a state"
    chat, console = play("hi", f"/save {path}", "/reset", f"/load {path}", f"/load {tmp_path}/none")
    assert chat.position > 0
    assert len(errors(console)) == 1


def test_stats_and_help():
    _, console = play("hi", "/stats", "/help")
    assert "tokens in" in console.said[0][1]
    assert console.said[1] == ("note", HELP)


def test_every_command_is_in_the_help():
    assert all(command in HELP for command in Repl(None, Script())._commands)


def test_speed_and_cut_replies_are_noted_on_a_terminal():
    console = Script("hi")
    Repl(Chat(words(" One two three\n\n"), max_tokens=2), console, show_stats=True).run()
    assert console.said[0] == ("note", "(cut at 2 tokens; see /set max_tokens)")
    assert console.said[1][0] == "stats"


def test_a_terminal_that_is_a_pipe_reads_lines_and_keeps_notes_apart(monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO("one\ntwo"))
    terminal = Terminal()
    assert [terminal.read_line(""), terminal.read_line("")] == ["one", "two"]
    with pytest.raises(EOFError):
        terminal.read_line("")
    terminal.write("reply")
    terminal.say("note", "note")
    assert capsys.readouterr() == ("reply", "note\n")


class Screen(io.StringIO):
    """A stream that says it is a terminal."""

    buffer = io.BytesIO(b"typed")

    def isatty(self):
        return True


def test_reading_a_long_prompt_shows_a_line_that_erases_itself(monkeypatch):
    monkeypatch.setattr("sys.stderr", screen := Screen())
    reading = ReadingLine()
    reading(512, 512)
    assert screen.getvalue() == ""
    reading(51_200, 100_000)
    assert screen.getvalue() == "reading the prompt: 51,200 of 100,000 tokens"
    reading(100_000, 100_000)
    assert screen.getvalue().endswith(f"\r{' ' * 44}\r")


def test_without_a_terminal_reading_is_told_in_lines_if_it_takes_long(capsys):
    times = iter([0, 4.9, 5, 9, 10.5, 11])
    reading = ReadingLine(lambda: next(times))
    for done in (1000, 2000, 3000, 4000, 5000, 6000):
        reading(done, 6000)
    lines = [f"reading the prompt: {done},000 of 6,000 tokens" for done in (3, 5)]
    assert capsys.readouterr() == ("", "\n".join([*lines, ""]))


def run(*arguments, **options):
    command = [sys.executable, "-m", "rrwkv_runtime", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, timeout=60, check=False, **options)


def test_errors_at_the_command_line_are_one_line_with_exit_code_1(capsys, tmp_path):
    assert main(["info", str(tmp_path / "none")]) == 1
    captured = capsys.readouterr()
    assert captured.err == f"rrwkv_runtime: error: {tmp_path}/none: no such bundle directory\n"
    with pytest.raises(SystemExit) as caught:
        main(["generate"])
    assert caught.value.code == 2


def test_ctrl_c_at_the_command_line_is_130(monkeypatch):
    def interrupted(bundle):
        raise KeyboardInterrupt

    monkeypatch.setattr("rrwkv_runtime.manifest.Manifest.load", interrupted)
    assert main(["info", "bundle"]) == 130


def test_the_demo_is_described(demo_model, capsys):
    assert main(["info", str(demo_model.path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["bundle_id"] == demo_model.manifest.bundle_id
    assert main(["info", str(demo_model.path)]) == 0
    assert "13,745,920" in capsys.readouterr().out


def test_info_names_a_file_of_another_size(bundle, capsys):
    (bundle / "model.onnx").write_bytes(b"cut")
    assert main(["info", str(bundle)]) == 1
    assert "model.onnx has 3 bytes instead of" in capsys.readouterr().err


def test_the_state_of_another_quantization_needs_its_flag(demo_model, tmp_path):
    state = dataclasses.replace(demo_model.initial_state(), bundle_id="f" * 64)
    state.save(tmp_path / "state")
    options = ["chat", demo_model.path, "--state", tmp_path / "state"]
    refused, allowed = run(*options, input=b""), run(*options, "--allow-other-quantization", input=b"")
    assert (refused.returncode, allowed.returncode) == (1, 0)
    assert b"--allow-other-quantization" in refused.stderr


def test_the_demo_generates_the_same_from_every_kind_of_prompt(demo_model, tmp_path):
    (tmp_path / "prompt").write_text("Once upon a time")
    ids = ",".join(map(str, TOKENIZER.encode("Once upon a time")))
    options = ["generate", demo_model.path, "--temperature", 0, "--max-tokens", 8]
    sources = [["--prompt", "Once upon a time"], ["--prompt-file", tmp_path / "prompt"], ["--ids", ids], []]
    results = [run(*options, *source, input=b"Once upon a time") for source in sources]
    assert {result.returncode for result in results} == {0}
    assert len({result.stdout for result in results}) == 1


def test_the_demo_talks_through_a_pipe(demo_model):
    lines = b"Hello!\n/non sense\n\xff\nHow are you?\n"
    result = run(
        "chat", demo_model.path, "--seed", 1, "--max-tokens", 30, input=lines, env={**os.environ, "PYTHONUTF8": "1"}
    )
    assert (result.returncode, len(result.stdout.splitlines())) == (1, 4)
    assert result.stderr.splitlines() == [b"line 3: the message is not UTF-8 text: it holds the byte 0xff"]
