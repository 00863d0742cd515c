"""ResNet18 on Ray Serve, written as the example of AWS's Ray container is.

https://aws.github.io/deep-learning-containers/ray/deployment/ec2/
"""

from pathlib import Path
from typing import Any

import inference  # type: ignore[import-not-found]  # beside it, as TorchServe has it
import torch
from ray import serve  # type: ignore[import-not-found]  # in the peers' environment only
from starlette.requests import Request


class Classifier:
    """The model and its only route."""

    def __init__(self) -> None:
        self.model = inference.model_fn(str(Path(__file__).parent))

    async def __call__(self, request: Request) -> dict[str, Any]:
        batch = inference.input_fn(await request.body(), "")
        with torch.no_grad():
            scores = self.model(batch)[0]
        return {"label": int(scores.argmax()), "probabilities": scores.softmax(0).tolist()}


app = serve.deployment(num_replicas=1)(Classifier).bind()
