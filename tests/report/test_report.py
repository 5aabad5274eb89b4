"""What a report measures, what it writes, and what breaks its gates."""

from __future__ import annotations

import dataclasses
import html
import json
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from checkpoint_files import RRWKV, RWKV7, random_weights
from click import BadOptionUsage

from rrwkv_export import divergence
from rrwkv_export.bundle import save_manifest
from rrwkv_export.commands.report import report as command
from rrwkv_export.commands.shared.texts import repeated
from rrwkv_export.errors import GateError, OutputError, TextError
from rrwkv_export.human import megabytes, number, percent
from rrwkv_export.report import FILES, Gates, measure, report, write_report
from rrwkv_export.report.measure.drift import Drift, StateDrift, comparable, drift, relative_errors
from rrwkv_export.report.measure.metrics import EDGES, Scores, by_position, figures, histogram
from rrwkv_export.report.render.html import render_html
from rrwkv_export.report.render.json import to_json
from rrwkv_export.report.result import WHAT
from rrwkv_runtime.errors import BundleError, InputError
from rrwkv_runtime.manifest import Manifest

REPOSITORY = Path(__file__).resolve().parents[2]
DIALOGUES = [
    [("user", "Have you seen the film?"), ("assistant", "I have, and I liked it very much.")],
    [("user", "What do you read?"), ("assistant", "Mostly old letters, and the papers.")],
]
REQUIRED = {
    "perplexity", "reference_perplexity", "kl", "top1_agreement", "tokens", "drift", "bytes", "speed", "gates"
}  # fmt: skip


def rrwkv(*arguments, cwd):
    command = [sys.executable, str(REPOSITORY / "cli.py"), *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300)


def changed(weights, amount, seed=9):
    """The weights with some noise, as a quantization leaves behind."""
    noise = random_weights(RRWKV, seed)
    return {n: w + amount * noise[n] if n.endswith(("key.weight", "head.weight")) else w for n, w in weights.items()}


@pytest.fixture(scope="module")
def pair(make_tiny):
    """(a tiny bundle, the same with its weights slightly changed)."""
    first = make_tiny(RRWKV)
    return first, make_tiny(RRWKV, weights=changed(first.weights, 0.02))


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "random.ids"
    path.write_text(" ".join(map(str, np.random.default_rng(0).integers(0, RRWKV.vocab_size, 321))))
    return path


@pytest.fixture(scope="module")
def made(pair, text, tmp_path_factory):
    """(the report on the changed bundle, its folder)."""
    out = tmp_path_factory.mktemp("made") / "report"
    options = {"chunk": 34, "against": [pair[0].path], "threads": 1}
    return report(pair[1].path, pair[0].path, [text, text], out, **options), out


def scores(**columns):
    given = {name: np.array(values) for name, values in columns.items()}
    plain = {"kl": np.zeros, "log_p": np.zeros, "log_q": np.zeros, "top1": np.ones, "top5": np.ones}
    n = max(len(values) for values in given.values())
    return Scores(**{**{name: fill(n) for name, fill in plain.items()}, **given})


def test_figures_by_hand():
    found = figures(
        scores(
            kl=[0.1, 0.3, 0.2, 0.0],
            log_p=np.log([0.5, 0.25, 0.5, 1]),
            log_q=np.log([0.25, 0.25, 1, 1]),
            top1=[1, 0, 1, 1],
        )
    )
    assert found.kl.mean == pytest.approx(0.15)
    assert (found.kl.median, found.kl.max) == (pytest.approx(0.15), 0.3)
    assert found.kl.p90 == pytest.approx(0.27)
    assert found.reference_perplexity == pytest.approx(16 ** (1 / 4))
    assert found.perplexity == pytest.approx(16 ** (1 / 4))
    assert found.top1_agreement == 0.75
    assert found.probability_change.mean == pytest.approx(0.0625)
    assert found.probability_change.rms == pytest.approx(np.sqrt((0.25**2 + 0.5**2) / 4))


