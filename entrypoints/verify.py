"""Ask the endpoint what the evaluation was asked; if it answers otherwise, put the previous config back."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from entrypoints.answer import ATTEMPTS, read_answer, retry_while_busy
from entrypoints.contract import ANY_IMAGE, JSON, NONE, SAMPLE_ANSWERS
from entrypoints.deploy import BUSY, DeployError, bring_up, describe_endpoint, target
from entrypoints.program import Parser, fail, write_message

if TYPE_CHECKING:
    from mypy_boto3_sagemaker import SageMakerClient
    from mypy_boto3_sagemaker_runtime import SageMakerRuntimeClient

# How far a probability may be from the evaluation's: a factor of its odds, for the same engine (perhaps on
# another CPU) and for another one, plus SLACK. Engines hardly differ on a picture that they are sure of, so
# such an answer must be closer than one between two classes. A temperature (calibration.py) multiplies the
# logarithm of the odds, and so the difference between engines.
SAME_ENGINE = 1.1
OTHER_ENGINE = 3.0
SLACK = 0.01
POLL_S = 1.0
REPORT_S = 60.0


class VerificationError(Exception):
    """Why the endpoint must not stay as it is; the message is one line."""


def check(
    sagemaker: SageMakerClient,
    runtime: SageMakerRuntimeClient,
    endpoint: str,
    config: str,
    samples: Path,
    timeout_s: float,
) -> str:
    """Wait until the endpoint is InService and compare its answers; return the findings in words.

    Args:
        samples: the folder with test pictures and the evaluation's answers (answers.json).

    Raises:
        VerificationError: it does not come up, serves another config, or its answers differ from the
        evaluation's.
    """
    current = wait_while_busy(sagemaker, endpoint, timeout_s)
    if current is None:
        raise VerificationError(f"there is no endpoint {endpoint}")
    status, reason = current["EndpointStatus"], current.get("FailureReason", "no reason given")
    if status in BUSY:
        raise VerificationError(f"endpoint {endpoint} is still {status} after {timeout_s:g} s")
    if status != "InService":
        raise VerificationError(f"endpoint {endpoint} is {status}: {reason}")
    if current["EndpointConfigName"] != config:
        raise VerificationError(f"endpoint {endpoint} does not serve {config}: {reason}")
    questions = read_questions(samples)
    for question in questions:
        compare(question, *ask(runtime, endpoint, samples / question["file"]))
    return f"endpoint {endpoint} answers {len(questions)} test pictures as the evaluation did"


def wait_while_busy(sagemaker: SageMakerClient, endpoint: str, timeout_s: float) -> dict[str, Any] | None:
    """The endpoint once it is stable, or when time is up; None if there is none."""
    began, told, said = time.monotonic(), 0.0, ""
    while True:
        current = describe_endpoint(sagemaker, endpoint)
        status = "gone" if current is None else current["EndpointStatus"]
        waited_s = time.monotonic() - began
        if status != said or waited_s - told >= REPORT_S:
            print(f"{waited_s:.0f} s: endpoint {endpoint} is {status}", flush=True)
            told, said = waited_s, status
        if status not in {*BUSY, "Deleting"} or waited_s > timeout_s:
            return current
        time.sleep(POLL_S)


def read_questions(samples: Path) -> list[dict[str, Any]]:
    """The evaluation's answers: "file", "predicted", "probabilities": {class: 0..1}, "engine", "temperature".

    Evaluations of earlier versions give no temperature: they used 1.
    """
    path = samples / SAMPLE_ANSWERS
    try:
        questions = [
            {key: entry[key] for key in ("file", "predicted", "probabilities", "engine")}
            | {"temperature": float(entry.get("temperature", 1))}
            for entry in json.loads(path.read_text("utf-8"))
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise VerificationError(f"{path} is not what the evaluation writes: {error!r}") from error
    if not questions:
        raise VerificationError(f"{path} holds no test pictures to ask about")
    return questions


def ask(runtime: SageMakerRuntimeClient, endpoint: str, picture: Path) -> tuple[dict[str, Any], str]:
    """The endpoint's answer to one picture, and its engine's name."""
    try:
        response = runtime.invoke_endpoint(
            EndpointName=endpoint, ContentType=ANY_IMAGE, Accept=JSON, Body=picture.read_bytes()
        )
        content = response["Body"].read()
    except (OSError, ClientError, BotoCoreError) as error:
        raise VerificationError(f"the endpoint does not answer {picture.name}: {one_line(error)}") from error
    try:
        answer = read_answer(content)
    except ValueError as error:
        raise VerificationError(
            f"the endpoint's answer to {picture.name} is not one of a classifier: {one_line(error)}"
        ) from error
    return answer, response.get("CustomAttributes", "").removeprefix("engine=")


def compare(question: dict[str, Any], answer: dict[str, Any], engine: str) -> None:
    """Raise VerificationError unless every probability is within `bounds` of the evaluation's.

    So the label is the evaluation's, or one almost as probable.
    """
    expected, given, label = question["probabilities"], answer["probabilities"], answer["label"]
    where = f"{question['file']}, engine {engine or 'unknown'}, evaluated with {question['engine']}"
    if odd := sorted(given.keys() ^ expected.keys()):
        raise VerificationError(
            f"only the {'endpoint' if odd[0] in given else 'evaluation'} knows the class {odd[0]!r}"
        )
    factor = SAME_ENGINE if engine == question["engine"] else OTHER_ENGINE
    factor **= 1 / question["temperature"]
    for name, probability in expected.items():
        low, high = bounds(probability, factor)
        if low <= given[name] <= high:  # NaN is not
            continue
        if label != question["predicted"]:
            raise VerificationError(
                f"the endpoint says {label}, the evaluation {question['predicted']} ({where})"
            )
        raise VerificationError(
            f"the endpoint gives {name} {given[name]:.4f}, the evaluation {probability:.4f}; from {low:.4f} "
            f"to {high:.4f} would do ({where})"
        )
    if given.get(label) != max(given.values()):
        raise VerificationError(
            f"the endpoint says {label}, which is not the class that it finds most probable ({where})"
        )


def bounds(probability: float, factor: float) -> tuple[float, float]:
    """The lowest and highest probability with odds within a factor, plus SLACK."""
    low, high = (odds * probability / (odds * probability + 1 - probability) for odds in (1 / factor, factor))
    return low - SLACK, high + SLACK


def restore(sagemaker: SageMakerClient, endpoint: str, config: str, previous: str, timeout_s: float) -> str:
    """Restore the previous endpoint config if the endpoint has `config`; return what was done, in words."""
    try:
        current = describe_endpoint(sagemaker, endpoint)
    except (ClientError, BotoCoreError) as error:
        return f"nothing is put back: {one_line(error)}"
    if current is None:
        return "nothing is put back"
    served, status = target(current), current["EndpointStatus"]
    if served != config:
        return f"it serves {served}"
    if previous == NONE:
        return "no endpoint config came before this one, so the endpoint is left as it is"
    if status in BUSY:
        return (
            f"SageMaker changes no endpoint that is {status}, so {previous} is not back: "
            "run scripts/rollback.py when it is InService"
        )
    print(f"putting {previous} back", flush=True)
    try:
        bring_up(sagemaker, endpoint, previous, current, {})
        current = wait_while_busy(sagemaker, endpoint, timeout_s) or {}
    except (DeployError, ClientError, BotoCoreError) as error:
        return f"the previous endpoint config {previous} could not be put back: {one_line(error)}"
    if (current.get("EndpointStatus"), current.get("EndpointConfigName")) == ("InService", previous):
        return f"the previous endpoint config {previous} is back"
    status, reason = current.get("EndpointStatus", "gone"), current.get("FailureReason", "no reason given")
    return f"the previous endpoint config {previous} did not come back, the endpoint is {status}: {reason}"


def one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def clients(region: str) -> tuple[SageMakerClient, SageMakerRuntimeClient]:
    """Clients that retry while SageMaker or a container is busy."""
    config = Config(retries={"mode": "standard", "total_max_attempts": ATTEMPTS})
    session = boto3.Session(region_name=region)
    runtime = session.client("sagemaker-runtime", config=config)
    retry_while_busy(runtime)
    return session.client("sagemaker", config=config), runtime


def verify(args: argparse.Namespace) -> tuple[str, int]:
    """The message and the exit code."""
    if args.endpoint == NONE:
        return "nothing was deployed, so there is nothing to verify; DeployEndpoint tells why", 0
    sagemaker, runtime = clients(args.region)
    try:
        return check(sagemaker, runtime, args.endpoint, args.config, args.samples, args.timeout_s), 0
    except VerificationError as problem:
        done = restore(sagemaker, args.endpoint, args.config, args.previous_config, args.timeout_s)
        return f"{problem}; {done}", 1
    except (ClientError, BotoCoreError) as error:
        return f"endpoint {args.endpoint} is not verified: {one_line(error)}", 1


def main(arguments: Sequence[str] | None = None) -> None:
    parser = Parser(prog="verify", description=__doc__)
    parser.add_argument("--endpoint", required=True, metavar="NAME", help=f"{NONE} if nothing was deployed")
    parser.add_argument("--config", required=True, metavar="NAME", help="the endpoint config it should serve")
    parser.add_argument("--previous-config", required=True, metavar="NAME", help=f"{NONE} if there was none")
    parser.add_argument("--samples", required=True, type=Path, metavar="DIR")
    parser.add_argument("--message", required=True, type=Path, metavar="FILE", help="the job's exit message")
    parser.add_argument("--timeout-s", required=True, type=float, help="for each of the two deployments")
    parser.add_argument("--region", required=True)
    args = parser.parse_args(arguments)
    message, code = verify(args)
    write_message(args.message, message)
    if code:
        fail(message, code)
    print(message)


if __name__ == "__main__":
    main()
