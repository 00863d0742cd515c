"""The endpoint answers as the evaluation did: every picture of a test set, with every engine."""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from entrypoints.contract import ANY_IMAGE, CUSTOM_ATTRIBUTES, ENGINES
from local.endpoints.model_server import RAY, UVICORN, LaunchError, require
from tests.entrypoints.conftest import Run
from tests.entrypoints.pictures import COLORS, write_classes
from tests.entrypoints.serving.servers import served


def write_test_set(folder: Path) -> Path:
    """Pictures of all kinds that cameras and programs write, some of them between the two classes."""
    write_classes(folder, 4)
    between = np.linspace(COLORS["ants"], COLORS["bees"], 8)
    noise = np.random.default_rng(0).normal(0, 40, (8, 70, 90, 3))
    for number, pixels in enumerate((between[:, None, None] + noise).clip(0, 255).astype(np.uint8)):
        picture = Image.fromarray(pixels)
        exif = Image.Exif()
        exif[0x0112] = number + 1  # orientation
        picture.save(folder / "ants" / f"turned {number}.jpg", exif=exif)
        picture.convert(["L", "P", "LA", "1", "RGBA", "RGB", "P", "L"][number]).save(
            folder / "bees" / f"mode {number}.png"
        )
    picture.convert("CMYK").save(folder / "ants" / "cmyk.jpg")
    picture.save(folder / "ants" / "animated.webp", save_all=True, append_images=[Image.new("RGB", (90, 70))])
    picture.convert("RGBA").save(folder / "bees" / "transparent.webp")
    Image.fromarray(np.arange(4000, dtype=np.uint16).reshape(80, 50) * 16).save(
        folder / "bees" / "16 bit.tif"
    )
    Image.new("RGB", (3000, 40), COLORS["bees"]).save(folder / "bees" / "strip.bmp")
    return folder


@pytest.mark.parametrize(
    ("server", "engine"), [(UVICORN, "int8"), (UVICORN, "fp32"), (RAY, "int8"), (RAY, "fp32")]
)
def test_every_picture_is_answered_as_in_the_evaluation(
    artifact: Path, tmp_path: Path, run: Run, server: str, engine: str
) -> None:
    try:
        require(server)
    except LaunchError as missing:
        pytest.skip(str(missing))
    kept = shutil.copytree(artifact, tmp_path / "kept")
    if engine == "fp32":
        (kept / ENGINES["int8"]).unlink()
    with tarfile.open(tmp_path / "model.tar.gz", "w:gz", compresslevel=0) as tar:
        tar.add(kept, ".")
    test = write_test_set(tmp_path / "test")
    result = run("evaluate", "--model", tmp_path, "--test", test, "--output", tmp_path / "evaluation")
    assert result.returncode == 0, result.stderr
    predictions = json.loads((tmp_path / "evaluation/predictions.json").read_text())
    assert len(predictions) == 29
    with served(kept, tmp_path / "served", server) as (_, client):
        for prediction in predictions:
            body = (test / prediction["file"]).read_bytes()
            answer = client.post("/invocations", content=body, headers={"content-type": ANY_IMAGE})
            assert answer.headers[CUSTOM_ATTRIBUTES] == f"engine={prediction['engine']}" == f"engine={engine}"
            said = {name: answer.json()[name] for name in ("label", "probabilities")}
            assert said == {
                "label": prediction["predicted"],
                "probabilities": prediction["probabilities"],
            }, prediction["file"]
