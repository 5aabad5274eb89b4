"""Calibration against the values themselves, read one token at a time, and against the float64 reference."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from checkpoint_files import RRWKV, RWKV4

from rrwkv_export.architectures.linears import linears
from rrwkv_export.architectures.reference import rwkv4 as reference
from rrwkv_export.errors import RecipeError
from rrwkv_export.quantize.observe.observe import Observation, input_names, observe, pieces
from rrwkv_export.quantize.observe.ranges import range_of
from rrwkv_export.quantize.rewrite.rewrite import Rewriter

CONFIGS = [RWKV4, RRWKV]
IDS = np.random.default_rng(5).integers(0, 40, 90)
PASSAGES = [IDS[:41], IDS[41:43], IDS[43:44], IDS[44:]]
PARAMETERS = pytest.mark.parametrize("config", CONFIGS, ids=["rwkv4", "rrwkv"])


def in_memory(tiny):
    return onnx.load(str(tiny.path / "model.onnx"))


def observed(tiny, model=None, wanted=None, passages=PASSAGES, **options):
    wanted = wanted or linears(tiny.config)
    return observe(model or in_memory(tiny), tiny.model.manifest.states, wanted, passages, threads=1, **options)


def one_by_one(tiny):
    """The values [rows, inputs] that the linears read, from an untouched graph, token by token."""
    model, states = in_memory(tiny), tiny.model.manifest.states
    names = input_names(model, linears(tiny.config))
    model.graph.output.extend(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    carried, rows = {spec.input: spec.initial() for spec in states}, {name: [] for name in names}
    for token in IDS:
        values = session.run(None, {"input_ids": [token], "num_logits": [1], **carried})
        by_name = dict(zip([output.name for output in session.get_outputs()], values))
        carried = {spec.input: by_name[spec.output] for spec in states}
        for name, inputs in names.items():
            rows[name].append(by_name[name].reshape(-1, inputs))
    return {name: np.concatenate(values).astype(np.float64) for name, values in rows.items()}


def by_site(tiny, found):
    model = in_memory(tiny)
    return {linear.name: found[next(iter(input_names(model, [linear])))] for linear in linears(tiny.config)[1:]}


@PARAMETERS
def test_every_site_is_seen_as_it_is(make_tiny, config):
    tiny = make_tiny(config, 3)
    truth, found = one_by_one(tiny), observed(tiny, chunk=16, moments=input_names(in_memory(tiny), linears(config)))
    assert found.keys() == truth.keys()
    for name, x in truth.items():
        seen, scale = found[name], np.abs(x).max()
        assert (seen.rows, seen.histogram.count) == (len(x), x.size)
        np.testing.assert_allclose(seen.absmax, np.abs(x).max(axis=0), atol=1e-5 * scale)
        np.testing.assert_allclose(seen.square, (x**2).mean(axis=0), atol=1e-5 * scale**2)
        np.testing.assert_allclose(seen.moments, x.T @ x / len(x), atol=1e-5 * scale**2)
        found_ends, ends = (seen.histogram.low, seen.histogram.high), (min(0, x.min()), max(0, x.max()))
        np.testing.assert_allclose(found_ends, ends, atol=1e-5 * scale)
        counts, _ = np.histogram(x, seen.histogram.edges)
        moved = np.abs(np.cumsum(counts) - np.cumsum(seen.histogram.bins)).max()
        assert moved <= 0.005 * x.size  # by rounding, over a bin's edge


@PARAMETERS
def test_the_heads_inputs_are_those_of_the_float64_reference(make_tiny, config):
    """With M the second moments of x, Wᵀ M W are those of the logits x W."""
    tiny = make_tiny(config, 4)
    logits, _ = reference.forward(config, tiny.weights, IDS.tolist())
    head = linears(config)[-1]
    (seen,) = observed(tiny, wanted=[head], moments=input_names(in_memory(tiny), [head])).values()
    W, expected = tiny.weights["head.weight"].double().numpy().T, logits.numpy().T @ logits.numpy() / len(IDS)
    np.testing.assert_allclose(W.T @ seen.moments @ W, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize(("chunk", "steps"), [(1, 0), (7, 0), (64, 8)])
def test_how_the_text_is_cut_changes_nothing(make_tiny, chunk, steps):
    tiny = make_tiny(RRWKV)
    cut, whole = observed(tiny, chunk=chunk, steps=steps), observed(tiny, steps=0)
    for name, seen in whole.items():
        assert cut[name].rows == seen.rows
        np.testing.assert_allclose(cut[name].absmax, seen.absmax, rtol=1e-4, atol=1e-6)
        counts = [np.cumsum(found[name].histogram.bins) for found in (cut, whole)]
        assert np.abs(counts[0] - counts[1]).max() <= 0.005 * seen.histogram.count


def test_a_file_and_a_graph_in_memory_give_the_same_bits_every_time(make_tiny):
    tiny = make_tiny(RRWKV)
    name = next(iter(input_names(in_memory(tiny), linears(RRWKV))))
    runs = [observed(tiny, model, moments=[name]) for model in (None, tiny.path / "model.onnx", None)]
    for run in runs[1:]:
        for seen, again in zip(runs[0].values(), run.values(), strict=True):
            for one, other in zip(bits(seen), bits(again), strict=True):
                assert one == other


def bits(seen):
    moments = b"" if seen.moments is None else seen.moments.tobytes()
    return seen.absmax.tobytes(), seen.square.tobytes(), seen.histogram.bins.tobytes(), seen.histogram.limit, moments


def test_mediums_have_rows_only_where_an_interval_ends(make_tiny):
    tiny = make_tiny(RRWKV)
    rows = {name: seen.rows for name, seen in by_site(tiny, observed(tiny)).items()}
    made = {name for name in rows if name.endswith(("medium.key", "medium.down", "medium.up"))}
    assert {rows[name] for name in made} == {len(IDS) // RRWKV.medium.interval}
    assert {rows[name] for name in rows.keys() - made} == {len(IDS)}


def test_a_text_without_a_medium_leaves_its_sites_unseen(make_tiny):
    tiny = make_tiny(RRWKV)
    found = by_site(tiny, observed(tiny, passages=[IDS[:3]]))
    assert found["blocks.0.medium.key"].rows == 0
    assert found["blocks.0.medium.key"].square.tolist() == [0] * found["blocks.0.medium.key"].inputs
    with pytest.raises(ValueError, match="nothing was seen"):
        range_of(found["blocks.0.medium.key"].histogram, "minmax")
    assert found["head"].rows == 3


def test_what_is_held_does_not_grow_with_the_text(make_tiny):
    def held(found):
        own = [vars(seen) | vars(seen.histogram) for seen in found.values()]
        return sum(v.nbytes for values in own for v in values.values() if isinstance(v, np.ndarray))

    tiny = make_tiny(RRWKV)
    assert held(observed(tiny)) == held(observed(tiny, passages=PASSAGES * 5))


def test_single_rows_wait_only_until_there_are_enough():
    seen = Observation("x", 3)
    for count in range(1000):
        seen.add(np.full((1, 3), count, np.float32))
        assert count + 1 - seen.rows < 256
    seen.flush()
    assert (seen.rows, seen.absmax.tolist()) == (1000, [999.0] * 3)


def test_values_that_are_not_finite_are_named(make_tiny):
    tiny = make_tiny(RRWKV)
    graph = Rewriter(in_memory(tiny))
    graph.set_array("ln_out.weight", np.full_like(graph.array("ln_out.weight"), np.inf))
    with pytest.raises(RecipeError, match=r"ln_out.*not finite"):
        observed(tiny, graph.model)


def test_pieces_are_chunks_and_then_steps():
    cut = [piece.tolist() for piece in pieces([np.arange(9), np.arange(2)], 4, 3)]
    assert cut == [[0, 1, 2, 3], [4, 5], [6], [7], [8], [0], [1]]


def test_progress_ends_with_all_tokens(make_tiny):
    told = []
    observed(make_tiny(RWKV4), chunk=20, progress=lambda done, total: told.append((done, total)))
    assert told == sorted(told)
    assert told[-1] == (len(IDS), len(IDS))
