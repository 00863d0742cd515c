"""The server on port 8080 of SageMaker's serving container, in front of Ray Serve: adapter.py RAY_PORT PORT.

After scripts/docker/ray/sagemaker_serve.py in aws/deep-learning-containers: /ping asks /-/healthz; POST
/invocations goes to POST /, with only the headers Content-Type, Accept and X-Amzn-SageMaker-*, in both
directions. Runs in the replica's environment.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import AsyncIterator, Mapping

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


def passed(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower().startswith("x-amzn-sagemaker-")}


async def ping(request: Request) -> Response:
    try:
        answer = await request.app.state.client.get("/-/healthz", timeout=5)
    except httpx.HTTPError:
        return Response(status_code=503)
    return Response(status_code=200 if answer.status_code == 200 else 503)


async def invocations(request: Request) -> Response:
    kinds = {name: request.headers.get(name, "application/json") for name in ("content-type", "accept")}
    answer = await request.app.state.client.post(
        "/", content=await request.body(), headers={**passed(request.headers), **kinds}
    )
    kind = answer.headers.get("content-type", kinds["accept"])
    return Response(answer.content, answer.status_code, passed(answer.headers), media_type=kind)


def build(ray_port: int) -> Starlette:
    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{ray_port}", timeout=300) as client:
            app.state.client = client
            yield

    routes = [Route("/ping", ping), Route("/invocations", invocations, methods=["POST"])]
    return Starlette(routes=routes, lifespan=lifespan)


if __name__ == "__main__":
    uvicorn.run(build(int(sys.argv[1])), host="127.0.0.1", port=int(sys.argv[2]), log_level="warning")
