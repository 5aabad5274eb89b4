"""`rrwkv web`: a folder for any host, and a bundle in one file; whole or not at all."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from rrwkv_export import web
from rrwkv_export.commands import main
from rrwkv_export.web import BUNDLE, MARKER, needed_files
from rrwkv_runtime.manifest import Manifest

PAGE = ("index.html", "app.js", "_headers")


@pytest.fixture
def page(tmp_path, monkeypatch):
    """Something that was built: what the page is made of does not matter here."""
    folder = tmp_path / "page"
    (folder / "runtime").mkdir(parents=True)
    for name in (*PAGE, "runtime/ort.wasm"):
        (folder / name).write_text(name)
    (folder / MARKER).write_text(json.dumps({"version": "1", "files": [*PAGE, "runtime"]}))
    monkeypatch.setattr(web, "page_folder", lambda: folder)
    return folder


def run(*arguments, scheme="none"):
    with pytest.raises(SystemExit) as left:
        main(["web", *map(str, arguments), *(["--scheme", scheme] if scheme else [])])
    return left.value.code


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_the_folder_has_the_page_and_what_runs_by_default(page, bundle, tmp_path, capsys):
    manifest = Manifest.load(bundle)
    site = tmp_path / "a site"
    assert run(bundle, "-o", site) == 0
    assert names(site) == sorted([*names(page), *(f"{BUNDLE}/{name}" for name in needed_files(manifest))])
    assert (site / BUNDLE / "manifest.json").read_bytes() == (bundle / "manifest.json").read_bytes()
    assert "model.onnx.data" in needed_files(manifest)
    said = capsys.readouterr().out
    assert f"python3 -m http.server -d '{site}' 8000" in said
    assert "http://localhost:8000" in said


def test_such_a_folder_is_replaced_only_by_force_and_nothing_else_ever(page, bundle, tmp_path, capsys):
    site = tmp_path / "site"
    assert run(bundle, "-o", site) == 0
    assert run(bundle, "-o", site) == 1
    assert "or pass --force to replace it" in capsys.readouterr().err
    (page / "app.js").write_text("newer")
    assert run(bundle, "-o", site, "--force") == 0
    assert (site / "app.js").read_text() == "newer"
    for place in (site / "thesis.tex", site / BUNDLE / "thesis.tex"):
        place.write_text("years")
        assert run(bundle, "-o", site, "--force") == 1
        assert "also holds 'thesis.tex'" in capsys.readouterr().err
        place.unlink()
    (tmp_path / "own").mkdir()
    assert run(bundle, "-o", tmp_path / "own", "--force") == 1
    assert "is not a page with a bundle" in capsys.readouterr().err


def test_a_bundle_in_one_file_is_stored_as_it_is_with_the_manifest_first(bundle, tmp_path):
    for name in ("one.zip", "two.zip"):
        assert run(bundle, "--archive", tmp_path / name) == 0
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "one.zip") as archive:
        assert archive.namelist() == needed_files(Manifest.load(bundle))
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}
        assert not any(entry.flag_bits & 8 for entry in archive.infolist())  # sizes stand before the files
        assert all(archive.read(name) == (bundle / name).read_bytes() for name in archive.namelist())


def test_a_bad_bundle_is_one_line_and_leaves_nothing(page, bundle, tmp_path, capsys):
    data = bundle / "model.onnx.data"
    content = bytearray(data.read_bytes())
    content[1000] ^= 1
    data.write_bytes(content)
    assert run(bundle, "-o", tmp_path / "out" / "site", "--archive", tmp_path / "out" / "one.zip") == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "model.onnx.data is not the file that was exported" in error
    assert not (tmp_path / "out").exists()


def test_a_bundle_of_floats_is_quantized_first_and_another_is_left_as_it_is(page, bundle, tmp_path, capsys):
    assert run(bundle, "-o", tmp_path / "site", scheme=None) == 0
    assert "quantized to int8 for the browser (--scheme none leaves it as it is)" in capsys.readouterr().out
    small = tmp_path / "site" / BUNDLE
    assert Manifest.load(small).quantization["scheme"] == "int8"
    assert run(small, "-o", tmp_path / "again", scheme=None) == 0
    assert (tmp_path / "again" / BUNDLE / "manifest.json").read_bytes() == (small / "manifest.json").read_bytes()
    assert run(small, "-o", tmp_path / "third", scheme="int4") == 1
    assert "already quantized (int8)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        ((), 2, "give -o DIR, or --archive FILE"),
        (("--archive", "bundle.tar"), 1, "name it bundle.zip"),
        (("--archive", "there.zip"), 1, "there.zip exists already; choose another name"),
    ],
)
def test_what_cannot_be_written_is_one_line(bundle, tmp_path, monkeypatch, capsys, arguments, status, message):
    monkeypatch.chdir(tmp_path)
    Path("there.zip").touch()
    assert run(bundle, *arguments) == status
    assert message in capsys.readouterr().err


def test_a_page_that_is_not_built_says_how_to_build_it(bundle, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(web.resources, "files", lambda _: tmp_path)
    assert run(bundle, "-o", tmp_path / "site") == 1
    assert "run `make web`" in capsys.readouterr().err
    assert not (tmp_path / "site").exists()


def test_a_bundle_that_works_on_ids_is_refused(page, bundle, tmp_path, monkeypatch, capsys):
    from dataclasses import replace

    monkeypatch.setattr(web, "verify_files", lambda *_: None)
    whole = Manifest.load(bundle)
    monkeypatch.setattr(web.Manifest, "load", lambda _: replace(whole, tokenizer=None))
    assert run(bundle, "-o", tmp_path / "site") == 1
    assert "it has no tokenizer, and a chat needs one" in capsys.readouterr().err
