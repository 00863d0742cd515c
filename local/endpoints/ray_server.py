"""Ray Serve as SageMaker's container runs it, behind an adapter like the container's.

A program for the environment that scripts/ray.sh makes. Run it in the folder of an unpacked model artifact:

    python -P ray_server.py FOLDER      an empty folder of a short path, for Ray's sockets and logs

/ping asks Ray whether it is healthy; POST /invocations goes to POST /, with the headers that the container
passes on. All other requests, such as those for the page, go to the application unchanged. Other web sites
are refused (wire/guard.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import runpy
import socket
import sys
from collections.abc import AsyncIterator, Collection, Iterator, Mapping
from http import HTTPMethod
from pathlib import Path

import aiohttp
import ray  # type: ignore[import-not-found]
import uvicorn
import yaml
from ray import serve
from ray.serve.scripts import run  # type: ignore[import-not-found]
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

# By its path: in Ray's environment this folder is not a package.
guarded = runpy.run_path(str(Path(__file__).parents[1] / "wire" / "guard.py"))["guarded"]
HOST = "127.0.0.1"
REQUEST_HEADERS = ("accept", "content-type", "content-length")
RESPONSE_HEADERS = ("allow", "content-type", "retry-after")
SAGEMAKER_HEADERS = "x-amzn-sagemaker-"


def build(url: str) -> Starlette:
    """The adapter in front of Ray Serve at `url`."""

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(url, connector=connector, auto_decompress=False) as session:
            app.state.session = session
            yield

    return Starlette(
        routes=[Route("/ping", ping), Route("/{path:path}", forward, methods=list(HTTPMethod))],
        lifespan=lifespan,
    )


async def ping(request: Request) -> Response:
    """What Ray says of its health; 503 while it does not answer."""
    try:
        async with request.app.state.session.get("/-/healthz") as answer:
            return Response(status_code=200 if answer.status == 200 else 503)
    except aiohttp.ClientError:
        return Response(status_code=503)


async def forward(request: Request) -> Response:
    """Ray Serve's answer to the same request."""
    session: aiohttp.ClientSession = request.app.state.session
    invocation = (request.method, request.url.path) == (HTTPMethod.POST, "/invocations")
    async with session.request(
        request.method,
        "/" if invocation else request.url.path,
        data=request.stream() if request.method == HTTPMethod.POST else None,
        headers=_passed(request.headers, REQUEST_HEADERS),
    ) as answer:
        return Response(await answer.read(), answer.status, _passed(answer.headers, RESPONSE_HEADERS))


def _passed(headers: Mapping[str, str], names: Collection[str]) -> dict[str, str]:
    return {
        name: value
        for name, value in headers.items()
        if name.lower() in names or name.lower().startswith(SAGEMAKER_HEADERS)
    }


@contextlib.contextmanager
def ray_serve(port: int, folder: Path) -> Iterator[None]:
    """`serve run config.yaml` on this port of the loopback; all of Ray's processes end with this one."""
    config = yaml.safe_load(Path("config.yaml").read_text())
    config["http_options"] = {"host": HOST, "port": port}
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    try:
        ray.init(namespace="serve", include_dashboard=False, _temp_dir=str(folder))
        run.main(["--non-blocking", str(path)], standalone_mode=False)
        yield
    finally:
        ray.shutdown()


async def watch(server: uvicorn.Server) -> None:
    """Wait until the application is deployed; end the server if it cannot be."""
    statuses: set[str] = set()
    while "RUNNING" not in statuses and not server.should_exit:
        await asyncio.sleep(0.5)
        applications = serve.status().applications.values()
        statuses = {application.status for application in applications}
        if "DEPLOY_FAILED" in statuses:
            print(*(application.message for application in applications), file=sys.stderr, flush=True)
            server.should_exit = True


async def main(folder: str) -> None:
    """Run Ray Serve and the adapter until SIGTERM."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
    with ray_serve(port, Path(folder)):
        adapter = build(f"http://{HOST}:{port}")
        server = uvicorn.Server(
            uvicorn.Config(guarded(adapter), HOST, port=0, access_log=False, ws="none", timeout_keep_alive=75)
        )
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(watch(server))
            await server.serve()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
