"""The ASGI app as a Ray Serve deployment; config.yaml names `deployment:app`."""

from ray import serve  # type: ignore[import-not-found]  # in the serving image only

from entrypoints.serving.app import app as asgi_app


class Classifier:
    """The model behind the ASGI app."""


app = serve.deployment(serve.ingress(asgi_app)(Classifier)).bind()
