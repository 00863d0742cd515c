"""Training jobs: the /opt/ml layout that the sagemaker-training toolkit expects, and its output.

A job that is stopped, by a person, by its time or by a tuning job's early stopping, gets SIGTERM as on AWS:
process 1 alone, not the program that the toolkit runs (https://github.com/aws/sagemaker-training-toolkit
issues 125 and 173; aws/deep-learning-containers issue 632). There process 1 is a shell that continues, so the
program runs for up to 120 s more and is killed; here it is the toolkit, which SIGTERM ends, so the program is
killed at once. Either way the program gets no signal, and only what it wrote before counts: AWS does not
promise the extra seconds, and here they would keep a core from the next trial. A ContainerEntrypoint is
process 1 itself, there and here: if it handles SIGTERM, it has the 120 s.
"""

from __future__ import annotations

import math
import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePosixPath

from local.debugger import evaluation
from local.debugger.profiler import output_url, profiled
from local.home.archives import check_tar
from local.home.files import make_folder
from local.home.home import Home
from local.home.store import Record
from local.jobs import metrics, transitions
from local.jobs.jobs import DEFAULT_MAX_RUNTIME_S, JobError, JobKind, refuse_empty_words
from local.jobs.uploads import uploaded_meanwhile
from local.processes.container import Container
from local.processes.environment import base_environment
from local.processes.files import write_json
from local.processes.launcher import OPT_ML
from local.processes.opt_ml import opt_ml, outside
from local.s3.transfer import download, require_bucket, upload_changes, write
from local.s3.transfer import upload as put
from local.wire.errors import invalid

FOLDER = "training-jobs"
# The toolkit looks every host of resourceconfig.json up in the DNS before it starts; "algo-1" is in none.
_HOST = "localhost"
_CONFIG = f"{OPT_ML}/input/config"
# API reference: the default LocalPath of each.
_LOCAL_PATHS = {
    "DebugHookConfig": f"{OPT_ML}/output/tensors",
    "CheckpointConfig": f"{OPT_ML}/checkpoints",
    "TensorBoardOutputConfig": f"{OPT_ML}/output/tensorboard",
}
_END_OF_TENSORS = "training_job_end.ts"  # smdebug.core.access_layer.utils.END_OF_JOB_FILENAME
_UNFINISHED_TENSORS = ".tmp"  # smdebug.core.access_layer.file.SMDEBUG_TEMP_PATH_SUFFIX; renamed when written


def folder(home: Home, record: Record) -> Path:
    """The job's folder: log.txt, and ml/ for /opt/ml."""
    return home.folder(FOLDER, record["TrainingJobName"])


def check(record: Record) -> None:
    """Refuse what does not run on this machine, and complete a new job's record.

    Raises:
        ServiceError: ValidationException that names the member.
    """
    algorithm = record.get("AlgorithmSpecification", {})
    refuse_empty_words(algorithm)
    hyperparameters = record.get("HyperParameters", {})
    script = {"sagemaker_program", "sagemaker_submit_directory"} <= hyperparameters.keys()
    if not script and not algorithm.get("ContainerEntrypoint"):
        raise invalid(
            "the local service runs scripts (hyperparameters sagemaker_program, sagemaker_submit_directory)"
            f" or a ContainerEntrypoint, not what is inside the image {algorithm.get('TrainingImage')}",
        )
    if (count := sum(group.get("InstanceCount", 1) for group in _groups(record))) != 1:
        raise invalid(f"InstanceCount is {count}; the local service has one machine")
    stopping = record.get("StoppingCondition", {})
    longest = stopping.get("MaxRuntimeInSeconds", DEFAULT_MAX_RUNTIME_S)
    # A spot job runs here as any other: this machine is never taken away.
    if record.get("EnableManagedSpotTraining") and stopping.get("MaxWaitTimeInSeconds", 0) < longest:
        raise invalid(
            f"EnableManagedSpotTraining needs a MaxWaitTimeInSeconds of MaxRuntimeInSeconds {longest} or more"
        )
    names = [channel["ChannelName"] for channel in record.get("InputDataConfig", [])]
    for channel in record.get("InputDataConfig", []):
        name = channel["ChannelName"]
        if names.count(name) > 1:  # not published; the stricter reading
            raise invalid(f"ChannelName must be unique: {name!r} occurs {names.count(name)} times")
        if name in {".", ".."}:
            raise invalid(f"channel {name!r}: a ChannelName must be a valid folder name")
        source = channel["DataSource"].get("S3DataSource")
        if source is None or source["S3DataType"] != "S3Prefix":
            raise invalid(f"channel {name}: only S3DataType S3Prefix runs locally")
        mode = channel.get("InputMode", algorithm.get("TrainingInputMode", "File"))
        if mode == "Pipe":
            raise invalid(
                f"channel {name}: InputMode Pipe does not run locally, only File and FastFile",
            )
        for member in ("CompressionType", "RecordWrapperType"):
            if channel.get(member, "None") != "None":  # API reference, Channel, says so of File mode
                raise invalid(
                    f"channel {name}: {member} is {channel[member]}, which is for InputMode Pipe;"
                    " in File mode, leave this field unset or set it to None"
                )
    for definition in algorithm.get("MetricDefinitions", []):
        _check_metric(definition["Name"], definition["Regex"])
    _check_local_paths(record)
    evaluation.check(record)
    # Not published: the keys of an uncompressed output. SageMaker's own clients take a prefix with a slash.
    name = "model/" if _uncompressed(record) else "model.tar.gz"
    record["ModelArtifacts"] = {"S3ModelArtifacts": f"{_job_url(record)}/output/{name}"}


