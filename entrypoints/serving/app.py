"""The model over HTTP: GET /ping, POST /invocations or / with pictures or a tensor, GET / for browsers.

Runs at the root of an unpacked model artifact, alone (`uvicorn app:app`, with worker processes) or under Ray
Serve (deployment.py). Errors are JSON: {"code": a word, "message": a sentence}.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from entrypoints.contract import (
    ACCEPTED_CONTENT_TYPES,
    ANSWERED_CONTENT_TYPES,
    CUSTOM_ATTRIBUTES,
    EXPLAINED_JSON,
    FORM,
    JSON,
    MAX_BODY_BYTES,
    UNSPECIFIC_CONTENT_TYPES,
)
from entrypoints.serving.protocol import ARTIFACT, error
from entrypoints.serving.workers import COUNT_VARIABLE, Busy, Pool, Processes, cores

PAGE = Path(__file__).with_name("page.html")
# For all requests together, including those still arriving: ten of the largest, thousands of usual ones.
MAX_HELD_BYTES = 10 * MAX_BODY_BYTES
# The largest body at 10 Mbit/s. SageMaker allows 60 s per invocation.
BODY_TIMEOUT_S = 20.0
RETRY_AFTER_S = 1
# nginx's status for a client that closed the connection: no answer, but a line in the log.
CLIENT_CLOSED = 499
CODES = {
    400: "bad_request",
    404: "not_found",
    405: "method_not_allowed",
    406: "not_acceptable",
    408: "slow_client",
    413: "too_large",
    415: "unsupported_media_type",
    500: "internal_error",
    503: "busy",
}


def build(make_pool: Callable[[], Pool]) -> Starlette:
    """The application, with its own pool of workers from startup to shutdown."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with make_pool() as pool:
            app.state.pool = pool
            app.state.held_bytes = 0
            yield

    app = Starlette(
        routes=[
            Route("/ping", ping),
            Route("/invocations", invocations, methods=["POST"]),
            Route("/", root, methods=["GET", "POST"]),
        ],
        middleware=[Middleware(Log)],
        exception_handlers={HTTPException: explain, ClientDisconnect: give_up, Exception: fail},
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    return app


async def ping(request: Request) -> Response:
    """200 while every worker is alive and has predicted."""
    return Response(status_code=200 if request.app.state.pool.healthy else 503)


async def root(request: Request) -> Response:
    """The page for browsers; SageMaker's adapter before Ray Serve posts invocations here."""
    return await invocations(request) if request.method == "POST" else FileResponse(PAGE)


async def invocations(request: Request) -> Response:
    """The answer to one body; refused before reading, if possible."""
    pool: Pool = request.app.state.pool
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if not accepts(content_type):
        accepted = ", ".join((*ACCEPTED_CONTENT_TYPES, FORM, "another image/*"))
        raise HTTPException(415, f"Content-Type must be one of {accepted}, or missing; not {content_type}.")
    accept = negotiate(", ".join(request.headers.getlist("accept")))
    if pool.full:
        raise busy()
    async with body_of(request) as body:
        try:
            async with pool.worker() as worker:
                if await request.is_disconnected():  # while waiting
                    raise ClientDisconnect
                request.state.engine = worker.engine
                status, content = await worker.answer(body, content_type, accept)
        except Busy:
            raise busy() from None
    headers = {CUSTOM_ATTRIBUTES: f"engine={request.state.engine}"}
    if status == 503:
        headers["Retry-After"] = str(RETRY_AFTER_S)
    return Response(content, status, headers, media_type=accept.partition(";")[0] if status == 200 else JSON)


def accepts(content_type: str) -> bool:
    """Whether bodies of this type are read; it is in lower case and without parameters."""
    named = (*ACCEPTED_CONTENT_TYPES, *UNSPECIFIC_CONTENT_TYPES)
    return content_type in named or content_type.startswith("image/")


def negotiate(accept: str) -> str:
    """The content type of the answer for an Accept header (RFC 9110, section 12.5.1); JSON wins ties.

    JSON's parameter explain=map is ours and is kept.
    """
    weights: dict[str, float] = {}
    explained = False
    for entry in accept.split(","):
        name, *parameters = (part.strip().lower() for part in entry.split(";"))
        weight = next((p.removeprefix("q=") for p in parameters if p.startswith("q=")), "1")
        if not weight.replace(".", "", 1).isdecimal():
            raise HTTPException(400, f"The Accept header holds a weight that is not a number: q={weight}.")
        weights[name] = float(weight)
        if asked := next((p for p in parameters if p.startswith("explain=")), None):
            if f"{JSON};{asked}" != EXPLAINED_JSON:
                raise HTTPException(400, f"The Accept header holds {asked}; it may be {EXPLAINED_JSON}.")
            explained = True
    if weights.keys() == {""}:
        return JSON

    def weigh(content_type: str) -> float:
        ranges = (content_type, "application/*", "*/*")  # the most specific one counts
        return next((weights[name] for name in ranges if name in weights), 0.0)

    best = max(ANSWERED_CONTENT_TYPES, key=weigh)
    if not weigh(best):
        raise HTTPException(406, f"Accept must allow one of {', '.join(ANSWERED_CONTENT_TYPES)}.")
    return EXPLAINED_JSON if explained and best == JSON else best


@asynccontextmanager
async def body_of(request: Request) -> AsyncIterator[bytes]:
    """The body, held during the context; read within limits of size, time and memory."""
    if int(request.headers.get("content-length", 0)) > MAX_BODY_BYTES:
        raise too_large()
    state = request.app.state
    chunks: list[bytes] = []
    size = 0
    try:
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                async for chunk in request.stream():
                    chunks.append(chunk)
                    size += len(chunk)
                    state.held_bytes += len(chunk)
                    if size > MAX_BODY_BYTES:
                        raise too_large()
                    if state.held_bytes > MAX_HELD_BYTES:
                        raise busy()
        except TimeoutError:
            message = f"The body did not arrive within {BODY_TIMEOUT_S:g} s."
            raise HTTPException(408, message, {"Connection": "close"}) from None
        request.state.bytes = size
        body = b"".join(chunks)
        chunks.clear()  # no second copy
        yield body
    finally:
        state.held_bytes -= size


def busy() -> HTTPException:
    message = f"More requests wait than can be answered soon; ask again in {RETRY_AFTER_S} s."
    return HTTPException(503, message, {"Retry-After": str(RETRY_AFTER_S)})


def too_large() -> HTTPException:
    return HTTPException(413, f"The body is larger than {MAX_BODY_BYTES:,} bytes.")


async def explain(_: Request, problem: Exception) -> Response:
    assert isinstance(problem, HTTPException)
    status, message = problem.status_code, problem.detail
    if status == 404:
        message = "There is nothing here; POST to /invocations or /, or GET /ping."
    elif status == 405:
        message = "This method is not allowed here; the header Allow names those that are."
    return Response(error(CODES[status], message), status, problem.headers, JSON)


async def give_up(_: Request, __: Exception) -> Response:
    return Response(status_code=CLIENT_CLOSED)


async def fail(_: Request, __: Exception) -> Response:
    """The answer to our own errors; the server logs the exception."""
    return Response(error(CODES[500], "The server made a mistake; its log says which."), 500, media_type=JSON)


class Log:
    """One JSON line per request on standard output, except healthy pings; never a picture's content."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        began = time.perf_counter()
        status = 500

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watch)
        finally:
            if (scope["path"], status) != ("/ping", 200):
                known = scope.get("state", {})
                line = {
                    "method": scope["method"],
                    "path": scope["path"],
                    "status": status,
                    "bytes": known.get("bytes", 0),
                    "ms": round(1000 * (time.perf_counter() - began), 1),
                    "engine": known.get("engine"),
                }
                print(json.dumps(line), flush=True)


app = build(lambda: Processes(ARTIFACT, int(os.environ.get(COUNT_VARIABLE, cores()))))
