"""Thoughts where people see them: a terminal's colours, a pipe's lines, /think and --think."""

import dataclasses
import json
import os
import pty
import shutil
import subprocess
import sys

import pytest
from test_repl import Script, errors, play
from test_thinking import THOUGHT, Speaker

from rrwkv_runtime.chat import Chat
from rrwkv_runtime.manifest import Manifest, Thinking, compute_bundle_id
from rrwkv_runtime.terminal.repl import Repl

SHOWN = "Hm, a greeting.\n\nBe kind."


def thinker(*replies, **options):
    return Chat(Speaker(*(THOUGHT + reply for reply in replies)), **options)


def shown(console):
    """What was written, with the pieces of thoughts joined."""
    return console.text.replace("][", "")


def test_a_thought_is_shown_apart_and_its_reply_on_a_line_of_its_own():
    chat, console = play("hi", "and?", chat=thinker("Hello.\n\n", "Fine.\n\n"))
    assert shown(console) == f"[(thinks) {SHOWN}]\n\nHello.\n[(thinks) {SHOWN}]\n\nFine.\n"
    assert [reply for _, reply in chat.turns] == ["Hello.", "Fine."]


def test_a_hidden_thought_is_only_said_to_be_there():
    console = Script("hi")
    Repl(thinker("Hello.\n\n"), console, hide_thoughts=True).run()
    assert console.text == "[(thinks) ]\n\nHello.\n"


def test_a_pipe_gets_replies_alone():
    _, console = play("hi", "and?", chat=thinker("Hello.\n\n", "Fine.\n\n"), interactive=False)
    assert console.text == "Hello.\nFine.\n"


def test_a_thought_cannot_move_the_cursor():
    _, console = play("hi", chat=Chat(Speaker(" <think>\x1b[2J\x07Hm</think>Hi.")))
    assert shown(console) == "[(thinks) [2JHm]\n\nHi.\n"


def test_a_reply_that_is_cut_in_its_thought_says_so():
    _, console = play("hi", chat=thinker("Hello.\n\n", max_tokens=6))
    assert console.said == [("note", "(cut at 6 tokens, within its thought; see /set max_tokens)")]


def test_in_a_pipe_a_thought_without_an_answer_is_a_failure():
    chat = thinker("Hello.\n\n", "Hello.\n\n", max_tokens=6)
    _, console = play("hi", "/set max_tokens 60", "and?", chat=chat, interactive=False, status=1)
    assert errors(console) == ["line 1: cut at 6 tokens, within its thought; --max-tokens lets it go on"]
    assert console.text == "\nHello.\n"


def test_think_says_and_changes_whether():
    chat, console = play(
        "/think", "/think on", "/think hidden", "/think", "hi", "/think off", chat=thinker("Hello.\n\n")
    )
    assert [text for _, text in console.said] == [f"think = {w}" for w in ("auto", "on", "hidden", "hidden", "off")]
    assert console.text == "[(thinks) ]\n\nHello.\n"
    assert chat.think == "off"
    _, console = play("/think maybe", chat=thinker(""))
    assert errors(console) == ["/think takes auto, on, off, hidden, not 'maybe'"]


@pytest.fixture(scope="module")
def thinking_demo(demo_bundle, tmp_path_factory):
    """The demo, whose first reply is "I'm doing well, thanks for asking! How are you?", of which the format makes the
    first part a thought."""
    folder = tmp_path_factory.mktemp("thinking") / "bundle"
    shutil.copytree(demo_bundle, folder)
    manifest = Manifest.load(folder)
    form = dataclasses.replace(manifest.chat, thinking=Thinking(open=" I", skip=" I'm fine!", begin="I", end="!"))
    fields = {**manifest.to_json(), "chat": form.to_json()}
    (folder / "manifest.json").write_text(json.dumps({**fields, "bundle_id": compute_bundle_id(fields)}))
    return folder


PROGRAMS = (["-m", "rrwkv_runtime"], ["-m", "rrwkv_export"])
ASKED = "Hi! How are you today?\n"


def command(program, bundle, think):
    return [sys.executable, *program, "chat", str(bundle), "--temp", "0", "-t", "1", "--no-stats", "--think", think]


@pytest.mark.parametrize("program", PROGRAMS)
def test_through_a_pipe_both_programs_give_the_answer_alone(thinking_demo, program):
    run = subprocess.run(
        command(program, thinking_demo, "on"), input=ASKED, capture_output=True, text=True, timeout=120, check=True
    )
    assert (run.stdout, run.stderr) == ("How are you?\n", "")
    run = subprocess.run(command(program, thinking_demo, "maybe"), capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert "--think must be auto, on, off or hidden, not 'maybe'" in run.stderr


@pytest.mark.parametrize(
    ("think", "thought"), [("auto", "'m doing well, thanks for asking"), ("hidden", ""), ("off", None)]
)
def test_at_a_terminal_a_thought_is_dim(thinking_demo, think, thought):
    said = at_a_terminal(command(PROGRAMS[0], thinking_demo, think), ASKED + "/quit\n")
    dim = "".join(part.split("\x1b[0m")[0] for part in said.split("\x1b[2m")[1:])
    assert dim == ("" if thought is None else f"(thinks) {thought}")
    plain = said.replace("\x1b[2m", "").replace("\x1b[0m", "").replace("\r\n", "\n")
    if thought is None:
        assert "(thinks)" not in plain
    else:
        assert f"(thinks) {thought}\n\nHow are you?\n" in plain


def at_a_terminal(arguments, typed):
    """What a program shows on a terminal at which this is typed."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "INPUTRC": os.devnull}
    environment.pop("NO_COLOR", None)
    program = subprocess.Popen(arguments, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    os.write(ours, typed.encode())
    said = b""
    try:
        while piece := os.read(ours, 4096):
            said += piece
    except OSError:  # the terminal's other end is closed
        pass
    os.close(ours)
    assert program.wait(timeout=60) == 0
    return said.decode()
