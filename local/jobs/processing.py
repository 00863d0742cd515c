"""Processing jobs: inputs and outputs between S3 and /opt/ml/processing."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePosixPath

from local.home.archives import check_tar
from local.home.files import make_folder
from local.home.home import Home
from local.home.store import Record
from local.jobs.jobs import DEFAULT_MAX_RUNTIME_S, JobError, JobKind, refuse_empty_words
from local.jobs.uploads import uploaded_meanwhile
from local.processes.container import Container
from local.processes.environment import base_environment
from local.processes.files import write_json
from local.processes.launcher import OPT_ML
from local.processes.opt_ml import opt_ml, outside
from local.s3.transfer import download, require_bucket
from local.s3.transfer import upload as put
from local.wire.errors import invalid

FOLDER = "processing-jobs"
_LOCAL_PATH = f"{OPT_ML}/processing/"
# FrameworkProcessor (sagemaker.core.processing) has it unpacked in /opt/ml/processing/input/code: it is at
# the root of its own input, or deeper in an input with a LocalPath above that.
_CODE = "sourcedir.tar.gz"
_RUNNABLE = {"S3DataType": "S3Prefix", "S3InputMode": "File", "S3CompressionType": "None"}


def _ml(home: Home, record: Record) -> Path:
    return home.folder(FOLDER, record["ProcessingJobName"]) / "ml"


def check(record: Record) -> None:
    """Refuse what does not run on this machine.

    Raises:
        ServiceError: ValidationException that names the member.
    """
    record.setdefault("StoppingCondition", {"MaxRuntimeInSeconds": DEFAULT_MAX_RUNTIME_S})
    application = record["AppSpecification"]
    refuse_empty_words(application)
    if not application.get("ContainerEntrypoint"):
        raise invalid(
            "AppSpecification.ContainerEntrypoint is missing: the local service runs the entrypoint as a"
            f" process and cannot look into the image {application['ImageUri']}",
        )
    count = record["ProcessingResources"]["ClusterConfig"]["InstanceCount"]
    if count != 1:
        raise invalid(f"InstanceCount is {count}; the local service has one machine")
    for entry in record.get("ProcessingInputs", []):
        name, source = f"input {entry['InputName']}", entry.get("S3Input")
        if source is None:
            raise invalid(f"{name}: only S3Input runs locally")
        _check_path(name, entry, source)
        for member, known in _RUNNABLE.items():
            if not entry.get("AppManaged") and source.get(member, known) != known:
                raise invalid(f"{name}: {member} {source[member]} does not run locally, only {known}")
    for entry in record.get("ProcessingOutputConfig", {}).get("Outputs", []):
        name = f"output {entry['OutputName']}"
        if "S3Output" not in entry:
            raise invalid(f"{name}: only S3Output runs locally")
        _check_path(name, entry, entry["S3Output"])
    _check_unique(record)


def _check_path(name: str, entry: Record, place: Record) -> None:
    """Refuse an invalid LocalPath (API reference: ProcessingS3Input; the same for ProcessingS3Output)."""
    if "LocalPath" not in place:
        if not entry.get("AppManaged"):
            raise invalid(f"{name}: LocalPath is a required parameter when AppManaged is False (default)")
        return
    path = place["LocalPath"]
    if not path.startswith(_LOCAL_PATH) or ".." in path.split("/"):
        raise invalid(f"{name}: LocalPath {path!r} must begin with {_LOCAL_PATH}")


def _check_unique(record: Record) -> None:
    """Names are unique, and every input has its own folder: not published, so the stricter reading."""
    inputs = record.get("ProcessingInputs", [])
    outputs = record.get("ProcessingOutputConfig", {}).get("Outputs", [])
    paths = [_folder(entry["S3Input"]) for entry in inputs if "LocalPath" in entry["S3Input"]]
    for member, values in (
        ("InputName", [entry["InputName"] for entry in inputs]),
        ("LocalPath of inputs", paths),
        ("OutputName", [entry["OutputName"] for entry in outputs]),
    ):
        for value, often in Counter(values).items():
            if often > 1:
                raise invalid(f"{member} must be unique: {value!r} occurs {often} times")


def _folder(place: Record) -> str:
    return str(PurePosixPath(place["LocalPath"]))


def prepare(home: Home, record: Record, service: Mapping[str, str]) -> Container:
    """Lay out the job's folder and return its process.

    Raises:
        JobError: an input does not exist, or its code is not a safe archive.
        ValueError: an output has no bucket; the job could write into the machine's own /opt/ml.
    """
    ml = _ml(home, record)
    own = opt_ml(ml)
    for entry in _inputs(record):
        source = entry["S3Input"]
        if download(home, source["S3Uri"], outside(source["LocalPath"], ml)) == 0:
            raise JobError(f"ClientError: no objects under {source['S3Uri']} (input {entry['InputName']})")
        _check_code(outside(source["LocalPath"], ml), source["S3Uri"])
    for target in _targets(record):
        require_bucket(home, target["S3Uri"])
    for output in record.get("ProcessingOutputConfig", {}).get("Outputs", []):
        if "LocalPath" in output["S3Output"]:
            make_folder(outside(output["S3Output"]["LocalPath"], ml))
    make_folder(ml / "output")
    config = {key: value for key, value in record.items() if not key.startswith("_")}
    write_json(ml / "config" / "processingjobconfig.json", own.inside(config))
    write_json(ml / "config" / "resourceconfig.json", {"current_host": "localhost", "hosts": ["localhost"]})
    application = record["AppSpecification"]
    environment = base_environment(service) | own.inside(record.get("Environment", {}))
    return Container(
        command=own.inside([*application["ContainerEntrypoint"], *application.get("ContainerArguments", [])]),
        environment=environment
        | {
            "PROCESSING_JOB_NAME": record["ProcessingJobName"],
            "PROCESSING_JOB_ARN": record["ProcessingJobArn"],
        },
        folder=ml,
        log=own.begin(ml.parent / "log.txt"),
        records=home.processes,
        own=own,
    )


def _check_code(folder: Path, uri: str) -> None:
    """Check the code archive that the command of the SDK's FrameworkProcessor unpacks (`tar -xzf`)."""
    for file in sorted(folder.rglob(_CODE)):
        try:
            if file.is_file():
                check_tar(file)
        except ValueError as error:
            name = file.relative_to(folder)
            raise JobError(
                f"ClientError: {name} of {uri} cannot be unpacked: {error}; pack it again"
            ) from None


