"""Training jobs, as real processes."""

import json
import re
import tarfile
import time

import pytest

from local.jobs import uploads
from local.wire.errors import ServiceError
from tests.local.job_requests import finished, put, training_request

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


def test_a_spot_job_that_was_killed_continues_from_its_checkpoint(control, home):
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


def test_tensors_are_uploaded_while_the_job_runs_and_are_never_partial(control, home, tmp_path, monkeypatch):
    monkeypatch.setattr(uploads, "INTERVAL_S", 0.05)
    put(home, "s3://b/in/x.txt", "w")
    program = (
        "import os, pathlib, sys, time\n"
        "tensors, go = pathlib.Path(sys.argv[1], 'output/tensors'), pathlib.Path(sys.argv[2])\n"
        "(tensors / 'step').write_text('1')\n"
        "(tensors / 'half.tmp').write_text('1')\n"
        "while not go.exists(): time.sleep(0.02)\n"
        "(tensors / 'last').write_text('2')\n"
        "sys.exit('a failed job keeps its folder')\n"
    )
    request = training_request(program, DebugHookConfig={"S3OutputPath": "s3://b/debug"})
    request["AlgorithmSpecification"]["ContainerArguments"].append(str(tmp_path / "go"))
    control.call("CreateTrainingJob", request)
    bucket = home.object_path("s3://b/debug/t/debug-output")
    deadline = time.monotonic() + 30
    while not (bucket / "step").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert [path.name for path in bucket.iterdir()] == ["step"]
    (tmp_path / "go").touch()
    assert finished(control, "TrainingJob", "t")["TrainingJobStatus"] == "Failed"
    assert sorted(path.name for path in bucket.iterdir()) == ["last", "step", "training_job_end.ts"]
    kept = home.folder("training-jobs", "t") / "ml" / "output" / "tensors"
    assert kept.resolve() == home.root.resolve() / kept.relative_to(home.root), (
        "no link leads into the bucket"
    )
    (kept / "step").write_text("edited")
    assert (bucket / "step").read_text() == "1"


def test_tensors_that_have_no_place_fail_the_job(control, home):
    put(home, "s3://b/in/x.txt", "w")
    put(home, "s3://b/debug/t/debug-output/step/1", "x")
    program = "import pathlib, sys; pathlib.Path(sys.argv[1], 'output/tensors/step').write_text('1')"
    request = training_request(program, DebugHookConfig={"S3OutputPath": "s3://b/debug"})
    control.call("CreateTrainingJob", request)
    record = finished(control, "TrainingJob", "t")
    assert record["TrainingJobStatus"] == record["SecondaryStatus"] == "Failed"
    assert record["FailureReason"].startswith("ClientError: the local S3 keeps objects as files; the key of")


def test_a_channel_has_what_begins_with_its_prefix(control, home):
    for key in ("data/flowers/ants/1", "data/flowers-v2/ants/1", "data/raw-1"):
        put(home, f"s3://b/{key}", "x")
    program = (
        "import pathlib, sys\n"
        "channel = pathlib.Path(sys.argv[1], 'input/data/train')\n"
        "print(*sorted(str(path.relative_to(channel)) for path in channel.rglob('*') if path.is_file()))\n"
    )
    for name, prefix, said in (
        ("bare", "data/flowers", "ants/1 flowers-v2/ants/1"),
        ("slash", "data/flowers/", "ants/1"),
        ("part", "data/raw-", "raw-1"),
    ):
        request = training_request(program, TrainingJobName=name)
        request["InputDataConfig"][0]["DataSource"]["S3DataSource"]["S3Uri"] = f"s3://b/{prefix}"
        control.call("CreateTrainingJob", request)
        assert finished(control, "TrainingJob", name)["TrainingJobStatus"] == "Completed"
        assert (home.folder("training-jobs", name) / "log.txt").read_text().strip().endswith(said)


@pytest.mark.parametrize(
    ("members", "uri"),
    [
        ({"OutputDataConfig": {"S3OutputPath": "s3://absent/x"}}, "s3://absent/x/t/output/model.tar.gz"),
        ({"CheckpointConfig": {"S3Uri": "s3://absent/x"}}, "s3://absent/x"),
        ({"DebugHookConfig": {"S3OutputPath": "s3://absent/x"}}, "s3://absent/x/t/debug-output"),
        ({"ProfilerConfig": {"S3OutputPath": "s3://absent/x"}}, "s3://absent/x/t/profiler-output"),
    ],
)
def test_no_output_makes_a_bucket(control, home, members, uri):
    put(home, "s3://b/in/x.txt", "x")
    control.call("CreateTrainingJob", training_request("pass", **members))
    reason = finished(control, "TrainingJob", "t")["FailureReason"]
    assert reason == f"ClientError: the bucket of {uri} does not exist; create it with aws s3 mb s3://absent"
    assert not (home.s3 / "absent").exists()


