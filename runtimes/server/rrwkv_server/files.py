"""Files for a browser: a chat page at "/", and at "/bundle/" those of the bundle, for a page that runs it itself."""

from __future__ import annotations

import os
from pathlib import Path

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from rrwkv_runtime import Model
from rrwkv_runtime.manifest import MANIFEST_NAME, file_sha256, resolve_inside
from rrwkv_server.openai.errors import ApiError

# What browsers insist on; the tables of systems differ.
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".map": "application/json",
    ".svg": "image/svg+xml",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
    ".onnx": "application/octet-stream",
    ".data": "application/octet-stream",
}


def media_type(name: str) -> str | None:
    return _TYPES.get(Path(name).suffix)


class _Page(StaticFiles):
    """A folder of files, looked at again by browsers each time: their names stay when the page changes."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        if isinstance(response, FileResponse) and (kind := media_type(str(response.path))):
            response.headers["content-type"] = kind
        response.headers["cache-control"] = "no-cache"
        return response


def mount_page(app: FastAPI, folder: Path) -> None:
    """Show the page of this folder at "/"; after all other routes."""
    app.mount("/", _Page(directory=folder, html=True), name="page")


class BundleFiles:
    """The files that the manifest lists, as they were when the model was loaded, by their sha256."""

    def __init__(self, model: Model) -> None:
        self._root = model.path
        self._digests = {entry.name: entry.sha256 for entry in model.manifest.files}
        self._digests[MANIFEST_NAME] = file_sha256(model.path / MANIFEST_NAME)
        self._found = {name: _identity(resolve_inside(model.path, name)) for name in self._digests}

    def router(self) -> APIRouter:
        routes = APIRouter(include_in_schema=False)
        routes.add_api_route("/bundle/{name:path}", self.answer, methods=["GET", "HEAD"])
        return routes

    async def answer(self, name: str, http: Request) -> Response:
        """One file, whole or a range of it; nothing of it where the client has it. Raises ApiError, DamagedBundle."""
        if name not in self._digests:
            raise ApiError(404, "the bundle's manifest lists no such file")
        path = resolve_inside(self._root, name)
        if _identity(path) != self._found[name]:
            raise ApiError(500, f"{name} was changed since the server started; start it again")
        headers = {"etag": f'"{self._digests[name]}"', "cache-control": "no-cache"}
        if headers["etag"] in http.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return FileResponse(path, headers=headers, media_type=media_type(name) or "application/octet-stream")


def _identity(path: Path) -> tuple[int, int, int]:
    found = os.stat(path)
    return found.st_ino, found.st_size, found.st_mtime_ns