def _groups(record: Record) -> list[Record]:
    """The groups of instances that a job asks for."""
    resources = record.get("ResourceConfig", {})
    return resources.get("InstanceGroups") or [{"InstanceGroupName": "homogeneousCluster", **resources}]


def _local_path(record: Record, member: str) -> str:
    """The folder of one of a job's members that have a LocalPath."""
    path: str = record[member].get("LocalPath") or _LOCAL_PATHS[member]
    return path


def _check_local_paths(record: Record) -> None:
    """None is /opt/ml itself or inside another one: not published, so the stricter reading."""
    paths = {
        member: PurePosixPath(_local_path(record, member)) for member in _LOCAL_PATHS if member in record
    }
    for member, path in paths.items():
        if PurePosixPath(OPT_ML) not in path.parents or ".." in path.parts:
            raise invalid(f"{member}: LocalPath must begin with {OPT_ML}/ and have no part '..'")
        for other, outer in paths.items():
            if other != member and outer in (path, *path.parents):
                raise invalid(f"{member}: LocalPath {path} lies in {outer}, the LocalPath of {other}")


def _uncompressed(record: Record) -> bool:
    compression: str = record["OutputDataConfig"].get("CompressionType", "GZIP")
    return compression == "NONE"


def _job_url(record: Record) -> str:
    return f"{record['OutputDataConfig']['S3OutputPath'].rstrip('/')}/{record['TrainingJobName']}"


def _tensorboard_url(record: Record) -> str:
    """As the SDK finds it again (sagemaker.estimator, latest_job_tensorboard_artifacts_path)."""
    path = record["TensorBoardOutputConfig"]["S3OutputPath"].rstrip("/")
    return f"{path}/{record['TrainingJobName']}/tensorboard-output"


def _check_metric(name: str, regex: str) -> None:
    try:
        groups = re.compile(regex).groups
    except re.error as error:
        raise invalid(f"metric {name}: the regex {regex!r} is malformed: {error}") from None
    if not groups:
        raise invalid(f"metric {name}: the regex {regex!r} has no group (...) for the number")


def prepare(home: Home, record: Record, service: Mapping[str, str]) -> Container:
    """Lay out the job's folder and return its process.

    Raises:
        JobError: a channel's data does not exist; the code is not a safe archive.
        ValueError: an output has no bucket; the job could write into the machine's own /opt/ml.
    """
    ml = folder(home, record) / "ml"
    algorithm = record["AlgorithmSpecification"]
    channels = {}
    for channel in record.get("InputDataConfig", []):
        name, source = channel["ChannelName"], channel["DataSource"]["S3DataSource"]
        uri = source["S3Uri"]
        if download(home, uri, ml / "input" / "data" / name) == 0:
            raise JobError(f"ClientError: no objects under {uri} (channel {name})")
        channels[name] = {
            "TrainingInputMode": channel.get("InputMode", algorithm.get("TrainingInputMode", "File")),
            "S3DistributionType": source.get("S3DataDistributionType", "FullyReplicated"),
            "RecordWrapperType": channel.get("RecordWrapperType", "None"),
            **({"ContentType": channel["ContentType"]} if "ContentType" in channel else {}),
        }
    check_code(home, record)
    require_bucket(home, record["ModelArtifacts"]["S3ModelArtifacts"])
    for kept, uri in _kept(ml, record):
        require_bucket(home, uri)
        make_folder(kept)
    if "CheckpointConfig" in record:
        # Synchronized as a folder, not as a prefix: a job must not get its neighbours' files.
        uri = f"{record['CheckpointConfig']['S3Uri'].rstrip('/')}/"
        download(home, uri, outside(_local_path(record, "CheckpointConfig"), ml))
    if "S3OutputPath" in record.get("ProfilerConfig", {}):
        require_bucket(home, output_url(record))
    if "DebugHookConfig" in record:
        require_bucket(home, evaluation.tensors_url(record))
        make_folder(_tensors(ml, record))
    return configure(home, ml, record, channels, service)


