"""`rrwkv serve` as a process: how it begins, how it ends, and what it says when it cannot."""

from __future__ import annotations

import shutil
import signal
import socket
import sys
import threading

import httpx2
import pytest
from checkpoint_files import SMALL
from serving import BUNDLE, CHAT, asked, numbers, process, wait_until

from rrwkv_export.commands import _run as run_command
from rrwkv_export.commands.serve import page_address

LONG = asked("Hi!", max_tokens=300, logit_bias={"0": -100, "1": -100})
LONGER = {**LONG, "max_tokens": 4096}


def post_in_thread(url, body, answers):
    """The answer, or what went wrong, will be in the list."""

    def post():
        try:
            answers.append(httpx2.post(f"{url}{CHAT}", json=body, timeout=60))
        except httpx2.HTTPError as error:
            answers.append(error)

    thread = threading.Thread(target=post)
    thread.start()
    return thread


def test_what_was_begun_is_finished_after_sigterm():
    answers = []
    with process("--parallel", 1) as (server, url):
        threads = [post_in_thread(url, LONG, answers) for _ in range(2)]  # the second waits for the first
        assert wait_until(lambda: numbers(url)["rrwkv_waiting"] == 1)
        server.send_signal(signal.SIGTERM)
        for thread in threads:
            thread.join()
        assert server.wait(10) == 0
        assert "rrwkv: finishing what was begun" in server.stderr.read()
    assert [answer.json()["usage"]["completion_tokens"] for answer in answers] == [300, 300]


@pytest.mark.parametrize(
    ("first", "second", "status"), [("SIGINT", "SIGINT", 130), ("SIGTERM", "SIGTERM", 143), ("SIGINT", "SIGTERM", 143)]
)
def test_a_second_signal_ends_it_now(first, second, status):
    answers = []
    with process() as (server, url):
        thread = post_in_thread(url, LONGER, answers)
        assert wait_until(lambda: numbers(url)["rrwkv_active"] == 1)
        server.send_signal(getattr(signal, first))
        assert "finishing what was begun" in server.stderr.readline()
        server.send_signal(getattr(signal, second))
        assert server.wait(5) == status
        assert server.stderr.read() == ""
    thread.join()
    assert getattr(answers[0], "status_code", 500) == 500


def test_what_takes_longer_than_its_end_may_is_given_up():
    with process("--drain", 1) as (server, url):
        thread = post_in_thread(url, LONGER, [])
        assert wait_until(lambda: numbers(url)["rrwkv_active"] == 1)
        server.send_signal(signal.SIGTERM)
        assert server.wait(5) == 0
    thread.join()


def test_there_are_so_many_places_and_the_next_one_is_told_to_come_back():
    answers = []
    with process("--parallel", 1, "--waiting", 1) as (_, url):
        threads = [post_in_thread(url, {**LONG, "max_tokens": 1500}, answers) for _ in range(2)]
        assert wait_until(lambda: numbers(url)["rrwkv_waiting"] == 1)
        refused = httpx2.post(f"{url}{CHAT}", json=LONG)
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "server_busy")
        assert int(refused.headers["retry-after"]) >= 1
        for thread in threads:
            thread.join()
        assert [answer.status_code for answer in answers] == [200, 200]
        assert httpx2.post(f"{url}{CHAT}", json={**LONG, "max_tokens": 1}).status_code == 200


def test_a_long_prompt_lets_others_go_on():
    """Somebody's first token comes while another's prompt of thousands of tokens is read."""
    with process("--workers", 1) as (_, url):
        answers = []
        thread = post_in_thread(url, asked("x y z " * 2000, max_tokens=1), answers)
        assert wait_until(lambda: numbers(url)["rrwkv_active"] == 1)
        assert httpx2.post(f"{url}{CHAT}", json=asked("Hi!", max_tokens=2), timeout=60).status_code == 200
        assert not answers
        thread.join()
        assert answers[0].json()["usage"]["prompt_tokens"] > 8000


@pytest.fixture
def refused(capsys):
    """refused(arguments) -> (exit status, the one line that it says)"""

    def run(*arguments, bundle=BUNDLE):
        status, said = run_command(["serve", str(bundle), *map(str, arguments)]), capsys.readouterr()
        assert said.out == ""
        assert len(said.err.strip().splitlines()) == 1 or "Usage:" in said.err
        return status, said.err

    return run


def test_a_port_that_is_taken(refused):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        status, said = refused("--port", other.getsockname()[1])
    assert (status, "in use; give another with --port" in said) == (1, True)


def test_what_is_no_bundle(refused, tmp_path):
    status, said = refused(bundle=tmp_path)
    assert (status, "not a bundle, it has no manifest.json" in said) == (1, True)


def test_a_bundle_with_a_wrong_hash(refused, tmp_path):
    bundle = shutil.copytree(BUNDLE, tmp_path / "bundle")
    weights = bundle / "model.onnx.data"
    data = bytearray(weights.read_bytes())
    data[100] ^= 1
    weights.write_bytes(data)
    status, said = refused("--port", 0, bundle=bundle)
    assert (status, "model.onnx.data is not the file that was exported" in said) == (1, True)


def test_a_bundle_without_a_tokenizer(refused, make_tiny):
    status, said = refused("--port", 0, bundle=make_tiny(SMALL).path)
    assert (status, "has no tokenizer, and requests are text" in said) == (1, True)


def test_without_its_packages(refused, monkeypatch):
    monkeypatch.setitem(sys.modules, "rrwkv_server", None)
    status, said = refused()
    assert (status, "needs rrwkv_server: pip install" in said, "'.[serve]'" in said) == (1, True, True)


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("--host", "nowhere.invalid"), 1, "--host nowhere.invalid: no address of this machine"),
        (("--port", "x"), 2, "--port"),
        (("--port", "70000"), 2, "--port"),
        (("--api-key", ""), 2, "--api-key (RRWKV_API_KEY) is empty"),
        (("--parallel", "0"), 2, "--parallel"),
        (("--time-limit", "0"), 2, "--time-limit"),
        (("--workers", "2", "--provider", "cuda"), 2, "--workers 2 is for the CPU"),
    ],
)
def test_wrong_usage(refused, arguments, status, said):
    found = refused(*arguments)
    assert (found[0], said in found[1]) == (status, True), found


@pytest.mark.parametrize(
    ("key", "terminal", "said"),
    [
        (None, True, "at http://x/"),
        ("é+/#&", True, "at http://x/#key=%C3%A9%2B%2F%23%26"),
        ("secret", False, "at http://x/, and asks for the key"),
    ],
)
def test_the_page_is_named_with_the_key_on_a_terminal_alone(key, terminal, said, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    assert page_address("http://x", key) == said


def test_an_open_address_without_a_key_is_remarked_upon():
    with process("--host", "0.0.0.0") as (server, url):
        assert "the chat page" in server.stdout.readline()
        assert "--api-key asks for a key" in server.stderr.readline()
        assert httpx2.get(f"{url}/v1/models", headers={"host": "any.example"}).status_code == 200
