"""The engines that serve a network: ONNX in fp32, and in int8 if that gives the same answers.

Its libraries take a second to import and exist only where a model for serving is trained, so callers import
it late.
"""

from __future__ import annotations

import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnxruntime import InferenceSession
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import nn

from entrypoints import depth, image, known
from entrypoints.backbones import Backbone
from entrypoints.batches import batched, read_squares
from entrypoints.calibration import fit_temperature
from entrypoints.contract import ENGINES, KNOWN
from entrypoints.dataset import LabelledFiles, spread
from entrypoints.model import build
from entrypoints.program import fail
from entrypoints.serving import predictor

# Number of training pictures, evenly spread, whose activations set the ranges of int8.
CALIBRATION_PICTURES = 64
# Number of training pictures, evenly spread, whose features define known: in all, or for each class.
KNOWN_PICTURES = 1000
KNOWN_PICTURES_PER_CLASS = 10
# A larger validation split decides with this number of pictures, evenly spread.
VALIDATION_PICTURES = 1000
# The share of them (0..1) on which int8 and fp32 must agree. Equal answers are equally right, so accuracies
# then differ by at most 0.005.
LEAST_AGREEMENT = 0.995
# Largest absolute and relative difference between the fp32 engine's scores and torch's, on a few of them.
TOLERANCE = 1e-3
COMPARED_PICTURES = 4
BATCH = 16
OPSET = 17

Labels = npt.NDArray[np.int64]


def make(
    backbone: Backbone,
    network: nn.Module,
    model_card: Mapping[str, Any],
    train_files: LabelledFiles,
    validation_files: LabelledFiles,
    known_share: float,
) -> tuple[dict[str, bytes], dict[str, Any]]:
    """The engines as files by name, and their members of model.json: "engines", "temperature", "known".

    The network may be on any device; `model_card` is the rest of model.json. int8 has a file if it agrees
    with fp32 (LEAST_AGREEMENT), otherwise a reason: {"left_out": "..."}. Both share one temperature
    (calibration.py), since they agree. The file of known.py recognizes `known_share` (0..1) of pictures like
    the validation split's.

    Raises:
        DatasetError: a file is not a picture.
        SystemExit: the fp32 engine computes other scores than the network.
    """
    started = time.monotonic()
    classes = len(model_card["classes"])
    calibration = [file for file, _ in spread(train_files, CALIBRATION_PICTURES)]
    seen = spread(train_files, max(KNOWN_PICTURES, KNOWN_PICTURES_PER_CLASS * classes))
    validation = spread(validation_files, VALIDATION_PICTURES)
    files, labels = [file for file, _ in validation], np.array([label for _, label in validation])
    copied = build(backbone, classes, None).eval()
    copied.load_state_dict(network.state_dict())
    reduce_range = not predictor.has_vnni()
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: Path(folder) / file for name, file in ENGINES.items()}
        export(backbone, copied, model_card["preprocessing"]["image_size"], paths["fp32"])
        quantize(paths["fp32"], paths["int8"], inputs(calibration, model_card), reduce_range)
        sessions = {
            name: predictor.open_session(path, torch.get_num_threads()) for name, path in paths.items()
        }
        compare(copied, sessions["fp32"], next(inputs(files[:COMPARED_PICTURES], model_card)))
        scores, features = outputs(sessions, inputs(files, model_card))
        _, training = outputs({"fp32": sessions["fp32"]}, inputs([file for file, _ in seen], model_card))
        engines = {name: path.read_bytes() for name, path in paths.items()}
    answers = {name: rows.argmax(axis=1) for name, rows in scores.items()}
    temperature = fit_temperature(scores["fp32"], labels)
    seen_labels = np.array([label for _, label in seen])
    known_file, said_of_known = known.make(training["fp32"], seen_labels, classes, features, known_share)
    accuracy = {name: float(np.mean(labels == answer)) for name, answer in answers.items()}
    agreement = float(np.mean(answers["fp32"] == answers["int8"]))
    said: dict[str, Any] = {
        "fp32": {"file": ENGINES["fp32"], "accuracy": accuracy["fp32"], "pictures": len(files)},
        "int8": {
            "file": ENGINES["int8"],
            "accuracy": accuracy["int8"],
            "agreement": agreement,
            "pictures": len(files),
            "calibration_pictures": len(calibration),
            "reduce_range": reduce_range,
        },
    }
    if agreement < LEAST_AGREEMENT:
        del engines["int8"]
        said["int8"] = {
            "left_out": f"int8 answers as fp32 does on {agreement:.1%} of {len(files)} validation pictures; "
            f"at least {LEAST_AGREEMENT:.1%} are needed"
        }
    sizes = ", ".join(f"{name} {len(data) / 1e6:.1f} MB" for name, data in sorted(engines.items()))
    seconds = time.monotonic() - started
    print(f"engines: {sizes}; int8 agrees on {agreement:.1%} of {len(files)} pictures; {seconds:.1f} s")
    print(f"probabilities: the softmax of the scores at a temperature of {temperature:.3f}")
    print(known.sentence(said_of_known))
    kept = {ENGINES[name]: data for name, data in engines.items()}
    if known_file is not None:
        kept[KNOWN] = known_file
    return kept, {"engines": said, "temperature": temperature, "known": said_of_known}


