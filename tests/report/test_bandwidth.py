"""What the probe reads, of a buffer how large, and by which patterns; and what is known of the caches."""

from __future__ import annotations

import numpy as np
import pytest

from rrwkv_export.bench.bandwidth import ROUNDS, Bandwidth, Probe, buffer_of, measured
from rrwkv_export.bench.caches import Cache, caches, free_memory, holding, past
from rrwkv_export.bench.readers import FILL, LEAST, PORTABLE, readers, streams_of

MIB = 2**20
ZEN = (Cache(1, (32 * 2**10,) * 2), Cache(2, (2**19,) * 2), Cache(3, (32 * MIB,)))


def put(root, processor, index, level, kind, size, shared):
    place = root / f"cpu{processor}" / "cache" / f"index{index}"
    place.mkdir(parents=True)
    for name, value in {"level": level, "type": kind, "size": size, "shared_cpu_list": shared}.items():
        (place / name).write_text(f"{value}\n")


@pytest.fixture
def root(tmp_path):
    """Two large cores that share their last cache, and a small one with its own of the second level."""
    for number in (0, 1):
        put(tmp_path, number, 0, 1, "Data", "64K", number)
        put(tmp_path, number, 1, 1, "Instruction", "64K", number)
        put(tmp_path, number, 2, 2, "Unified", "1024K", number)
        put(tmp_path, number, 3, 3, "Unified", "12M", "0-1")
    put(tmp_path, 2, 0, 1, "Data", "32K", 2)
    put(tmp_path, 2, 2, 2, "Unified", "512K", 2)
    return tmp_path


def test_caches_by_level_and_each_once(root):
    assert caches(root, (0, 1, 2)) == (
        Cache(1, (2**16, 2**16, 2**15)),
        Cache(2, (MIB, MIB, MIB // 2)),
        Cache(3, (12 * MIB,)),
    )
    assert [str(cache) for cache in caches(root, (0, 1, 2))] == [
        "L1 2 x 64 KiB + 32 KiB",
        "L2 2 x 1 MiB + 512 KiB",
        "L3 12 MiB",
    ]
    assert [str(cache) for cache in caches(root, (2,))] == ["L1 32 KiB", "L2 512 KiB"]


@pytest.mark.parametrize(("name", "value"), [("size", "K"), ("size", "many"), ("level", ""), ("size", "0K")])
def test_a_cache_that_is_not_told_right_is_left_out(root, name, value):
    (root / "cpu2" / "cache" / "index2" / name).write_text(value)
    assert [cache.level for cache in caches(root, (2,))] == [1]


def test_nothing_is_known_where_nothing_is_told(tmp_path):
    assert caches(tmp_path, (0,)) == ()
    assert free_memory(tmp_path / "meminfo", tmp_path) is None
    assert past((), None) == 2**30


def test_what_a_cache_holds_for_so_many_threads():
    assert holding(10**6, 2, ZEN) == ZEN[1]
    assert holding(10**6, 1, ZEN) == ZEN[2]
    assert holding(40 * MIB, 2, ZEN) is None
    assert holding(1, 1, ()) is None


def test_the_buffer_is_past_all_caches_as_far_as_memory_goes():
    assert past(ZEN, None) == 256 * MIB
    assert past((Cache(3, (32 * MIB,) * 8),), 2**40) == 8 * 8 * 32 * MIB
    assert past((Cache(2, (MIB,)),), 2**40) == 256 * MIB
    assert past(ZEN, 400 * MIB) == 100 * MIB


def test_the_memory_of_the_container_counts(tmp_path):
    (tmp_path / "meminfo").write_text("MemTotal: 9000 kB\nMemFree: 100 kB\nMemAvailable: 8000 kB\n")
    assert free_memory(tmp_path / "meminfo", tmp_path) == 8000 * 1024
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("1000000\n")
    assert free_memory(tmp_path / "meminfo", tmp_path) == 8000 * 1024
    (tmp_path / "memory.max").write_text("3000000\n")
    assert free_memory(tmp_path / "meminfo", tmp_path) == 2000000
    (tmp_path / "memory.current").write_text("4000000\n")
    assert free_memory(tmp_path / "meminfo", tmp_path) == 0


@pytest.mark.parametrize("name", readers())
@pytest.mark.parametrize("place", [0, 1, 63, 4095, 4096, 8 * LEAST - 1, -LEAST, -64, -1])
def test_a_pattern_reads_every_byte(name, place):
    """What it finds depends on each; a search, on what is sought."""
    buffer = buffer_of(16 * LEAST, 1)
    alike = readers()[name](buffer)
    buffer[place] = 2
    assert readers()[name](buffer) != alike


def test_a_library_without_streams_is_no_reader():
    assert streams_of(object()) == {}
    assert set(PORTABLE) <= set(readers())


@pytest.mark.parametrize(("size", "threads", "stretch"), [(10**6, 2, 10**5), (10**6, 3, 3 * 10**6), (10**5, 1, 10**5)])
def test_the_rounds_read_all_of_the_buffer(size, threads, stretch, monkeypatch):
    monkeypatch.setattr("rrwkv_export.bench.bandwidth._STRETCH", stretch)
    buffer, read = buffer_of(size, threads), np.zeros(size, int)

    def mark(part):
        start = part.ctypes.data - buffer.ctypes.data
        read[start : start + len(part)] += 1

    probe = Probe(buffer, threads, {"mark": mark})
    rounds = max(1, round(size / (threads * stretch)))
    assert rounds <= ROUNDS
    probe.turn()
    probe.close()
    assert (read[: probe.size] >= 1).all()
    assert probe.size > 0.95 * size
    assert probe.found().size == probe.size
    assert read.sum() / ROUNDS == pytest.approx(threads * stretch, rel=0.1)


def test_the_fastest_pattern_is_the_memory(monkeypatch):
    clock = iter(np.arange(10**6) * 1.0)
    monkeypatch.setattr("rrwkv_export.bench.bandwidth.perf_counter", lambda: next(clock))
    slow = {"slow": lambda part: next(clock), "fast": lambda part: None}
    monkeypatch.setattr("rrwkv_export.bench.bandwidth.readers", lambda: slow)
    monkeypatch.setattr("rrwkv_export.bench.bandwidth._STRETCH", 4096)
    assert measured(buffer_of(4096, 1), 1, turns=1) == Bandwidth(4096.0, "fast", 4096)


def test_the_buffer_is_filled_to_its_end():
    buffer = buffer_of(100_001, 3)
    assert len(buffer) == 100_001
    assert (buffer == FILL).all()
    assert buffer.ctypes.data % 2**21 == 0
