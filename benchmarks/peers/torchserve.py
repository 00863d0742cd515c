"""TorchServe as SageMaker's PyTorch container starts it, but with its configuration in the file given."""

import sys

# In the peers' environment only.
from sagemaker_pytorch_serving_container import handler_service, torchserve  # type: ignore[import-not-found]

torchserve.TS_CONFIG_FILE = sys.argv[1]
torchserve.start_torchserve(handler_service=handler_service.__file__)