def inputs(files: Sequence[Path], model_card: Mapping[str, Any]) -> Iterator[predictor.Inputs]:
    """Batches of pictures as an engine gets them in serving."""
    how = model_card["preprocessing"]
    for part in batched(files, BATCH):
        pixels = read_squares(part, how["image_size"], how["resize"], depth.of(how)).numpy()
        yield np.stack([image.normalize(picture, how["mean"], how["std"]) for picture in pixels])


class Opened(nn.Module):
    """A network that also returns what its scores come from; in eval mode, sharing its weights.

    Its outputs are the scores (N x classes); the features, the head's input (N x features); and the maps
    (N x height x width x classes): the head's scores for each place of the last block's output. The scores
    are the mean of the maps over the places, since the head is linear and reads an average: class activation
    maps, Zhou et al., Learning Deep Features for Discriminative Localization, 2016.
    """

    def __init__(self, backbone: Backbone, network: nn.Module) -> None:
        super().__init__()
        layers = dict(network.named_children())
        *body, pool, _, head = backbone.layers
        self.body = nn.Sequential(*(layers[name] for name in body))
        self.pool, self.head = layers[pool], layers[head]

    def forward(self, pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        places = self.body(pictures)
        features = self.pool(places).flatten(1)
        return self.head(features), features, self.head(places.permute(0, 2, 3, 1))


def export(backbone: Backbone, network: nn.Module, image_size: int, path: Path) -> None:
    """Write a network in eval mode as ONNX, batch norm folded, for any number of pictures of any size.

    Its outputs are those of `Opened`.
    """
    example = torch.zeros(1, 3, image_size, image_size)
    with warnings.catch_warnings():
        # torch's newer exporter takes 6 s, this one 0.6 s.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            Opened(backbone, network).eval(),
            (example,),
            path,
            dynamo=False,
            opset_version=OPSET,
            input_names=[predictor.INPUT],
            output_names=[predictor.SCORES, predictor.FEATURES, predictor.MAPS],
            dynamic_axes={
                predictor.INPUT: {0: "n", 2: "h", 3: "w"},
                predictor.SCORES: {0: "n"},
                predictor.FEATURES: {0: "n"},
                predictor.MAPS: {0: "n", 1: "rows", 2: "columns"},
            },
        )
    unshare(path)
    quant_pre_process(path, path, skip_symbolic_shape=True)


def unshare(path: Path) -> None:
    """Give each layer its own constants.

    The exporter shares equal ones, such as the biases of untrained batch norms, through Identity nodes.
    Quantization does not recognize those as constants, and onnxruntime would compute their layers in fp32.
    """
    model = onnx.load(path)
    constants = {constant.name: constant for constant in model.graph.initializer}
    for node in [*model.graph.node]:
        if node.op_type == "Identity" and node.input[0] in constants:
            own = model.graph.initializer.add()
            own.CopyFrom(constants[node.input[0]])
            own.name = node.output[0]
            model.graph.node.remove(node)
    onnx.save(model, path)


def quantize(fp32: Path, int8: Path, calibration: Iterator[predictor.Inputs], reduce_range: bool) -> None:
    """Write the int8 engine of an fp32 engine: u8 activations, s8 weights per channel.

    The last layer stays in fp32, at no cost: int8 would cut scores above the calibration's.
    """

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def get_next(self) -> dict[str, predictor.Inputs] | None:
            batch = next(calibration, None)
            return None if batch is None else {predictor.INPUT: batch}

    quantize_static(
        fp32,
        int8,
        Reader(),
        op_types_to_quantize=["Conv", "Relu", "Add", "MaxPool", "GlobalAveragePool"],
        per_channel=True,
        reduce_range=reduce_range,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )


def compare(network: nn.Module, session: InferenceSession, batch: predictor.Inputs) -> None:
    """Stop the program if an engine's scores differ from the network's."""
    with torch.inference_mode():
        expected = network(torch.from_numpy(batch)).numpy()
    [scores] = session.run([predictor.SCORES], {predictor.INPUT: batch})
    if not np.allclose(scores, expected, TOLERANCE, TOLERANCE):
        difference = float(np.abs(scores - expected).max())
        fail(f"the fp32 engine's scores differ from torch's by {difference:g}; report this", code=1)


def outputs(
    sessions: Mapping[str, InferenceSession], batches: Iterator[predictor.Inputs]
) -> tuple[dict[str, predictor.Scores], dict[str, predictor.Features]]:
    """Each engine's scores (pictures x classes) and features (pictures x features)."""
    wanted = [predictor.SCORES, predictor.FEATURES]
    parts: dict[str, list[list[npt.NDArray[np.float32]]]] = {name: [] for name in sessions}
    for batch in batches:
        for name, session in sessions.items():
            parts[name].append(predictor.run(session, wanted, batch))
    scores, features = (
        {name: np.concatenate([part[place] for part in each]) for name, each in parts.items()}
        for place in range(len(wanted))
    )
    return scores, features
