"""What people write for the SageMaker PyTorch toolkit: a model, and a picture as its input.

The rest is the toolkit's: predict_fn under no_grad, output_fn with the scores as JSON.
"""

import json
from io import BytesIO
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import load_file
from torchvision import models, transforms

TRANSFORM = transforms.Compose(
    [
        transforms.Resize(256),
        transforms.CenterCrop(224),
        transforms.ToTensor(),
        transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ]
)


def model_fn(model_dir: str) -> torch.nn.Module:
    classes = json.loads(Path(model_dir, "model.json").read_text(encoding="utf-8"))["classes"]
    network: torch.nn.Module = models.resnet18(weights=None, num_classes=len(classes))
    network.load_state_dict(load_file(Path(model_dir, "model.safetensors")))
    return network.eval()


def input_fn(body: bytes, _content_type: str) -> torch.Tensor:
    picture = Image.open(BytesIO(body)).convert("RGB")
    batch: torch.Tensor = TRANSFORM(picture).unsqueeze(0)
    return batch
