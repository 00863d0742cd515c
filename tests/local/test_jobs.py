"""Training and processing jobs, as real processes."""

import dataclasses
import errno
import json
import os
import re
import sys
import tarfile
import time

import pytest

from local import processing, training
from local.control import ControlPlane, ServiceError
from local.jobs import JobService

ROLE = "arn:aws:iam::123456789012:role/execution"


@pytest.fixture
def services(home, store):
    made = [JobService(home, store, kind, dict) for kind in (training.KIND, processing.KIND)]
    yield made
    for service in made:
        service.close()


@pytest.fixture
def control(services):
    return ControlPlane(services[0].operations() | services[1].operations())


def put(home, uri, content):
    path = home.object_path(uri)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def finished(control, kind, name):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        record = control.call(f"Describe{kind}", {f"{kind}Name": name})
        if record[f"{kind}Status"] not in {"InProgress", "Stopping"}:
            return record
        time.sleep(0.05)
    raise AssertionError(f"{name} did not end")


def processing_request(program, **members):
    return {
        "ProcessingJobName": "p",
        "RoleArn": ROLE,
        "AppSpecification": {
            "ImageUri": "image",
            "ContainerEntrypoint": [sys.executable, "-c", program],
            "ContainerArguments": ["/opt/ml/processing/input/data", "/opt/ml/processing/output"],
        },
        "ProcessingResources": {
            "ClusterConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.xlarge", "VolumeSizeInGB": 30}
        },
        "ProcessingInputs": [
            {
                "InputName": "data",
                "S3Input": {
                    "S3Uri": "s3://b/in",
                    "LocalPath": "/opt/ml/processing/input/data",
                    "S3DataType": "S3Prefix",
                    "S3InputMode": "File",
                },
            }
        ],
        "ProcessingOutputConfig": {
            "Outputs": [
                {
                    "OutputName": "out",
                    "S3Output": {
                        "S3Uri": "s3://b/out",
                        "LocalPath": "/opt/ml/processing/output",
                        "S3UploadMode": "EndOfJob",
                    },
                }
            ]
        },
    } | members


def training_request(program, **members):
    return {
        "TrainingJobName": "t",
        "RoleArn": ROLE,
        "AlgorithmSpecification": {
            "TrainingImage": "image",
            "TrainingInputMode": "File",
            "ContainerEntrypoint": [sys.executable, "-c", program],
            "ContainerArguments": ["/opt/ml"],
            "MetricDefinitions": [{"Name": "acc", "Regex": r"acc=([0-9.]+|nan)"}],
        },
        "InputDataConfig": [
            {
                "ChannelName": "train",
                "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://b/in"}},
            }
        ],
        "OutputDataConfig": {"S3OutputPath": "s3://b/jobs"},
        "ResourceConfig": {"InstanceType": "ml.m5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 30},
        "StoppingCondition": {"MaxRuntimeInSeconds": 60},
    } | members


COPY = """
import pathlib, sys
source, target = map(pathlib.Path, sys.argv[1:])
(target / "sub").mkdir()
(target / "sub" / "copy.txt").write_text((source / "a b.txt").read_text() + "!")
"""


def test_a_processing_job_reads_its_inputs_and_writes_its_outputs(control, home):
    put(home, "s3://b/in/a b.txt", "hello")
    control.call("CreateProcessingJob", processing_request(COPY))
    record = finished(control, "ProcessingJob", "p")
    assert record["ProcessingJobStatus"] == "Completed", record
    assert home.object_path("s3://b/out/sub/copy.txt").read_text() == "hello!"
    assert record["ProcessingStartTime"] <= record["ProcessingEndTime"]


def test_a_job_cannot_change_the_object_it_replaced(control, home):
    put(home, "s3://b/in/a b.txt", "hello")
    put(home, "s3://b/out/sub/copy.txt", "earlier")
    control.call("CreateProcessingJob", processing_request(COPY))
    finished(control, "ProcessingJob", "p")
    assert home.object_path("s3://b/out/sub/copy.txt").read_text() == "hello!"


