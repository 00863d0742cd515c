"""The ASGI app as a Ray Serve deployment; config.yaml names `deployment:app`."""

from ray import serve  # type: ignore[import-not-found]  # in the serving image only
from starlette.applications import Starlette

from entrypoints.serving.app import build
from entrypoints.serving.protocol import ARTIFACT, TIMEOUT_S
from entrypoints.serving.replica import InProcess
from entrypoints.serving.workers import cores

pool = InProcess(ARTIFACT)


def application() -> Starlette:
    return build(lambda: pool)


class Classifier:
    """The model behind the ASGI app: one worker; Ray keeps one per core."""

    async def check_health(self) -> None:
        """Raise if a prediction does not end; Ray then replaces this replica."""
        if not pool.alive:
            raise TimeoutError(f"a prediction has taken longer than {TIMEOUT_S} s")


app = serve.deployment(num_replicas=cores())(serve.ingress(application)(Classifier)).bind()
