"""Processing jobs, as real processes."""

import time

import pytest

from local.jobs import uploads
from local.wire.errors import ServiceError
from tests.local.job_requests import control_plane, finished, job_services, processing_request, put


@pytest.fixture
def control(home, store):
    with job_services(home, store) as services:
        yield control_plane(services)


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


def test_a_job_that_writes_into_its_input_leaves_the_object(control, home):
    put(home, "s3://b/in/a b.txt", "hello")
    program = (
        "import pathlib, sys\n"
        "source, target = map(pathlib.Path, sys.argv[1:])\n"
        "with (source / 'a b.txt').open('r+') as file:\n"
        "    file.write('HE')\n"
        "(target / 'copy.txt').write_text((source / 'a b.txt').read_text())\n"
    )
    control.call("CreateProcessingJob", processing_request(program))
    record = finished(control, "ProcessingJob", "p")
    assert record["ProcessingJobStatus"] == "Completed", record
    assert home.object_path("s3://b/out/copy.txt").read_text() == "HEllo"
    assert home.object_path("s3://b/in/a b.txt").read_text() == "hello"


def test_a_continuous_output_is_uploaded_while_the_job_runs(control, home, tmp_path, monkeypatch):
    monkeypatch.setattr(uploads, "INTERVAL_S", 0.05)
    put(home, "s3://b/in/a.txt", "x")
    program = (
        "import pathlib, sys, time\n"
        "pathlib.Path(sys.argv[2], 'x').write_text('done')\n"
        f"while not pathlib.Path({str(tmp_path / 'go')!r}).exists(): time.sleep(0.02)\n"
        "sys.exit('fails')\n"
    )
    request = processing_request(program)
    request["ProcessingOutputConfig"]["Outputs"][0]["S3Output"]["S3UploadMode"] = "Continuous"
    control.call("CreateProcessingJob", request)
    deadline = time.monotonic() + 30
    while not home.object_path("s3://b/out/x").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    (tmp_path / "go").touch()
    assert finished(control, "ProcessingJob", "p")["ProcessingJobStatus"] == "Failed"
    assert home.object_path("s3://b/out/x").read_text() == "done"


def test_what_would_outlive_a_job_ends_with_it_and_cannot_change_its_output(control, home, tmp_path):
    put(home, "s3://b/in/a.txt", "x")
    program = (
        "import os, pathlib, sys, time\n"
        f"signals = pathlib.Path({str(tmp_path)!r})\n"
        "file = pathlib.Path(sys.argv[2], 'x').open('w')\n"
        "file.write('good')\n"
        "file.flush()\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"  # it is outside the job's process group
        "    (signals / 'apart').touch()\n"
        "    end = time.monotonic() + 60\n"
        "    while not (signals / 'go').exists() and time.monotonic() < end:\n"
        "        time.sleep(0.02)\n"
        "    file.write(' and bad')\n"
        "    file.close()\n"
        "    (signals / 'written').touch()\n"
        "    os._exit(0)\n"
        "while not (signals / 'apart').exists():\n"
        "    time.sleep(0.02)\n"
    )
    control.call("CreateProcessingJob", processing_request(program))
    record = finished(control, "ProcessingJob", "p")
    (tmp_path / "go").touch()
    assert record["ProcessingJobStatus"] == "Completed", record
    time.sleep(0.5)  # it would look for `go` 25 times
    assert not (tmp_path / "written").exists()
    assert home.object_path("s3://b/out/x").read_text() == "good"


def test_inputs_and_outputs_follow_no_symbolic_link(control, home, tmp_path):
    put(home, "s3://b/in/a.txt", "x")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("x")
    (home.s3 / "b" / "in" / "link").symlink_to(outside)
    (home.s3 / "b" / "out").symlink_to(outside)
    program = "import os, sys; assert os.listdir(sys.argv[1]) == ['a.txt']; open(sys.argv[2] + '/y', 'w')"
    control.call("CreateProcessingJob", processing_request(program))
    record = finished(control, "ProcessingJob", "p")
    assert record["ProcessingJobStatus"] == "Failed"
    assert f"leads through the symbolic link {home.s3 / 'b' / 'out'}" in record["FailureReason"]
    assert [path.name for path in outside.iterdir()] == ["secret"]


def test_a_job_cannot_change_the_object_it_replaced(control, home):
    put(home, "s3://b/in/a b.txt", "hello")
    put(home, "s3://b/out/sub/copy.txt", "earlier")
    control.call("CreateProcessingJob", processing_request(COPY))
    finished(control, "ProcessingJob", "p")
    assert home.object_path("s3://b/out/sub/copy.txt").read_text() == "hello!"