def test_a_failed_program_tells_its_last_lines_and_leaves_no_output(control, home):
    put(home, "s3://b/in/a.txt", "x")
    program = "import sys; open(sys.argv[2] + '/half', 'w').write('x'); sys.exit('the reason')"
    control.call("CreateProcessingJob", processing_request(program))
    record = finished(control, "ProcessingJob", "p")
    assert record["ProcessingJobStatus"] == "Failed"
    log = home.folder("processing-jobs", "p") / "log.txt"
    assert record["FailureReason"] == f"AlgorithmError: the reason, exit code: 1 (log: {log})"
    assert not home.object_path("s3://b/out").exists()


def test_the_exit_message_is_kept(control, home):
    put(home, "s3://b/in/a.txt", "x")
    program = "import pathlib, sys\n"
    program += "(pathlib.Path(sys.argv[1]).parents[2] / 'output' / 'message').write_text('3 files')"
    control.call("CreateProcessingJob", processing_request(program))
    assert finished(control, "ProcessingJob", "p")["ExitMessage"] == "3 files"


def test_a_missing_input_fails_the_job_by_name(control):
    control.call("CreateProcessingJob", processing_request("pass"))
    record = finished(control, "ProcessingJob", "p")
    assert record["FailureReason"] == "ClientError: no objects under s3://b/in (input data)"


def test_a_name_is_taken_once(control, home):
    put(home, "s3://b/in/a.txt", "x")
    control.call("CreateProcessingJob", processing_request("pass"))
    with pytest.raises(ServiceError, match="unique"):
        control.call("CreateProcessingJob", processing_request("pass"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"AppSpecification": {"ImageUri": "image"}}, "ContainerEntrypoint is missing"),
        (
            {
                "ProcessingResources": {
                    "ClusterConfig": {"InstanceCount": 2, "InstanceType": "ml.m5.xlarge", "VolumeSizeInGB": 1}
                }
            },
            "InstanceCount is 2",
        ),
        (
            {
                "ProcessingInputs": [
                    {
                        "InputName": "d",
                        "S3Input": {"S3Uri": "s3://b/in", "LocalPath": "/etc", "S3DataType": "S3Prefix"},
                    }
                ]
            },
            "must begin with /opt/ml/processing/",
        ),
        (
            {
                "ProcessingInputs": [
                    {
                        "InputName": "d",
                        "S3Input": {
                            "S3Uri": "s3://b/in",
                            "LocalPath": "/opt/ml/processing/a/../../x",
                            "S3DataType": "S3Prefix",
                        },
                    }
                ]
            },
            "must begin with /opt/ml/processing/",
        ),
        (
            {
                "ProcessingInputs": [
                    {
                        "InputName": "d",
                        "S3Input": {
                            "S3Uri": "s3://b/in",
                            "LocalPath": "/opt/ml/processing/i",
                            "S3DataType": "ManifestFile",
                        },
                    }
                ]
            },
            "S3DataType ManifestFile does not run locally",
        ),
    ],
)
def test_what_cannot_run_here_is_refused_before_it_starts(control, change, message):
    with pytest.raises(ServiceError, match=message):
        control.call("CreateProcessingJob", processing_request("pass", **change))
    assert control.call("ListProcessingJobs", {})["ProcessingJobSummaries"] == []


TRAIN = """
import pathlib, sys
ml = pathlib.Path(sys.argv[1])
text = (ml / "input" / "data" / "train" / "x.txt").read_text()
print("acc=0.5"); print("acc=0.75"); print("acc=nan")
(ml / "model" / "weights").write_text(text)
(ml / "output" / "data" / "curve.csv").write_text("1,2")
"""


