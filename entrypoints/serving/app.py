"""The model over HTTP: GET /ping, and POST /invocations or / with a picture or a tensor.

Runs at the root of an unpacked model artifact, on its own (`uvicorn app:app`) or under Ray Serve.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import torch
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

import entrypoints
from entrypoints.contract import ACCEPTED_CONTENT_TYPES, ANSWERED_CONTENT_TYPES, NPY
from entrypoints.serving import predictor

ARTIFACT = Path(entrypoints.__path__[0]).parent
# SageMaker's own limit for the body of InvokeEndpoint.
MAX_BODY_BYTES = 25_000_000
# One request decodes while another one predicts; torch uses the cores by itself.
SLOTS = 2


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    """Load the model and predict once before the first request is taken."""
    model = predictor.load(ARTIFACT)
    predictor.predict(model, torch.zeros(1, 3, model.image_size, model.image_size))
    app.state.model = model
    app.state.limiter = anyio.CapacityLimiter(SLOTS)
    yield


async def ping(request: Request) -> Response:
    """200 once the model has predicted; a server that could not load it never gets here."""
    return Response(status_code=200 if hasattr(request.app.state, "model") else 503)


async def invocations(request: Request) -> Response:
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type not in ACCEPTED_CONTENT_TYPES:
        raise HTTPException(415, f"Content-Type must be one of {', '.join(ACCEPTED_CONTENT_TYPES)}.")
    accept = negotiate(request.headers.get("accept", "*/*"))
    body = await read_body(request)

    def answer() -> bytes:
        model: predictor.Model = request.app.state.model
        scores = predictor.predict(model, predictor.decode(model, body, content_type))
        return predictor.encode(model, scores, accept, single=content_type != NPY)

    try:
        content = await anyio.to_thread.run_sync(answer, limiter=request.app.state.limiter)
    except predictor.InputError as error:
        raise HTTPException(400, str(error)) from None
    return Response(content, media_type=accept)


def negotiate(accept: str) -> str:
    """The content type of the answer for an Accept header (RFC 9110, section 12.5.1); JSON wins ties."""
    weights = dict.fromkeys(ANSWERED_CONTENT_TYPES, 0.0)
    for entry in accept.split(","):
        name, *parameters = (part.strip().lower() for part in entry.split(";"))
        weight = next((p.removeprefix("q=") for p in parameters if p.startswith("q=")), "1")
        if not weight.replace(".", "", 1).isdecimal():
            raise HTTPException(400, f"The Accept header holds a weight that is no number: q={weight}.")
        for candidate in weights:
            if name in {candidate, "*/*", "application/*", ""}:
                weights[candidate] = max(weights[candidate], float(weight))
    best = max(weights, key=lambda candidate: weights[candidate])
    if not weights[best]:
        raise HTTPException(406, f"Accept must allow one of {', '.join(ANSWERED_CONTENT_TYPES)}.")
    return best


async def read_body(request: Request) -> bytes:
    """The body, read no further than the limit."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise HTTPException(413, f"The body is larger than {MAX_BODY_BYTES:,} bytes.")
    return bytes(body)


async def explain(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, headers=error.headers)


app = Starlette(
    routes=[
        Route("/ping", ping),
        Route("/invocations", invocations, methods=["POST"]),
        # SageMaker's adapter in front of Ray Serve posts here.
        Route("/", invocations, methods=["POST"]),
    ],
    exception_handlers={HTTPException: explain},
    lifespan=lifespan,
)