def test_histogram_holds_every_prediction():
    assert histogram(scores(kl=[0, 1e-12, 1e-3, 5, 1e9, float("nan")])).sum() == 5
    assert len(EDGES) == len(histogram(scores(kl=[1.0]))) + 1


def test_places_cover_the_text():
    places = by_position(scores(kl=np.arange(1000.0)))
    assert [place.start for place in places[:2]] == [0, 66]
    assert sum(place.figures.tokens for place in places) == 1000
    assert places[-1].figures.kl.max == 999
    assert len(by_position(scores(kl=[1.0]))) == 1


def test_both_forms_of_wkv_compare():
    aa, bb, pp = (np.random.default_rng(i).uniform(0.1, 2, (2, 3)) for i in range(3))
    plain = comparable({"wkv": np.stack([aa * np.exp(pp), bb * np.exp(pp)], axis=1)})
    stable = comparable({"wkv": np.stack([aa, bb, pp], axis=1)})
    for name in ("wkv", "wkv_log_b"):
        assert plain[name] == pytest.approx(stable[name])


def test_relative_errors_by_hand():
    reference = {"shift": np.array([[[3.0, 4.0], [0, 1]]]), "position": np.array(7)}
    other = {"shift": np.array([[[3.0, 4.5], [0, 1]]]), "position": np.array(7)}
    found = relative_errors(other, reference)
    assert found.keys() == {"shift.att", "shift.ffn"}
    assert found["shift.att"] == pytest.approx([0.1])
    assert found["shift.ffn"].tolist() == [0]


def test_a_state_of_matrices_drifts_by_head(make_tiny, text, tmp_path):
    """One head's S is off by half, the others' not at all; and the report of an RWKV-7 says so of each."""
    S = np.ones((2, 3, 4, 4))
    off = S.copy()
    off[1, 2] *= 1.5
    (found,) = drift([(256, relative_errors({"matrix": off}, {"matrix": S}))]).states.values()
    np.testing.assert_allclose(found.by_head, [[0, 0, 0], [0, 0, 0.5]])
    np.testing.assert_allclose(found.by_layer, [[0], [0.5 / 3]])
    one, other = (make_tiny(RWKV7, dtype=dtype).path for dtype in ("float32", "float16"))
    made = measure(other, one, [text], speed=False)
    shape = RWKV7.num_layers, RWKV7.heads
    state = to_json(made)["drift"]["states"]["matrix"]
    assert np.shape(state["by_head_last_quarter"]) == shape
    assert "Drift of matrix by layer and head" in render_html(made)


def test_the_open_segment_counts_only_where_there_is_one():
    empty = {"medium_sum": np.zeros((2, 1, 3)), "medium_weight": np.zeros((2, 1, 1))}
    begun = {"medium_sum": np.full((2, 1, 3), 6.0), "medium_weight": np.full((2, 1, 1), 2.0)}
    assert relative_errors(empty, empty) == {}
    assert comparable(begun)["medium_open"] == pytest.approx(np.full((2, 1, 3), 3))


@pytest.mark.parametrize(
    ("means", "flat"),
    [
        ([1] * 32, True),
        ([0] * 8 + [1] * 8 + [2] * 8 + [1.05] * 8, True),
        ([1] * 24 + [1.2] * 8, False),
        ([0] * 24 + [1] * 8, False),
        ([1] * 31, None),
        ([1, 2, 4, 8] * 8, None),  # varies too much
        ([0, 0, 0, 0], True),
        ([1, 1, 1, np.inf], False),
    ],
)
def test_flat(means, flat):
    assert windows(means).flat is flat


def windows(means):
    """A state of one layer with an error after every 256 tokens."""
    return StateDrift(tuple(256 * (i + 1) for i in range(len(means))), np.array([means], float))


