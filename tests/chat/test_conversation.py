"""A conversation with a trained RWKV-7, which does not come along: where RWKV7_CHAT says, or beside the clone."""

import os
from pathlib import Path

import numpy as np
import pytest
from test_chat import Recorded

from rrwkv_export.checkpoint import open_checkpoint
from rrwkv_export.export import export
from rrwkv_runtime.chat import Chat
from rrwkv_runtime.model import Model

_BESIDE = Path(__file__).parents[3] / "shared" / "checkpoints" / "rwkv7-chat"
CHECKPOINT = Path(os.environ.get("RWKV7_CHAT", _BESIDE)) / "rwkv7-chat-13m.pth"
SAID = ("Hi! How are you today?", "What do you like to do on weekends?", "Do you have\n\nany pets?")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    if not CHECKPOINT.is_file():
        pytest.skip("rwkv7-chat-13m.pth is not there; RWKV7_CHAT names its folder")
    folder = tmp_path_factory.mktemp("rwkv7") / "bundle"
    export(open_checkpoint(CHECKPOINT), folder, tokens=16)
    return Model.load(folder, threads=1)


def test_it_answers_in_english_turn_after_turn(model):
    chat = Chat(model, temperature=0.0, max_tokens=60)
    finished = [list(chat.send(said))[-1].finish for said in SAID]
    replies = [reply for _, reply in chat.turns]
    assert finished == ["stop"] * 3
    assert all(reply.isascii() and reply[0].isupper() and reply[-1] in ".!?" for reply in replies), replies
    assert "doing" in replies[0]
    assert "pets" in chat.turns[2][0]
    assert len(set(replies)) == 3


@pytest.mark.parametrize("think", ["auto", "on", "off"])
def test_its_state_is_that_of_the_text_of_all_turns(model, think):
    recorded = Recorded(model)
    chat = Chat(recorded, seed=2, max_tokens=40, think=think)
    for said in SAID:
        list(chat.send(said))
    fed = recorded.fed[id(chat._state)]
    turns = [f"User: {said}\n\nAssistant: {reply}\n\n" for said, reply in chat.turns]
    assert model.tokenizer.decode(fed) == "".join(turns)
    fresh = model.decoder()
    fresh.prefill(fed)
    for name, value in fresh.state().values.items():
        np.testing.assert_array_equal(chat._state.values[name], value, err_msg=name)