def test_a_training_job_leaves_its_model_its_output_and_its_final_metrics(control, home):
    put(home, "s3://b/in/x.txt", "w")
    control.call("CreateTrainingJob", training_request(TRAIN))
    record = finished(control, "TrainingJob", "t")
    assert record["TrainingJobStatus"] == record["SecondaryStatus"] == "Completed", record
    assert record["ModelArtifacts"] == {"S3ModelArtifacts": "s3://b/jobs/t/output/model.tar.gz"}
    assert [(m["MetricName"], m["Value"]) for m in record["FinalMetricDataList"]] == [("acc", 0.75)]
    with tarfile.open(home.object_path("s3://b/jobs/t/output/model.tar.gz")) as archive:
        assert archive.getnames() == ["weights"]
    with tarfile.open(home.object_path("s3://b/jobs/t/output/output.tar.gz")) as archive:
        assert archive.getnames() == ["curve.csv"]


def test_a_training_job_past_its_time_is_stopped(control, home):
    put(home, "s3://b/in/x.txt", "w")
    request = training_request("import time; time.sleep(60)", StoppingCondition={"MaxRuntimeInSeconds": 1})
    control.call("CreateTrainingJob", request)
    record = finished(control, "TrainingJob", "t")
    assert (record["TrainingJobStatus"], record["SecondaryStatus"]) == ("Stopped", "MaxRuntimeExceeded")


def test_a_training_job_can_be_stopped(control, home, services):
    put(home, "s3://b/in/x.txt", "w")
    control.call(
        "CreateTrainingJob", training_request("import time; print('up', flush=True); time.sleep(60)")
    )
    while not services[0].log("t").exists() or "up" not in services[0].log("t").read_text():
        time.sleep(0.02)
    control.call("StopTrainingJob", {"TrainingJobName": "t"})
    assert finished(control, "TrainingJob", "t")["TrainingJobStatus"] == "Stopped"
    with pytest.raises(ServiceError, match="has ended"):
        control.call("StopTrainingJob", {"TrainingJobName": "t"})


def test_an_image_that_would_have_to_be_run_is_refused(control):
    request = training_request(
        "pass", AlgorithmSpecification={"TrainingImage": "xgboost:1", "TrainingInputMode": "File"}
    )
    with pytest.raises(ServiceError, match="not what is inside the image xgboost:1"):
        control.call("CreateTrainingJob", request)


def test_the_toolkit_runs_a_script_with_its_hyperparameters(control, home, bundle):
    put(home, "s3://b/in/x.txt", "w")
    code = bundle(
        "import json, os, pathlib, sys\n"
        "said = {'argv': sys.argv[1:], 'train': os.listdir(os.environ['SM_CHANNEL_TRAIN'])}\n"
        "(pathlib.Path(os.environ['SM_MODEL_DIR']) / 'said.json').write_text(json.dumps(said))\n"
    )
    request = training_request("")
    request["AlgorithmSpecification"] = {"TrainingImage": "pytorch", "TrainingInputMode": "File"}
    request["HyperParameters"] = {
        "sagemaker_program": "package/go.py",
        "sagemaker_submit_directory": code,
        "learning_rate": "0.01",
        "batch_size": '"32"',
    }
    control.call("CreateTrainingJob", request)
    record = finished(control, "TrainingJob", "t")
    assert record["TrainingJobStatus"] == "Completed", record
    with tarfile.open(home.object_path(record["ModelArtifacts"]["S3ModelArtifacts"])) as archive:
        said = json.load(archive.extractfile("said.json"))
    assert said == {"argv": ["--batch_size", "32", "--learning_rate", "0.01"], "train": ["x.txt"]}