def test_growth_is_told_from_chance_only_where_the_horizon_bears_it():
    """Errors that vary as the demo's do, by a quarter of their mean."""
    random = np.random.default_rng(0)
    short, long, growing = [], [], []
    for _ in range(200):
        noise = 1 + 0.25 * random.normal(size=64).clip(-2, 2)
        short.append(windows(noise[:16]).flat)
        long.append(windows(noise).flat)
        growing.append(windows(noise * np.linspace(1, 4, 64)).flat)
    assert set(short) == {None}
    assert long.count(False) <= 2
    assert long.count(True) >= 150
    assert growing.count(False) >= 190
    assert growing.count(True) == 0


def test_how_a_text_is_cut_changes_no_verdict():
    noise = 1 + 0.2 * np.random.default_rng(1).normal(size=64)
    whole = windows(noise)
    cut = StateDrift(tuple(range(64, 64 * 256 + 1, 64)), np.repeat(noise, 4)[None])
    assert cut.windows == pytest.approx(whole.windows)
    assert (cut.flat, cut.growth) == (whole.flat, pytest.approx(whole.growth))


def test_a_state_that_is_seldom_there_does_not_decide():
    seldom = StateDrift((16384,), np.ones((1, 1)))
    assert Drift({"wkv": windows([1] * 64), "medium_open": seldom}).flat is True
    assert Drift({"medium_open": seldom}).flat is None


def test_a_state_that_is_not_finite_drifts_without_limit():
    bad = {"wkv": np.full((1, 2, 3), np.nan)}
    found = drift([(1, relative_errors(bad, {"wkv": np.ones((1, 2, 3))}))])
    assert found.largest == np.inf


def test_a_bundle_beside_itself(pair, text):
    same = measure(pair[0].path, pair[0].path, [text], chunk=32, speed=False, gates=Gates(0, 1, 1, 0))
    same.require()
    assert (same.main.first.figures.kl.max, same.main.first.figures.top1_agreement) == (0, 1)
    assert (same.main.first.drift.largest, same.main.first.drift.flat) == (0, True)
    assert max(same.layers.errors.values()) < 1e-6
    assert [each.parts_at for each in same.continuations] == [None] * 4
    assert to_json(same)["speed"] is None


def test_figures_are_those_of_the_text_read_once(made, pair, text):
    first, ids = made[0].main.first, np.array([int(i) for i in text.read_text().split()])
    whole = divergence.measure(pair[0].model, pair[1].model, ids)
    assert first.figures.tokens == whole.tokens == 320
    assert first.figures.kl.mean == pytest.approx(whole.kl, rel=1e-4)
    assert first.figures.perplexity == pytest.approx(whole.perplexity, rel=1e-6)
    assert first.histogram.sum() == 320
    assert 0 < first.figures.kl.mean < first.figures.kl.p99


def test_report_json_holds_what_programs_look_for(made):
    fields = json.loads((made[1] / "report.json").read_text())
    assert fields.keys() >= REQUIRED
    assert {"mean", "median", "p90", "p99", "max"} <= fields["kl"].keys()
    assert sum(place["tokens"] for place in fields["by_position"]) == fields["tokens"]
    states = fields["drift"]["states"]
    assert states.keys() == {
        "shift.att", "shift.ffn", "wkv", "wkv_log_b", "medium_open", "medium_bank", "medium_key"
    }  # fmt: skip
    assert np.shape(states["wkv"]["by_layer"]) == (RRWKV.num_layers, len(states["wkv"]["positions"]))
    assert fields["bytes"]["bundle"]["graphs"] == fields["bytes"]["bundle"]["bundle"] > 10_000
    memory = fields["bytes"]["bundle"]
    assert memory["peak"] > memory["above_imports"] > 0
    assert fields["speed"]["decode_ms"]["bundle"] > 0
    assert fields["nodes"]["CPUExecutionProvider"]["Scan"] == RRWKV.num_layers
    assert fields["layers"]["errors"]["head"] > 0
    assert fields["layers"]["missing"] == []
    assert len(fields["texts"]) == 1
    assert [len(other["texts"]) for other in fields["comparison"]] == [2]