def check_code(home: Home, record: Record) -> None:
    """Look into the archive of a script's code: the toolkit unpacks whatever is in it, wherever that says.

    Raises:
        JobError: it is not safe to unpack.
    """
    uri = record.get("HyperParameters", {}).get("sagemaker_submit_directory", "").strip('"')
    try:
        archive = home.object_path(uri) if uri.startswith("s3://") else Path(uri)
        if archive.is_file():  # the toolkit itself reports a missing archive, and a folder
            check_tar(archive)
    except ValueError as error:
        raise JobError(f"ClientError: the code {uri} cannot be unpacked: {error}; pack it again") from None


def _tensors(ml: Path, record: Record) -> Path:
    """The folder that Debugger's hook writes to, in a job that has a DebugHookConfig."""
    return outside(_local_path(record, "DebugHookConfig"), ml)


def _kept(ml: Path, record: Record) -> Iterator[tuple[Path, str]]:
    """The folders that SageMaker copies to S3 while the job runs, so also if it fails."""
    if "CheckpointConfig" in record:
        path = _local_path(record, "CheckpointConfig")
        yield outside(path, ml), record["CheckpointConfig"]["S3Uri"]
    if "TensorBoardOutputConfig" in record:
        yield outside(_local_path(record, "TensorBoardOutputConfig"), ml), _tensorboard_url(record)


def configure(
    home: Home, ml: Path, record: Record, channels: Record, service: Mapping[str, str]
) -> Container:
    """Write the job's files that the toolkit reads below `ml`, and return the job's process.

    `channels` is inputdataconfig.json; the log is beside the folder.

    Raises:
        ValueError: the job could write into the machine's own /opt/ml.
    """
    own = opt_ml(ml)
    config = ml / "input" / "config"
    algorithm = record["AlgorithmSpecification"]
    for part in ("model", "output/data", "checkpoints"):
        make_folder(ml / part)
    group = _groups(record)[0]
    name, instance = group["InstanceGroupName"], group.get("InstanceType", "ml.m5.xlarge")
    write_json(config / "hyperparameters.json", record.get("HyperParameters", {}))
    write_json(config / "inputdataconfig.json", channels)
    write_json(
        config / "resourceconfig.json",
        {
            "current_host": _HOST,
            "hosts": [_HOST],
            "network_interface_name": "lo",
            "current_instance_type": instance,
            "current_group_name": name,
            "instance_groups": [{"instance_group_name": name, "instance_type": instance, "hosts": [_HOST]}],
        },
    )
    environment = base_environment(service) | {
        "SAGEMAKER_BASE_DIR": own.inside(OPT_ML),
        "TRAINING_JOB_NAME": record["TrainingJobName"],
        "TRAINING_JOB_ARN": record["TrainingJobArn"],
        # smdebug does not read SAGEMAKER_BASE_DIR, but these.
        "SMDEBUG_CONFIG_FILE_PATH": own.inside(f"{_CONFIG}/debughookconfig.json"),
        "TENSORBOARD_CONFIG_FILE_PATH": own.inside(f"{_CONFIG}/tensorboardoutputconfig.json"),
        "CHECKPOINT_CONFIG_FILE_PATH": own.inside(f"{_CONFIG}/checkpointconfig.json"),
    }
    if "DebugHookConfig" in record:
        hook = {**record["DebugHookConfig"], "LocalPath": _local_path(record, "DebugHookConfig")}
        write_json(config / "debughookconfig.json", own.inside(hook))
    if "TensorBoardOutputConfig" in record:
        path = _local_path(record, "TensorBoardOutputConfig")
        board = {**record["TensorBoardOutputConfig"], "LocalPath": path}
        write_json(config / "tensorboardoutputconfig.json", own.inside(board))
    if "ProfilerConfig" in record:
        write_json(config / "profilerconfig.json", own.inside(record["ProfilerConfig"]))
    if "CheckpointConfig" in record:
        write_json(config / "checkpointconfig.json", own.inside(record["CheckpointConfig"]))
    if "_threads" in record:
        environment["OMP_NUM_THREADS"] = str(record["_threads"])
    entrypoint = algorithm.get("ContainerEntrypoint") or [
        sys.executable,
        "-m",
        "sagemaker_training.cli.train",
    ]
    return Container(
        command=own.inside([*entrypoint, *algorithm.get("ContainerArguments", [])]),
        environment=environment | own.inside(record.get("Environment", {})),
        folder=ml,
        log=own.begin(ml.parent / "log.txt"),
        records=home.processes,
        own=own,
        stops_children=False,
    )


