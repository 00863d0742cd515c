"""`python -m local`: the local service by itself, until Ctrl-C."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from pathlib import Path

from local.endpoints.model_server import SERVERS, UVICORN, LaunchError
from local.home.home import OtherRegion
from local.processes.ending import end_soon
from local.service import HomeInUse, LocalService


def main() -> int:
    """Serve one home folder; exit code 2 if it is in use, of another region, or the port is taken."""
    parser = argparse.ArgumentParser(prog="python -m local", description=__doc__)
    parser.add_argument("--home", type=Path, default=Path(".local-sagemaker"), help="where everything lies")
    parser.add_argument("--port", type=_port, default=4566, help="0 takes a free one (default: 4566)")
    parser.add_argument("--region", default="us-east-1", help="the region in ARNs (default: us-east-1)")
    parser.add_argument("--server", choices=SERVERS, default=UVICORN, help="what serves endpoints (uvicorn)")
    arguments = parser.parse_args()
    ended = threading.Event()

    def end(number: int, _: object) -> None:
        if ended.is_set():
            end_soon(number)
            raise KeyboardInterrupt  # the second time: LocalService.stop waits no longer
        ended.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)
    try:
        with LocalService(arguments.home, arguments.region, arguments.port, arguments.server) as service:
            print(f"{service.url} serves {service.home.root}; Ctrl-C ends it", flush=True)
            for page in service.pages():
                print(f"in a browser: {page}", flush=True)
            ended.wait()
            print("stopping", flush=True)
    except (HomeInUse, OtherRegion, LaunchError, OSError) as error:
        print(f"local: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"{text} is no port; choose one of 0 to 65535")
    return port


if __name__ == "__main__":
    sys.exit(main())