def test_a_program_that_finds_the_disk_full_is_not_to_blame(control, home):
    put(home, "s3://b/in/a.txt", "x")
    program = "import errno, os; raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), 'model.tar.gz')"
    control.call("CreateProcessingJob", processing_request(program))
    reason = finished(control, "ProcessingJob", "p")["FailureReason"]
    assert reason.startswith("InternalServerError: the disk is full; make room and start again: OSError: ")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            {"S3Uri": "s3://absent/out"},
            "the bucket of s3://absent/out does not exist; create it with",
        ),
        ({"S3Uri": "s3://Bad_Bucket/out"}, "'Bad_Bucket' is not a valid bucket name"),
        ({"S3Uri": "s3://b/in/a.txt"}, "the key of s3://b/in/a.txt/y cannot exist beside another key"),
    ],
)
def test_an_output_that_cannot_be_in_s3_fails_the_job_and_makes_nothing(control, home, change, reason):
    put(home, "s3://b/in/a.txt", "x")
    request = processing_request("import sys; open(sys.argv[2] + '/y', 'w')")
    outputs = request["ProcessingOutputConfig"]["Outputs"]
    outputs.append({"OutputName": "other", "S3Output": {**outputs[0]["S3Output"], **change}})
    control.call("CreateProcessingJob", request)
    record = finished(control, "ProcessingJob", "p")
    assert record["ProcessingJobStatus"] == "Failed"
    assert record["FailureReason"].startswith("ClientError: ") and reason in record["FailureReason"]
    assert [str(path.relative_to(home.s3)) for path in home.s3.rglob("*") if path.is_file()] == ["b/in/a.txt"]
    assert {path.name for path in home.s3.iterdir()} <= {"b", ".temporary"}


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


@pytest.mark.parametrize("member", ["ContainerEntrypoint", "ContainerArguments"])
@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("", r"^Found null or empty string in {0} at index 1\. ContainerArguments and ContainerEntrypoint "
         r"may not contain null or empty strings\.$"),
        (None, r"AppSpecification\.{0}\[1\], value: None"),
    ],
)  # fmt: skip
def test_an_empty_word_in_the_command_is_refused(control, member, word, message):
    request = processing_request("pass")
    request["AppSpecification"][member][1] = word
    with pytest.raises(ServiceError, match=message.format(member)):
        control.call("CreateProcessingJob", request)
    assert control.call("ListProcessingJobs", {})["ProcessingJobSummaries"] == []


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


def test_a_job_manages_its_own_inputs_and_outputs(control, home):
    (home.s3 / "b").mkdir(parents=True)
    program = "import os; print(sorted(os.listdir('.')), os.path.exists('processing/input'))"
    request = processing_request(program)
    request["ProcessingInputs"] = [
        {
            "InputName": "d",
            "AppManaged": True,
            "S3Input": {"S3Uri": "s3://absent/", "S3DataType": "S3Prefix"},
        },
        {
            "InputName": "e",
            "AppManaged": True,
            "S3Input": {
                "S3Uri": "s3://absent/e",
                "LocalPath": "/opt/ml/processing/input",
                "S3DataType": "ManifestFile",
            },
        },
    ]
    output = {"S3Uri": "s3://absent/out", "S3UploadMode": "EndOfJob"}
    request["ProcessingOutputConfig"]["Outputs"] = [
        {"OutputName": "o", "AppManaged": True, "S3Output": output}
    ]
    control.call("CreateProcessingJob", request)
    record = finished(control, "ProcessingJob", "p")
    assert record["ProcessingJobStatus"] == "Completed", record
    assert home.folder("processing-jobs", "p").joinpath("log.txt").read_text().endswith("False\n")


@pytest.mark.parametrize("side", ["input d", "output o"])
def test_a_path_is_required_unless_the_job_manages_it(control, side):
    request = processing_request("pass")
    if side == "input d":
        request["ProcessingInputs"] = [
            {"InputName": "d", "S3Input": {"S3Uri": "s3://b/in", "S3DataType": "S3Prefix"}}
        ]
    else:
        request["ProcessingOutputConfig"]["Outputs"] = [
            {"OutputName": "o", "S3Output": {"S3Uri": "s3://b/o", "S3UploadMode": "EndOfJob"}}
        ]
    with pytest.raises(ServiceError, match=f"{side}: LocalPath is a required parameter when AppManaged is"):
        control.call("CreateProcessingJob", request)


@pytest.mark.parametrize(
    ("names", "paths", "message"),
    [
        (("d", "d"), ("a", "b"), "InputName must be unique: 'd' occurs 2 times"),
        (
            ("d", "e"),
            ("a", "a/"),
            "LocalPath of inputs must be unique: '/opt/ml/processing/a' occurs 2",
        ),
    ],
)
def test_inputs_have_names_and_folders_of_their_own(control, names, paths, message):
    source = {"S3Uri": "s3://b/in", "S3DataType": "S3Prefix", "S3InputMode": "File"}
    inputs = [
        {"InputName": name, "S3Input": {**source, "LocalPath": f"/opt/ml/processing/{path}"}}
        for name, path in zip(names, paths, strict=True)
    ]
    with pytest.raises(ServiceError, match=message):
        control.call("CreateProcessingJob", processing_request("pass", ProcessingInputs=inputs))


def test_a_message_that_is_a_folder_is_none(control, home):
    put(home, "s3://b/in/x.txt", "x")
    program = "import os; os.mkdir('output/message'); raise SystemExit('why')"
    control.call("CreateProcessingJob", processing_request(program))
    record = finished(control, "ProcessingJob", "p")
    assert record["FailureReason"].startswith("AlgorithmError: why, exit code: 1")
    assert "ExitMessage" not in record


def test_an_output_whose_name_is_not_utf8_is_named_and_nothing_is_uploaded(control, home):
    put(home, "s3://b/in/x.txt", "x")
    program = "import sys; [open(sys.argv[2].encode() + name, 'w') for name in (b'/a', b'/b\\xff')]"
    control.call("CreateProcessingJob", processing_request(program))
    record = finished(control, "ProcessingJob", "p")
    told = r"ClientError: the file 'b\udcff' has a name that is not UTF-8, which S3 cannot keep"
    assert record.get("FailureReason") == told
    assert not (home.s3 / "b" / "out").exists()
