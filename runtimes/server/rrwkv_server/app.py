"""The whole application: OpenAI's API, what watches over it, and the page."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.responses import HTMLResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from rrwkv_runtime import Model
from rrwkv_server import reference
from rrwkv_server.files import BundleFiles, mount_page
from rrwkv_server.guard import Guard
from rrwkv_server.openai import routes
from rrwkv_server.openai.errors import add_handlers
from rrwkv_server.openai.service import Service
from rrwkv_server.settings import Settings
from rrwkv_server.version import __version__

_EXPOSED = ["etag", "accept-ranges", "content-range", "retry-after"]


class Health(BaseModel):
    """status: "ok" for as long as it answers."""

    status: str
    model: str
    active: int
    waiting: int


def create_app(model: Model, settings: Settings) -> FastAPI:
    """An ASGI application that answers with this model. Raises TokenizerError for a bundle without a tokenizer.

    Where its lifespan does not come to its end, `state.close()` is to be called: no step may run when Python ends.
    """
    service = Service(model, settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.scheduler.open()
        yield
        await run_in_threadpool(service.scheduler.close)

    app = FastAPI(
        title="rrwkv serve",
        description=f"OpenAI's API over {settings.name}, an RWKV model.",
        version=__version__,
        lifespan=lifespan,
        middleware=_middleware(settings, service),
        **_NO_PAGES,
    )
    app.state.close = service.scheduler.close
    add_handlers(app)
    app.include_router(routes.router(service))
    app.include_router(BundleFiles(model).router())
    _add_watching(app, service)
    if settings.page:
        mount_page(app, settings.page)
    return app


_NO_PAGES: dict[str, Any] = {"docs_url": None, "redoc_url": None}  # they load scripts from elsewhere


def _middleware(settings: Settings, service: Service) -> list[Middleware]:
    """The first is the outermost. Answers of the guard have to be readable for pages that may ask, too."""
    guard = Middleware(Guard, settings=settings, metrics=service.metrics)
    if not settings.allow_origins:
        return [guard]
    cors = Middleware(
        CORSMiddleware,
        allow_origins=settings.allow_origins,
        allow_methods=["GET", "POST"],
        allow_headers=["*"],
        expose_headers=_EXPOSED,
    )
    return [cors, guard]


def _add_watching(app: FastAPI, service: Service) -> None:
    @app.get("/health")
    async def health() -> Health:
        """Whether it answers."""
        scheduler = service.scheduler
        return Health(status="ok", model=service.name, active=scheduler.active, waiting=scheduler.waiting)

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(reference.page(app.openapi()))

    @app.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    async def metrics() -> Response:
        """For Prometheus."""
        return Response(service.metrics.text(), media_type=CONTENT_TYPE_LATEST)
