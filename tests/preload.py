"""What the process that forks has before it forks (forked.py): libraries, and AWS's service models.

A module of its own, since multiprocessing's fork server can only be told to import. Of the project's modules
none is imported.
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
