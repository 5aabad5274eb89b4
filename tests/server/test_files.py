"""What a browser gets: the page, and the bundle's files, with the headers that it insists on."""

from __future__ import annotations

import hashlib
import shutil

import pytest
from serving import BUNDLE

from rrwkv_runtime.manifest import Manifest
from rrwkv_runtime.model import Model


@pytest.fixture
def page(tmp_path):
    folder = tmp_path / "web"
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_text("<h1>chat</h1>")
    (folder / "assets" / "run.wasm").write_bytes(b"\0asm")
    (folder / "assets" / "run.mjs").write_text("export {}")
    return folder


def test_a_page_is_isolated_and_its_files_are_of_their_types(client_of, page):
    client = client_of(page=page)
    for path, kind in [("/", "text/html"), ("/assets/run.wasm", "application/wasm"), ("/assets/run.mjs", "text/java")]:
        answer = client.get(path)
        assert (answer.status_code, answer.headers["content-type"].startswith(kind)) == (200, True)
        assert answer.headers["cross-origin-opener-policy"] == "same-origin"
        assert answer.headers["cross-origin-embedder-policy"] == "require-corp"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert client.get(path, headers={"if-none-match": answer.headers["etag"]}).status_code == 304
    assert client.get("/../settings.py").status_code == client.get("/%2e%2e/x").status_code == 404
    assert client.get("/v1/models").json()["data"][0]["id"] == "bundle"


def test_every_file_of_the_bundle_is_there_by_its_sha256(client):
    for entry in Manifest.load(BUNDLE).files:
        answer = client.get(f"/bundle/{entry.name}")
        assert answer.headers["etag"] == f'"{entry.sha256}"'
        assert hashlib.sha256(answer.content).hexdigest() == entry.sha256
        assert client.get(f"/bundle/{entry.name}", headers={"if-none-match": f'"{entry.sha256}"'}).status_code == 304
        assert int(client.head(f"/bundle/{entry.name}").headers["content-length"]) == entry.bytes
    assert client.get("/bundle/manifest.json").json()["format"] == "rrwkv-bundle"


def test_the_api_is_described_for_people(client):
    page = client.get("/docs").text
    for said in ("POST /v1/chat/completions", "<code>reasoning_effort</code>", "number from 0 to 2", "id='Message'"):
        assert said in page
    assert "//" not in page  # it loads nothing from elsewhere


def test_ranges(client):
    whole = client.get("/bundle/model.onnx.data").content
    part = client.get("/bundle/model.onnx.data", headers={"range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, whole[10:20])
    assert part.headers["content-range"] == f"bytes 10-19/{len(whole)}"
    assert client.get("/bundle/model.onnx.data", headers={"range": f"bytes={len(whole)}-"}).status_code == 416
    other = {"range": "bytes=10-19", "if-range": '"another"'}
    assert client.get("/bundle/model.onnx.data", headers=other).content == whole


@pytest.mark.parametrize("name", ["other.txt", "../vectors.json", "%2e%2e/vectors.json", "", "variants", "model.onnx/"])
def test_no_other_file_is(client, name):
    assert client.get(f"/bundle/{name}").status_code == 404


def test_a_file_that_changed_is_not_given_as_what_it_was(client_of, tmp_path):
    bundle = shutil.copytree(BUNDLE, tmp_path / "bundle")
    client = client_of(Model.load(bundle, threads=1))
    (bundle / "tokenizer.json").write_text("{}")
    answer = client.get("/bundle/tokenizer.json")
    assert (answer.status_code, "was changed since the server started" in answer.text) == (500, True)
    (bundle / "tokenizer.json").unlink()
    assert client.get("/bundle/tokenizer.json").status_code == 500