def test_checkpoints_that_cannot_be_kept_fail_the_job(control, home):
    put(home, "s3://b/in/x.txt", "x")
    put(home, "s3://b/checkpoints/last/1", "x")
    program = "import sys; open(sys.argv[1] + '/checkpoints/last', 'w')"
    program = "import shutil, sys; shutil.rmtree(sys.argv[1] + '/checkpoints/last')\n" + program
    control.call(
        "CreateTrainingJob", training_request(program, CheckpointConfig={"S3Uri": "s3://b/checkpoints"})
    )
    record = finished(control, "TrainingJob", "t")
    assert record["TrainingJobStatus"] == record["SecondaryStatus"] == "Failed"
    assert "ClientError: the local S3 keeps objects as files" in record["FailureReason"]


def test_a_job_that_writes_into_its_channel_or_its_kept_checkpoint_leaves_the_objects(control, home):
    put(home, "s3://b/in/x.txt", "data")
    program = (
        "import pathlib, sys\n"
        "ml = pathlib.Path(sys.argv[1])\n"
        "with (ml / 'input' / 'data' / 'train' / 'x.txt').open('r+') as file:\n"
        "    file.write('DA')\n"
        "(ml / 'checkpoints' / 'last').write_text('epoch 3')\n"
        "sys.exit('a failed job keeps its folder')\n"
    )
    request = training_request(program, CheckpointConfig={"S3Uri": "s3://b/checkpoints"})
    control.call("CreateTrainingJob", request)
    assert finished(control, "TrainingJob", "t")["TrainingJobStatus"] == "Failed"
    ml = home.folder("training-jobs", "t") / "ml"
    assert (ml / "input" / "data" / "train" / "x.txt").read_text() == "DAta"
    assert home.object_path("s3://b/in/x.txt").read_text() == "data"
    with (ml / "checkpoints" / "last").open("r+") as file:
        file.write("EPOCH")
    assert home.object_path("s3://b/checkpoints/last").read_text() == "epoch 3"


def test_checkpoints_come_from_no_symbolic_link(control, home, tmp_path):
    put(home, "s3://b/in/x.txt", "data")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("x")
    put(home, "s3://b/checkpoints/last", "epoch 3")
    (home.s3 / "b" / "checkpoints" / "link").symlink_to(outside)
    program = "import os, sys; assert os.listdir(sys.argv[1]) == ['last']"
    for name, uri, status in (
        ("inside", "s3://b/checkpoints", "Completed"),
        ("through", "s3://b/checkpoints/link", "Failed"),
    ):
        request = training_request(program, TrainingJobName=name, CheckpointConfig={"S3Uri": uri})
        request["AlgorithmSpecification"]["ContainerArguments"] = ["/opt/ml/checkpoints"]
        control.call("CreateTrainingJob", request)
        record = finished(control, "TrainingJob", name)
        assert record["TrainingJobStatus"] == status, record
    assert "leads through the symbolic link" in record["FailureReason"]


@pytest.mark.parametrize("name", ["..", ".", "../../../../outside", "a/b", "a\0"])
def test_a_channel_whose_name_is_not_a_folder_is_refused(control, name):
    request = training_request("pass")
    request["InputDataConfig"][0]["ChannelName"] = name
    with pytest.raises(
        ServiceError, match=r"a ChannelName must be a valid folder name|channelName. failed to satisfy"
    ):
        control.call("CreateTrainingJob", request)


@pytest.mark.parametrize("path", ["/opt/ml/../../outside", "/opt/ml/..", "/tmp/tensors"])
def test_tensors_stay_in_the_folder_of_the_job(control, path):
    hook = {"S3OutputPath": "s3://b/debug", "LocalPath": path}
    with pytest.raises(ServiceError, match="LocalPath must begin with /opt/ml/ and have no part"):
        control.call("CreateTrainingJob", training_request("pass", DebugHookConfig=hook))