def test_a_spot_job_that_was_killed_goes_on_from_its_checkpoint(control, home):
    put(home, "s3://b/in/x.txt", "w")
    program = (
        "import os, pathlib, signal, sys\n"
        "epoch = pathlib.Path(sys.argv[1]) / 'epoch'\n"
        "done = int(epoch.read_text()) if epoch.exists() else 0\n"
        "epoch.write_text(str(done + 1))\n"
        "if done == 0: os.kill(os.getpid(), signal.SIGKILL)\n"
        "print('acc =', done + 1)\n"
    )
    for name, status in (("first", "Failed"), ("second", "Completed")):
        asked = training_request(
            program,
            TrainingJobName=name,
            EnableManagedSpotTraining=True,
            StoppingCondition={"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 60},
            CheckpointConfig={"S3Uri": "s3://b/checkpoints"},
        )
        asked["AlgorithmSpecification"]["ContainerArguments"] = ["/opt/ml/checkpoints"]
        control.call("CreateTrainingJob", asked)
        record = finished(control, "TrainingJob", name)
        assert record["TrainingJobStatus"] == status, record
        assert record["EnableManagedSpotTraining"] is True
    assert home.object_path("s3://b/checkpoints/epoch").read_text() == "2"


@pytest.mark.parametrize(
    "limits", [{"MaxRuntimeInSeconds": 60}, {"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 59}]
)
def test_a_spot_job_says_how_long_it_waits(control, limits):
    with pytest.raises(ServiceError, match="MaxWaitTimeInSeconds of MaxRuntimeInSeconds 60 or more"):
        control.call(
            "CreateTrainingJob",
            training_request("pass", EnableManagedSpotTraining=True, StoppingCondition=limits),
        )


def test_debugger_and_checkpoint_configurations_reach_the_program(control, home):
    put(home, "s3://b/in/x.txt", "w")
    put(home, "s3://b/checkpoints/last", "epoch 3")
    program = (
        "import json, os, pathlib, sys\n"
        "ml = pathlib.Path(sys.argv[1])\n"
        "hook = json.loads(pathlib.Path(os.environ['SMDEBUG_CONFIG_FILE_PATH']).read_text())\n"
        "assert hook['LocalPath'] == f'{ml}/output/tensors', hook\n"
        "(pathlib.Path(hook['LocalPath']) / 'step').write_text('1')\n"
        "assert (ml / 'checkpoints' / 'last').read_text() == 'epoch 3'\n"
        "(ml / 'checkpoints' / 'last').write_text('epoch 4')\n"
    )
    request = training_request(
        program,
        DebugHookConfig={"S3OutputPath": "s3://b/debug"},
        CheckpointConfig={"S3Uri": "s3://b/checkpoints"},
    )
    control.call("CreateTrainingJob", request)
    assert finished(control, "TrainingJob", "t")["TrainingJobStatus"] == "Completed"
    assert home.object_path("s3://b/debug/t/debug-output/step").read_text() == "1"
    assert home.object_path("s3://b/checkpoints/last").read_text() == "epoch 4"


def test_jobs_are_listed_newest_first_in_pages(control, home):
    put(home, "s3://b/in/x.txt", "w")
    for name in ("one", "two", "three"):
        control.call("CreateTrainingJob", training_request("pass", TrainingJobName=name))
        finished(control, "TrainingJob", name)
    first = control.call("ListTrainingJobs", {"MaxResults": 2})
    assert [job["TrainingJobName"] for job in first["TrainingJobSummaries"]] == ["three", "two"]
    second = control.call("ListTrainingJobs", {"MaxResults": 2, "NextToken": first["NextToken"]})
    assert [job["TrainingJobName"] for job in second["TrainingJobSummaries"]] == ["one"]
    assert "NextToken" not in second
    found = control.call("ListTrainingJobs", {"NameContains": "w"})
    assert [job["TrainingJobName"] for job in found["TrainingJobSummaries"]] == ["two"]


@pytest.mark.parametrize("token", ["next", "-1", "²"])
def test_a_page_that_no_page_led_to_is_refused(control, token):
    with pytest.raises(ServiceError, match="NextToken") as caught:
        control.call("ListTrainingJobs", {"NextToken": token})
    assert caught.value.code == "ValidationException"


def test_jobs_are_listed_by_their_last_change(control, home):
    put(home, "s3://b/in/x.txt", "w")
    control.call("CreateTrainingJob", training_request("pass"))
    changed = finished(control, "TrainingJob", "t")["LastModifiedTime"]
    for limits, count in (
        ({"LastModifiedTimeAfter": changed - 1, "LastModifiedTimeBefore": changed + 1}, 1),
        ({"LastModifiedTimeAfter": changed + 1}, 0),
        ({"LastModifiedTimeBefore": changed - 1}, 0),
    ):
        assert len(control.call("ListTrainingJobs", limits)["TrainingJobSummaries"]) == count


@pytest.mark.parametrize(("regex", "message"), [("acc=(", "acc=(' is malformed"), ("acc=[0-9]+", "no group")])
def test_a_metric_that_cannot_be_read_is_refused(control, regex, message):
    request = training_request("pass")
    request["AlgorithmSpecification"]["MetricDefinitions"] = [{"Name": "acc", "Regex": regex}]
    with pytest.raises(ServiceError, match=f"metric acc.*{re.escape(message)}"):
        control.call("CreateTrainingJob", request)


def test_a_metric_that_is_no_number_is_not_emitted(control, home):
    put(home, "s3://b/in/x.txt", "w")
    request = training_request("print('acc=good'); print('acc=0.5'); print('acc=1e999')")
    request["AlgorithmSpecification"]["MetricDefinitions"] = [{"Name": "acc", "Regex": "acc=(.*)"}]
    control.call("CreateTrainingJob", request)
    record = finished(control, "TrainingJob", "t")
    assert record["TrainingJobStatus"] == "Completed", record
    assert [metric["Value"] for metric in record["FinalMetricDataList"]] == [0.5]


def test_a_full_disk_fails_the_job_and_says_so(home, store):
    def prepare(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/home/x")

    service = JobService(home, store, dataclasses.replace(training.KIND, prepare=prepare), dict)
    service.create(training_request("pass"))
    record = service.wait("t")
    assert record["TrainingJobStatus"] == "Failed"
    assert "No space left on device" in record["FailureReason"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_error_of_the_service_itself_does_not_leave_a_job_running(home, store):
    def observe(*_):
        raise RuntimeError("a bug")

    put(home, "s3://b/in/x.txt", "w")
    service = JobService(home, store, dataclasses.replace(training.KIND, observe=observe), dict)
    service.create(training_request("pass"))
    record = service.wait("t")
    assert record["TrainingJobStatus"] == "Failed"
    assert record["FailureReason"].startswith("InternalServerError")


def test_a_stubborn_program_can_be_ended_at_once(home, store):
    put(home, "s3://b/in/x.txt", "w")
    service = JobService(home, store, training.KIND, dict)
    program = (
        "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print('up', flush=True)\ntime.sleep(60)"
    )
    service.create(training_request(program))
    while not (service.log("t").exists() and service.log("t").read_text()):
        time.sleep(0.02)
    service.stop("t")
    began = time.monotonic()
    service.kill()
    assert service.wait("t")["TrainingJobStatus"] == "Stopped"
    assert time.monotonic() - began < 10


def test_a_job_left_running_by_an_earlier_service_is_closed(store, services):
    store.create(
        "TrainingJob",
        "left",
        {
            **training_request("pass"),
            "TrainingJobName": "left",
            "TrainingJobStatus": "InProgress",
            "CreationTime": 1.0,
        },
    )
    services[0].recover()
    record = services[0].describe("left")
    assert record["TrainingJobStatus"] == "Failed"
    assert "the local service ended" in record["FailureReason"]


def test_closing_ends_running_jobs_and_takes_no_more(home, store):
    put(home, "s3://b/in/x.txt", "w")
    service = JobService(home, store, training.KIND, dict)
    service.create(training_request("import time; time.sleep(60)"))
    service.close()
    assert service.describe("t")["TrainingJobStatus"] == "Stopped"
    with pytest.raises(ServiceError, match="ending"):
        service.create(training_request("pass", TrainingJobName="late"))
