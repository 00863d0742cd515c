"""What the forking process imports before it forks (forked.py): libraries, and AWS's service models.

A separate module, since multiprocessing's fork server can only import. It imports none of the project's
modules.
"""

import boto3
import numpy  # noqa: F401
import PIL.Image  # noqa: F401
import requests  # noqa: F401
import rich.live  # noqa: F401
import sagemaker.mlops.workflow.steps  # noqa: F401
import service_models  # noqa: F401
import torch  # noqa: F401
import torchvision  # noqa: F401

for name in ("lambda", "s3", "sagemaker", "sts"):
    boto3.client(name)