def upload(home: Home, record: Record) -> None:
    """Put the model and the output data where SageMaker puts them in S3.

    Raises:
        JobError: something that should be a folder is not.
        ValueError: as local/s3/transfer.py, `upload`.
    """
    ml = folder(home, record) / "ml"
    model, data = ml / "model", ml / "output" / "data"
    for part in (model, *([data] if os.path.lexists(data) else [])):
        if part.is_symlink() or not part.is_dir():
            # Not published; the stricter reading.
            raise JobError(
                f"AlgorithmError: {OPT_ML}/{part.relative_to(ml)} is no longer a folder: the program"
                " removed or replaced it; leave it where it is"
            )
    url = record["ModelArtifacts"]["S3ModelArtifacts"]
    if _uncompressed(record):
        put(home, [(model, url), (data, f"{_job_url(record)}/output/data/")])
        return
    archives = [(model, url)]
    if data.exists() and any(data.iterdir()):
        archives.append((data, f"{_job_url(record)}/output/output.tar.gz"))
    put(home, [], archives)


@contextmanager
def watch(home: Home, record: Record, service: Mapping[str, str]) -> Iterator[None]:
    """Sample the machine, send metrics to CloudWatch and upload tensors, while the program runs."""
    own = folder(home, record)
    with ExitStack() as stack:
        stack.enter_context(profiled(home, record))
        stack.enter_context(metrics.emitted(own / "log.txt", record, service))
        if "DebugHookConfig" in record:
            tensors, url = _tensors(own / "ml", record), evaluation.tensors_url(record)
            stack.enter_context(uploaded_meanwhile(home, tensors, url, _UNFINISHED_TENSORS))
        yield


def conclude(home: Home, record: Record) -> None:
    """Add the final metrics and the duration; upload the last tensors and the continuous folders."""
    started = record.get("TrainingStartTime")
    if started is not None:
        # Whole seconds, rounded up. A spot job is never interrupted here, and saves nothing.
        seconds = math.ceil(record["TrainingEndTime"] - started)
        record |= {"TrainingTimeInSeconds": seconds, "BillableTimeInSeconds": seconds}
    definitions = record["AlgorithmSpecification"].get("MetricDefinitions", [])
    record["FinalMetricDataList"] = [
        {"MetricName": name, "Value": values[-1], "Timestamp": record["TrainingEndTime"]}
        for name, values in metrics.logged(folder(home, record) / "log.txt", definitions).items()
        if values
    ]
    ml = folder(home, record) / "ml"
    if "DebugHookConfig" in record and (tensors := _tensors(ml, record)).is_dir():
        with _failing(record):
            _end_tensors(home, tensors, evaluation.tensors_url(record))
    for kept in _kept(ml, record):
        with _failing(record):
            put(home, [kept])


@contextmanager
def _failing(record: Record) -> Iterator[None]:
    """An upload that fails makes the job fail; the rest is still uploaded."""
    try:
        yield
    except ValueError as error:
        record["TrainingJobStatus"] = record["SecondaryStatus"] = "Failed"
        record.setdefault("FailureReason", f"ClientError: {error}")


def _end_tensors(home: Home, tensors: Path, url: str) -> None:
    """Upload the tensors of an ended job, and finally the file that marks the end.

    In training jobs smdebug leaves that file to SageMaker; its trials wait for more tensors until it exists.
    """
    upload_changes(home, tensors, url, unfinished=_UNFINISHED_TENSORS)
    write(home, f"{url}/{_END_OF_TENSORS}", "")


def clear(home: Home, record: Record) -> None:
    """Remove the folder of a job that ended well, but for the log."""
    ml = folder(home, record) / "ml"
    if record["TrainingJobStatus"] == "Completed" and ml.exists():
        shutil.rmtree(ml)


KIND = JobKind(
    key="TrainingJob",
    resource="training-job",
    folder=FOLDER,
    period="Training",
    check=check,
    prepare=prepare,
    watch=watch,
    upload=upload,
    conclude=conclude,
    clear=clear,
    enter=transitions.enter,
    failure="ml/output/failure",
    uploads_when_stopped=True,  # "a stopped training job keeps its model" (API reference, StopTrainingJob)
)