@pytest.mark.parametrize("member", ["ContainerEntrypoint", "ContainerArguments"])
def test_an_empty_word_in_the_command_is_refused(control, member):
    request = training_request("pass")
    request["AlgorithmSpecification"][member].insert(1, "")
    with pytest.raises(ServiceError, match=f"Found null or empty string in {member} at index 1"):
        control.call("CreateTrainingJob", request)


@pytest.mark.parametrize(("regex", "message"), [("acc=(", "acc=(' is malformed"), ("acc=[0-9]+", "no group")])
def test_a_metric_that_cannot_be_read_is_refused(control, regex, message):
    request = training_request("pass")
    request["AlgorithmSpecification"]["MetricDefinitions"] = [{"Name": "acc", "Regex": regex}]
    with pytest.raises(ServiceError, match=f"metric acc.*{re.escape(message)}"):
        control.call("CreateTrainingJob", request)


def test_a_metric_that_is_not_a_number_is_not_emitted(control, home):
    put(home, "s3://b/in/x.txt", "w")
    request = training_request("print('acc=good'); print('acc=0.5'); print('acc=1e999')")
    request["AlgorithmSpecification"]["MetricDefinitions"] = [{"Name": "acc", "Regex": "acc=(.*)"}]
    control.call("CreateTrainingJob", request)
    record = finished(control, "TrainingJob", "t")
    assert record["TrainingJobStatus"] == "Completed", record
    assert [metric["Value"] for metric in record["FinalMetricDataList"]] == [0.5]


def test_what_a_job_asks_of_its_outputs_and_instances_is_done(control, home):
    put(home, "s3://b/in/x.txt", "x")
    put(home, "s3://b/kept/last", "epoch 3")
    program = (
        "import json, os, pathlib, sys\n"
        "ml = pathlib.Path(sys.argv[1])\n"
        "assert (ml / 'state' / 'last').read_text() == 'epoch 3'\n"
        "(ml / 'state' / 'last').write_text('epoch 4')\n"
        "board = json.loads(pathlib.Path(os.environ['TENSORBOARD_CONFIG_FILE_PATH']).read_text())\n"
        "assert board['LocalPath'] == f'{ml}/output/tensorboard', board\n"
        "(pathlib.Path(board['LocalPath']) / 'events').write_text('e')\n"
        "(ml / 'model' / 'code').mkdir()\n"
        "(ml / 'model' / 'code' / 'weights').write_text('w')\n"
        "(ml / 'output' / 'data' / 'curve').write_text('c')\n"
        "resources = json.loads((ml / 'input/config/resourceconfig.json').read_text())\n"
        "print(resources['current_group_name'], resources['instance_groups'][0]['instance_group_name'])\n"
    )
    group = {"InstanceGroupName": "mine", "InstanceType": "ml.m5.large", "InstanceCount": 1}
    request = training_request(
        program,
        CheckpointConfig={"S3Uri": "s3://b/kept", "LocalPath": "/opt/ml/state"},
        TensorBoardOutputConfig={"S3OutputPath": "s3://b/board/"},
        OutputDataConfig={"S3OutputPath": "s3://b/jobs", "CompressionType": "NONE"},
        ResourceConfig={"InstanceGroups": [group], "VolumeSizeInGB": 30},
    )
    control.call("CreateTrainingJob", request)
    record = finished(control, "TrainingJob", "t")
    assert record["TrainingJobStatus"] == "Completed", record
    assert record["ModelArtifacts"] == {"S3ModelArtifacts": "s3://b/jobs/t/output/model/"}
    made = {
        "kept/last": "epoch 4",
        "board/t/tensorboard-output/events": "e",
        "jobs/t/output/model/code/weights": "w",
        "jobs/t/output/data/curve": "c",
    }
    bucket = home.s3 / "b"
    found = {str(path.relative_to(bucket)): path.read_text() for path in bucket.rglob("*") if path.is_file()}
    assert found == made | {"in/x.txt": "x"}
    assert (home.folder("training-jobs", "t") / "log.txt").read_text().endswith("mine mine\n")