def _inputs(record: Record) -> list[Record]:
    """The inputs that the service downloads; the program itself downloads the others."""
    return [entry for entry in record.get("ProcessingInputs", []) if not entry.get("AppManaged")]


def _targets(record: Record) -> list[Record]:
    """The outputs that the service uploads."""
    outputs = record.get("ProcessingOutputConfig", {}).get("Outputs", [])
    return [output["S3Output"] for output in outputs if not output.get("AppManaged")]


@contextmanager
def watch(home: Home, record: Record, _service: Mapping[str, str]) -> Iterator[None]:
    """Upload the outputs with S3UploadMode Continuous while the program runs, even if it fails."""
    ml = _ml(home, record)
    with ExitStack() as stack:
        for target in _targets(record):
            if target["S3UploadMode"] == "Continuous":
                folder = outside(target["LocalPath"], ml)
                stack.enter_context(uploaded_meanwhile(home, folder, target["S3Uri"]))
        yield


def upload(home: Home, record: Record) -> None:
    """Put the outputs into S3."""
    ml = _ml(home, record)
    read = [entry["S3Input"]["S3Uri"] for entry in _inputs(record)]
    put(home, [(outside(target["LocalPath"], ml), target["S3Uri"]) for target in _targets(record)], read=read)


def conclude(home: Home, record: Record) -> None:
    """Add the exit message."""
    message = _ml(home, record) / "output" / "message"
    if message.is_file() and not message.is_symlink():
        record["ExitMessage"] = message.read_text("utf-8", "replace")[:1024]


def clear(home: Home, record: Record) -> None:
    """Remove the folder of a successful job, except the log."""
    if record["ProcessingJobStatus"] == "Completed":
        shutil.rmtree(_ml(home, record))


KIND = JobKind(
    key="ProcessingJob",
    resource="processing-job",
    folder=FOLDER,
    period="Processing",
    check=check,
    prepare=prepare,
    watch=watch,
    upload=upload,
    conclude=conclude,
    clear=clear,
)