class Page(HTMLParser):
    """Which elements there are, which attributes load something, and whether all that opens is closed."""

    VOID = frozenset({"meta", "br", "hr", "img", "link", "input"})

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.links, self.text = set(), [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.links += [value for name, value in attributes if name in ("src", "href", "data", "action")]
        assert not any(name.startswith("on") for name, _ in attributes)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_the_page_is_whole_and_loads_nothing(made):
    text = (made[1] / "report.html").read_text()
    page = Page(text)
    assert page.open == []
    assert not page.tags & {"script", "link", "img", "iframe", "object"}
    assert all(link.startswith("#") for link in page.links)
    assert not any(forbidden in text for forbidden in ("http:", "https:", "@import"))
    assert text.count("<svg") == 6


def test_all_three_say_the_same(made):
    result, folder = made
    figures = result.main.first.figures
    for name in ("report.html", "report.md"):
        said = (folder / name).read_text()
        for shown in (number(figures.kl.p99), percent(figures.top1_agreement), number(figures.perplexity, 5)):
            assert shown in said, name
        assert result.main.first.text.sha256 in said
        assert result.machine["processor"] in said
    assert json.loads((folder / "report.json").read_text())["kl"]["p99"] == pytest.approx(figures.kl.p99)


def test_the_same_measurements_give_the_same_page(made):
    assert render_html(made[0]) == (made[1] / "report.html").read_text()


def test_headline(made, pair):
    rows = {row.name: row for row in made[0].headline()}
    files = ("model.onnx", "decode.onnx", "segment_end.onnx", "model.onnx.data")
    size = sum(pair[0].path.joinpath(name).stat().st_size for name in files)
    assert rows["graph and weights"].reference == megabytes(size)
    assert rows["mean KL divergence"].value.endswith("nats")
    assert rows.keys() >= {"perplexity", "top-1 agreement", "decode, a token", "peak memory", "memory above imports"}


def test_what_is_measured_is_said_where_it_is_shown(made):
    explained = {row.name: row.what for row in made[0].headline() if row.what}
    assert explained.keys() == WHAT.keys()
    for name in ("report.html", "report.md"):
        said = html.unescape((made[1] / name).read_text())
        assert all(what in said for what in explained.values()), name


def test_moving_scales_from_one_product_to_the_next_is_no_error(pair, text, make_tiny):
    weights = {name: value.clone() for name, value in pair[0].weights.items()}
    weights["blocks.0.ffn.key.weight"] *= 2
    weights["blocks.0.ffn.value.weight"] /= 4  # relu(2 k)² = 4 relu(k)²
    moved = make_tiny(RRWKV, weights=weights)
    made = measure(moved.path, pair[0].path, [text], tokens=64, speed=False)
    assert max(made.layers.errors.values()) < 1e-3
    assert made.main.first.figures.kl.mean < 1e-9


def test_the_stable_form_does_not_drift_from_the_plain_one(pair, text, make_tiny):
    stable = make_tiny(RRWKV, weights=pair[0].weights, wkv="stable")
    made = measure(stable.path, pair[0].path, [text], chunk=32, speed=False)
    assert 0 < made.main.first.drift.largest < 1e-4


def test_broken_gates_are_named_once_the_report_is_there(pair, text, tmp_path):
    limits = ["--max-kl", "1e-9", "--min-top1", "0.5", "--max-drift", "1e-9", "--max-ppl-ratio", "10"]
    arguments = ["report", pair[1].path, "--reference", pair[0].path, "--text", text, "-o", "out", "--no-speed"]
    done = rrwkv(*arguments, *limits, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("rrwkv: error: gates broken: mean KL ")
    assert len(done.stderr.splitlines()) == 1
    assert "--max-kl" in done.stderr
    assert "--max-drift" in done.stderr
    assert "top1" not in done.stderr
    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES
    passed = {gate["name"]: gate["passed"] for gate in json.loads((tmp_path / "out/report.json").read_text())["gates"]}
    assert passed == {"max-kl": False, "min-top1": True, "max-drift": False, "max-ppl-ratio": True}


@pytest.mark.parametrize(
    ("limit", "said"),
    [
        ({"min_top1": 98.3}, "--min-top1 takes a share from 0 to 1, not 98.3; for 98.3 % give 0.983"),
        ({"min_top1": 120}, "--min-top1 takes a share from 0 to 1, not 120; leave it out for no limit"),
        ({"max_drift": 2}, "--max-drift takes a share of the state, below 1, not 2; for 2 % give 0.02"),
        ({"max_ppl_ratio": 101}, "--max-ppl-ratio takes a ratio such as 1.01, not 101; for 101 % give 1.01"),
        ({"max_ppl_ratio": 0.02}, "--max-ppl-ratio takes .* where 1 is as good, not 0.02; for 2 % more give 1.02"),
        ({"max_kl": float("nan")}, "--max-kl takes a number from 0, not nan"),
    ],
)
def test_a_limit_in_percent_is_refused_with_what_was_meant(limit, said):
    with pytest.raises(InputError, match=said):
        Gates(**limit)


def test_a_model_that_overflows_gets_a_report_and_passes_no_gate(pair, text, make_tiny, tmp_path):
    weights = {name: value.clone() for name, value in pair[0].weights.items()}
    weights["blocks.0.ffn.value.weight"][0] = float("nan")
    broken = make_tiny(RRWKV, weights=weights)
    with pytest.raises(GateError, match=r"mean KL nan .* top-1 agreement .* drift inf"):
        report(
            broken.path,
            pair[0].path,
            [text],
            tmp_path / "out",
            tokens=40,
            speed=False,
            gates=Gates(9e9, 9e9, 0.99, 9e9),
        )
    assert json.loads((tmp_path / "out/report.json").read_text())["kl"]["mean"] is None
    assert "not finite" in (tmp_path / "out/report.md").read_text()


def test_several_values_of_one_option_and_the_bundles_beside(pair, text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first, second = pair[0].path, pair[1].path
    options = ["--against", first, second, "--text", text, text, "--no-speed", "--reference", first, "--tokens", 50]
    command.main([str(argument) for argument in (second, *options)], standalone_mode=False)
    fields = json.loads((tmp_path / f"{pair[1].path.name}-report/report.json").read_text())
    assert [other["texts"][0]["kl"]["mean"] for other in fields["comparison"]] == [0, fields["kl"]["mean"]]
    assert [each["text"]["name"] for each in fields["texts"]] == ["random.ids"]
    assert fields["tokens"] == 50


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ("A --t x y -o z", "A --t x --t y -o z"),
        ("--t=x y --u -- --t", "--t x --t y --u -- --t"),
        ("--t x --t y z -", "--t x --t y --t z --t -"),
        ("A -o b", "A -o b"),
    ],
)
def test_options_with_several_values(given, made):
    assert repeated(given.split(), {"--t"}) == made.split()


def test_an_option_without_its_values():
    with pytest.raises(BadOptionUsage, match="requires an argument"):
        repeated(["--t", "--u"], {"--t"})


def test_what_comes_from_files_is_escaped(pair, text, tmp_path):
    hostile = "<script>alert('$x_{')</script>\u202e|`*"
    bundle = Path(shutil.copytree(pair[1].path, tmp_path / "<b onload=x>|`$\\frac{"))
    recipe = {"scheme": hostile, hostile: {hostile: hostile}, "deep": {"er": [hostile]}}
    save_manifest(bundle, {**Manifest.load(bundle).to_json(), "quantization": recipe})
    path = shutil.copy(text, tmp_path / "<img src=x>.ids")
    made = write_report(bundle, pair[0].path, [Path(path)], tmp_path / "out", tokens=40, speed=False, against=[bundle])
    page = Page((tmp_path / "out/report.html").read_text())
    assert not page.tags & {"script", "img", "b onload"}
    assert "<script>alert('$x_{')</script>" in page.text
    markdown = (tmp_path / "out/report.md").read_text()
    assert "<" not in "\n".join(line for line in markdown.splitlines() if not line.startswith("    "))
    assert made.main.subject.name in page.text


def test_dialogues_are_gone_on_with_after_the_first_turn(small_bundle, tmp_path):
    text = tmp_path / "chat.jsonl"
    turns = [[{"role": role, "text": said} for role, said in dialogue] for dialogue in DIALOGUES]
    text.write_text("\n".join(json.dumps({"turns": each}) for each in turns))
    made = measure(small_bundle, small_bundle, [text], speed=False)
    assert [each.prompt for each in made.continuations] == [f"User: {d[0][1]}\n\nAssistant:" for d in DIALOGUES]
    assert any("16,384 were asked for" in note for note in made.notes())


def test_the_demo_beside_itself(demo_bundle, tmp_path):
    (tmp_path / "text.txt").write_text(
        "It was a bright cold day in April, and the clocks were striking thirteen. " * 12
    )
    arguments = ["--reference", demo_bundle, "--text", "text.txt", "--max-kl", "0", "-t", "1", "--no-speed"]
    done = rrwkv("report", demo_bundle, *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "100.00 %" in done.stdout
    assert "55.5 MB" in done.stdout
    assert "report.html" in done.stdout


def test_only_an_earlier_report_is_replaced(pair, text, tmp_path, monkeypatch):
    monkeypatch.setattr("rrwkv_export.report.run.render_html", lambda made: "a page")
    options = {"tokens": 8, "speed": False}
    arguments = (pair[0].path, pair[0].path, [text], tmp_path / "out")
    write_report(*arguments, **options)
    with pytest.raises(OutputError, match="exists already"):
        write_report(*arguments, **options)
    write_report(*arguments, **options, overwrite=True)
    (tmp_path / "out/mine.txt").touch()
    with pytest.raises(OutputError, match=r"mine\.txt"):
        write_report(*arguments, **options, overwrite=True)
    with pytest.raises(OutputError, match="is not a report"):
        write_report(*arguments[:3], pair[0].path, **options, overwrite=True)


def test_wrong_uses_say_what_to_do_and_leave_nothing(pair, text, make_tiny, tmp_path):
    another, out = make_tiny(RRWKV, seed=5), tmp_path / "out"
    with pytest.raises(BundleError, match=r"is of model 0+, .* of model 0+; give bundles of one model"):
        write_report(another.path, pair[0].path, [text], out)
    with pytest.raises(BundleError, match="give bundles of one model"):
        write_report(make_tiny(RWKV7, seed=5).path, pair[0].path, [text], out, tuned=True)
    with pytest.raises(BundleError, match="no such bundle"):
        write_report(pair[0].path, pair[0].path, [text], out, against=[tmp_path / "nowhere"])
    with pytest.raises(TextError, match="no such file"):
        write_report(pair[0].path, pair[0].path, [tmp_path / "no.ids"], out)
    assert list(tmp_path.iterdir()) == []
    out.mkdir()
    with pytest.raises(TextError, match="no such file"):  # before the place is looked at
        write_report(pair[0].path, pair[0].path, [text, tmp_path / "no.ids"], out)


def test_a_quantized_reference_is_said(made):
    reference = dataclasses.replace(made[0].reference, recipe={}, scheme="int8")
    assert "The reference is itself quantized (int8)." in dataclasses.replace(made[0], reference=reference).notes()