def groups(*counts):
    return [
        {"InstanceGroupName": f"g{count}", "InstanceType": "ml.m5.large", "InstanceCount": count}
        for count in counts
    ]


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"ResourceConfig": {"InstanceGroups": groups(2)}}, "InstanceCount is 2; the local service has one"),
        ({"ResourceConfig": {"InstanceGroups": groups(1, 1)}}, "InstanceCount is 2"),
        ({"CheckpointConfig": {"S3Uri": "s3://b/c", "LocalPath": "/mnt/c"}}, "CheckpointConfig: Local"),
        ({"CheckpointConfig": {"S3Uri": "s3://b/c", "LocalPath": "/opt/ml/"}}, "CheckpointConfig: Local"),
        (
            {"TensorBoardOutputConfig": {"S3OutputPath": "s3://b/c", "LocalPath": "/opt/ml/../x"}},
            "TensorBoardOutputConfig: LocalPath must begin with /opt/ml/ and have no part '..'",
        ),
        (
            {
                "CheckpointConfig": {"S3Uri": "s3://b/c", "LocalPath": "/opt/ml/output/tensorboard/c"},
                "TensorBoardOutputConfig": {"S3OutputPath": "s3://b/t"},
            },
            "CheckpointConfig: LocalPath /opt/ml/output/tensorboard/c lies in /opt/ml/output/tensor",
        ),
        ({"MlflowConfig": {"MlflowResourceArn": "arn:aws:sagemaker:us-east-1:123456789012:mlflow-app/x"}},
         "the local service does not support MlflowConfig; leave it out here"),
    ],
)  # fmt: skip
def test_what_cannot_run_here_is_refused_before_it_starts(control, members, message):
    with pytest.raises(ServiceError, match=re.escape(message)):
        control.call("CreateTrainingJob", training_request("pass", **members))
    assert control.call("ListTrainingJobs", {})["TrainingJobSummaries"] == []


@pytest.mark.parametrize("wrapped", [{"CompressionType": "Gzip"}, {"RecordWrapperType": "RecordIO"}])
def test_what_is_for_pipe_mode_is_refused_in_file_mode(control, wrapped):
    request = training_request("pass")
    request["InputDataConfig"][0] |= wrapped
    with pytest.raises(ServiceError, match="in File mode, leave this field unset or set it to None"):
        control.call("CreateTrainingJob", request)


def test_channels_have_names_of_their_own(control):
    request = training_request("pass")
    request["InputDataConfig"] *= 2
    with pytest.raises(ServiceError, match="ChannelName must be unique: 'train' occurs 2 times"):
        control.call("CreateTrainingJob", request)


REMOVE = "import os, shutil, sys\nshutil.rmtree(sys.argv[1] + '/{0}')\n"


@pytest.mark.parametrize("compression", ["GZIP", "NONE"])
@pytest.mark.parametrize(
    ("program", "reason"),
    [
        (REMOVE.format("output/data"), None),
        (REMOVE.format("output"), None),
        (REMOVE.format("model"), "/opt/ml/model is no longer a folder"),
        (
            REMOVE.format("model") + "os.symlink('/etc', sys.argv[1] + '/model')\n",
            "/opt/ml/model is no longer a folder",
        ),
        (
            REMOVE.format("output/data") + "open(sys.argv[1] + '/output/data', 'w')",
            "/opt/ml/output/data is no",
        ),
    ],
)
def test_what_a_program_removes_or_replaces_is_named(control, home, compression, program, reason):
    put(home, "s3://b/in/x.txt", "x")
    target = {"S3OutputPath": "s3://b/jobs", "CompressionType": compression}
    control.call("CreateTrainingJob", training_request(program, OutputDataConfig=target))
    record = finished(control, "TrainingJob", "t")
    if reason is None:
        assert record["TrainingJobStatus"] == "Completed", record
    else:
        assert record["FailureReason"].startswith(f"AlgorithmError: {reason}")
        assert record["FailureReason"].endswith("the program removed or replaced it; leave it where it is")
        assert not (home.s3 / "b" / "jobs").exists()


def test_a_job_that_was_stopped_before_its_time_was_over_is_stopped(control, home, services):
    put(home, "s3://b/in/x.txt", "x")
    program = (
        "import signal, time\nsignal.signal(15, signal.SIG_IGN)\nprint('up', flush=True)\ntime.sleep(60)"
    )
    services[0]._stop_timeout_s = 4
    request = training_request(program, StoppingCondition={"MaxRuntimeInSeconds": 3})
    control.call("CreateTrainingJob", request)
    while not services[0].log("t").exists() or "up" not in services[0].log("t").read_text():
        time.sleep(0.02)
    control.call("StopTrainingJob", {"TrainingJobName": "t"})
    record = finished(control, "TrainingJob", "t")
    assert record["TrainingEndTime"] - record["TrainingStartTime"] > 3
    assert (record["TrainingJobStatus"], record["SecondaryStatus"]) == ("Stopped", "Stopped")
    assert "FailureReason" not in record
