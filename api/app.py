"""The application: its routers, what surrounds them, and the targets that are there from the start."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import structlog
from anyio import CapacityLimiter
from fastapi import FastAPI
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from starlette.concurrency import run_in_threadpool

from api import audit, batches, deployments, health, keys, logs, operations, predict, problems, rules, targets
from api.audited import Audited, seal_now_and_then
from api.authentication import Authentication, Door, Keyring
from api.body import BodyLimit
from api.quotas import Quotas
from api.requests import RequestIds
from api.waiting import Watch
from operations import targets as target_records
from operations.database import database
from operations.problems import UnknownTarget
from operations.settings import settings

log = structlog.get_logger(__name__)


def create_app() -> FastAPI:
    """The whole HTTP interface, over the database and the broker that the settings name."""
    app = FastAPI(
        title="modelport",
        version="0.1.0",
        description="Deploy machine-learning models: submit an operation, get 202, follow it to its end.",
        lifespan=_lifespan,
        openapi_url="/openapi.json",
        docs_url="/docs",
        redoc_url=None,
        redirect_slashes=False,
    )
    modules = (deployments, logs, predict, operations, batches, targets, keys, audit, health, problems)
    rules.check(module.router for module in modules)
    for module in modules:
        app.include_router(module.router)
    problems.install(app)
    _complete_documentation(app)
    app.state.door = Door(settings())
    app.state.quotas = Quotas(settings())
    app.add_middleware(BodyLimit)
    app.add_middleware(Authentication, door=app.state.door)
    app.add_middleware(Audited)
    app.add_middleware(RequestIds)
    return app


def _complete_documentation(app: FastAPI) -> None:
    generate = app.openapi

    def complete() -> dict[str, Any]:
        document = generate()
        if "Problem" not in document["components"]["schemas"]:
            document["components"]["schemas"]["Problem"] = problems.SCHEMA
            rules.describe(document)
        return document

    app.openapi = complete  # type: ignore[method-assign]  # FastAPI's own way to extend the document


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.watch = Watch(database())
    app.state.predict_threads = CapacityLimiter(settings().predict_threads)
    await run_in_threadpool(_seed_targets)
    ticking = [asyncio.create_task(_note_uses(app.state.door.keyring)), asyncio.create_task(seal_now_and_then())]
    yield
    for task in ticking:
        task.cancel()
    # a thread that is writing goes on to its end
    await asyncio.gather(*ticking, return_exceptions=True)
    await app.state.watch.closed_down()
    await run_in_threadpool(_note_last_uses, app.state.door.keyring)
    database().close()


async def _note_uses(keyring: Keyring) -> None:
    while True:
        await asyncio.sleep(settings().key_use_seconds)
        await run_in_threadpool(_note_last_uses, keyring)


def _note_last_uses(keyring: Keyring) -> None:
    try:
        keyring.note_uses()
    except SQLAlchemyError as error:
        log.warning("uses_not_noted", error=type(error).__name__)


def _seed_targets() -> None:
    """Register the targets of the settings that are not there; those that are there keep what an administrator gave."""
    for name, target in settings().targets.items():
        requires = targets.checked(target.uri, target.settings)
        # of several processes that start at once, one registers it
        with suppress(IntegrityError), database().write() as session:
            try:
                target_records.get(session, name)
            except UnknownTarget:
                target_records.put(session, name=name, requires=requires, **target.model_dump())
