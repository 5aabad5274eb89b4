"""What transformers makes of folders, in a Python that has none of this project's packages: `alone.py ASKED TOLD`.

ASKED: JSON of what to compute. TOLD: a folder, to which a file of tensors and one of JSON are written a model.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

sys.modules.update(rrwkv_export=None, rrwkv_runtime=None)  # to import them is an error
logging.set_verbosity_error()
logging.disable_progress_bar()
torch.set_num_threads(1)


def computed(model, asked):
    """Logits in every way of running it, float64."""
    ids = torch.tensor(asked["ids"])
    model = model.double().eval()
    with torch.no_grad():
        whole = model(ids, output_hidden_states=True)
        assert len(whole.hidden_states) == model.config.num_hidden_layers + 1
        pieces, state = [], None
        for piece in ids.split(asked["pieces"], dim=1):
            found = model(piece, past_key_values=state)
            state = found.past_key_values
            pieces.append(found.logits)
        last = model(ids, logits_to_keep=1, use_cache=False)
        assert last.past_key_values is None
        assert state.get_seq_length() == ids.shape[1]
    return {"logits": whole.logits, "pieces": torch.cat(pieces, 1), "last": last.logits, **padded(model, ids)}


def padded(model, ids):
    """Every row with other padding, on both sides, in two calls."""
    T = ids.shape[1]
    wider, mask = torch.zeros(len(ids), T + 6, dtype=torch.long), torch.zeros(len(ids), T + 6, dtype=torch.long)
    for row, begin in enumerate((5, 0, 2)):
        wider[row, begin : begin + T], mask[row, begin : begin + T] = ids[row], 1
    first = model(wider[:, :11], attention_mask=mask[:, :11])
    second = model(wider[:, 11:], attention_mask=mask, past_key_values=first.past_key_values)
    both = torch.cat([first.logits, second.logits], 1)
    assert not first.logits[0, :5].any()  # nothing was read yet
    return {"padded": torch.stack([both[row, b : b + T] for row, b in enumerate((5, 0, 2))]), "ended": both[:, -1]}


def trained(model, ids):
    """The loss of all rows, and its gradients."""
    model.train()
    loss = model(ids, labels=ids).loss
    loss.backward()
    gradients = {f"gradient.{n}": p.grad for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return {"loss": loss, **gradients}


def losses(model, ids, state=None):
    """Of rows of unequal length: each by itself, weighted by its predictions; padded on the right, on the left; and
    these divided by a number that is given, as the trainer of transformers does."""
    lengths, T = (ids.shape[1], 5, 12), ids.shape[1]

    def loss(ids, rows, **more):
        before = state.copy() if state else None
        if before:
            before.reorder_cache(torch.tensor(rows))
        return model(ids, past_key_values=before, **more).loss.item()

    alone = sum(loss(ids[r : r + 1, :n], [r], labels=ids[r : r + 1, :n]) * (n - 1) for r, n in enumerate(lengths))
    found = [alone / (sum(lengths) - 3)]
    for items in ({}, {"num_items_in_batch": torch.tensor(sum(lengths) - 3)}):
        for side in ("right", "left"):
            mask = torch.stack([torch.arange(T) < n for n in lengths]).long()
            mask = mask if side == "right" else mask.flip(1)
            wider = torch.zeros_like(ids)
            wider[mask.bool()] = torch.cat([row[:n] for row, n in zip(ids, lengths)])
            labels = wider.masked_fill(mask == 0, -100)
            found.append(loss(wider, [0, 1, 2], attention_mask=mask, labels=labels, **items))
    return found


def by_trainer(model, asked, out):
    """What transformers' own trainer logs; the folder is what it saves."""
    from transformers import Trainer, TrainingArguments

    rows = [{"input_ids": torch.tensor(row), "labels": torch.tensor(row)} for row in asked["ids"]]
    plan = {"max_steps": 4, "logging_steps": 1, "per_device_train_batch_size": 3, "learning_rate": 1e-2}
    more = {"report_to": [], "save_strategy": "no", "use_cpu": True, "disable_tqdm": True, "eval_strategy": "no"}
    trainer = Trainer(model, TrainingArguments(out, **plan, **more), train_dataset=rows, eval_dataset=rows)
    trainer.train()
    trainer.save_model(out)
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry] + [trainer.evaluate()["eval_loss"]]


def generated(model, asked):
    model = model.float().eval()
    ids, options = torch.tensor(asked["ids"]), {"max_new_tokens": 12, "eos_token_id": None, "pad_token_id": 0}
    left = torch.cat([torch.zeros(len(ids), 3, dtype=torch.long), ids], 1)
    mask = (torch.arange(left.shape[1]) >= 3).long().expand(left.shape)
    return {
        "greedy": model.generate(ids[:1], do_sample=False, **options),
        "no cache": model.generate(ids[:1], do_sample=False, use_cache=False, **options),
        "left": model.generate(left, attention_mask=mask, do_sample=False, **options)[:1, 3:],
        "beams": model.generate(ids, num_beams=3, do_sample=False, **options),
        "beams, no cache": model.generate(ids, num_beams=3, do_sample=False, use_cache=False, **options),
    }


def said(folder, asked):
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
    dialogue = [{"role": role, "content": text} for role, text in asked["dialogue"]]
    written = tokenizer.apply_chat_template(dialogue, tokenize=False, add_generation_prompt=True)
    ids = tokenizer(asked["text"])["input_ids"]
    prompt = tokenizer(written, add_special_tokens=False)["input_ids"]
    return {"ids": ids, "text": tokenizer.decode(ids), "chat": prompt}, tokenizer


def main(asked_file, told):
    for folder, asked in json.loads(Path(asked_file).read_text()).items():
        out = Path(told) / Path(folder).name
        config = AutoConfig.from_pretrained(folder, trust_remote_code=True)
        model = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True)
        assert type(config).__name__ == "RrwkvConfig"
        words = {}
        tensors = {"dtype": torch.zeros((), dtype=model.dtype)}
        if asked.get("ids"):
            tensors |= computed(model, asked) | trained(model, torch.tensor(asked["ids"])) | generated(model, asked)
            ids = torch.tensor(asked["ids"])
            with torch.no_grad():
                words["losses"] = losses(model, ids)
                words["losses after a state"] = losses(model, ids, model(ids[:, :7]).past_key_values)
            halves = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True, dtype=torch.bfloat16).eval()
            found = halves(torch.tensor(asked["ids"]))
            words["states"] = sorted({str(x.dtype) for x in found.past_key_values.layers[0].values()})
            tensors["halves"] = found.logits
        if asked.get("golden"):
            with torch.no_grad():
                tensors["logits"] = model.float()(torch.tensor([asked["golden"]])).logits
        model.save_pretrained(f"{out}-again")
        again = AutoModelForCausalLM.from_pretrained(f"{out}-again", trust_remote_code=True, dtype=model.dtype).eval()
        with torch.no_grad():
            one, other = (each(torch.tensor([[1, 7, 3]])).logits for each in (model.eval(), again))
        words["same again"] = torch.equal(one, other)
        if asked.get("trainer"):
            words["trainer"] = by_trainer(model, asked, f"{out}-trained")
        if asked.get("text"):
            words["said"], tokenizer = said(folder, asked)
            tokenizer.save_pretrained(f"{out}-again")
        save_file({name: x.detach().contiguous() for name, x in tensors.items()}, f"{out}.safetensors")
        Path(f"{out}.json").write_text(json.dumps(words))


if __name__ == "__main__":
    main(*sys.argv[1:])
