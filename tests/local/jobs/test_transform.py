"""Batch transform jobs with a real model server, which most tests share."""

import gzip
import json
import time

import psutil
import pytest

from local.endpoints import model_server
from local.endpoints.model_server import launch
from local.home.home import Home
from local.home.store import Store
from local.jobs import model_client, transform
from local.processes.environment import base_environment
from local.processes.start import Started
from local.wire.errors import ServiceError
from tests.local.endpoint_service import pack
from tests.local.job_requests import finished
from tests.local.transform_requests import IMAGE, create_model, transform_request, transforms

LINES = {"SplitType": "Line"}
ASSEMBLED = {"AssembleWith": "Line"}


class Lent:
    """A server that outlives the job that ends it."""

    def __init__(self, server):
        self._server = server

    def __getattr__(self, name):
        return getattr(self._server, name)

    def stop(self):
        pass


class Scene:
    """Transform jobs on one home, their model server among them."""

    def __init__(self, home, control):
        self.home = home
        self.control = control

    def put(self, key, content):
        path = self.home.object_path(f"s3://b/{key}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    def run(self, name, uri, *arguments, **members):
        self.control.call("CreateTransformJob", transform_request(name, uri, *arguments, **members))
        return finished(self.control, "TransformJob", name)

    def results(self, name):
        folder = self.home.object_path(f"s3://b/out/{name}")
        files = [path for path in folder.rglob("*") if path.is_file()]
        return {str(path.relative_to(folder)): path.read_bytes() for path in files}

    def log(self, name):
        return (self.home.folder("transform-jobs", name) / "log.txt").read_text()


@pytest.fixture(scope="module")
def apart(tmp_path_factory):
    """A scene in which every job has a server of its own."""
    home = Home(tmp_path_factory.mktemp("transform") / "home")
    home.make()
    (home.s3 / "b").mkdir()
    store = Store(home.database)
    with transforms(home, store) as control:
        create_model(control, home, WORD="given", SAGEMAKER_PROGRAM="model.py")
        yield Scene(home, control)
    store.close()


@pytest.fixture(scope="module")
def server(apart, tmp_path_factory):
    archive = apart.home.object_path("s3://bucket/m.tar.gz")
    server = launch(apart.home, archive, tmp_path_factory.mktemp("server"), base_environment({}))
    yield Lent(server)
    server.stop()


@pytest.fixture
def scene(apart, server, monkeypatch):
    """The scene with one server for all jobs; failures are retried at once."""
    monkeypatch.setattr(transform, "launch", lambda *_: server)
    monkeypatch.setattr(model_client, "RETRY_INTERVAL_S", 0)
    return apart


def test_every_object_below_a_string_prefix_has_its_result(scene):
    scene.put("1/pictures/a.jpg", b"\xff\n\x00")
    scene.put("1/pictures/sub/b c.jpg", b"headers")
    scene.put("1/pictures/empty.jpg", b"")
    scene.put("1/pictures-2/a.jpg", b"x")
    scene.put("1/other.jpg", b"y")
    source = {"ContentType": "image/jpeg"}
    record = scene.run("prefix", "s3://b/1/pictures", source=source, target={"Accept": "application/json"})
    assert record["TransformJobStatus"] == "Completed", record
    assert record["TransformJobArn"].endswith(":transform-job/prefix")
    assert record["TransformStartTime"] <= record["TransformEndTime"]
    assert scene.results("prefix") == {
        "a.jpg.out": b"[\xff\n\x00]",
        "sub/b c.jpg.out": b"image/jpeg application/json",
        "empty.jpg.out": b"[]",
        "pictures-2/a.jpg.out": b"[x]",
    }
    log = scene.log("prefix").splitlines()
    assert log[0].endswith(
        ":[sagemaker logs]: MaxConcurrentTransforms=1, MaxPayloadInMB=6, BatchStrategy=MULTI_RECORD"
    )
    assert log[-1].endswith("b/1/pictures/sub/b c.jpg: done, 4 of 4 objects")
    left = scene.home.folder("transform-jobs", "prefix").iterdir()
    assert {path.name for path in left} == {"log.txt", "log.times"}


def test_a_manifest_names_the_objects(scene):
    scene.put("2/a.txt", b"a")
    scene.put("2/c/d.txt", b"d")
    scene.put("2/unlisted.txt", b"u")
    scene.put("2.manifest", json.dumps([{"prefix": "s3://b/2/"}, "c/d.txt", "a.txt"]).encode())
    record = scene.run("manifest", "s3://b/2.manifest", "ManifestFile")
    assert record["TransformJobStatus"] == "Completed", record
    assert scene.results("manifest") == {"a.txt.out": b"[a]", "c/d.txt.out": b"[d]"}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"not JSON", "s3://b/3.manifest is not a manifest; expected JSON like"),
        (b'["s3://b/2/", "a.txt"]', "s3://b/3.manifest is not a manifest; expected JSON like"),
        (b'[{"prefix": "s3://b/3/"}]', "S3 key: s3://b/3.manifest matched no files on s3"),
        (b'[{"prefix": "s3://b/3/"}, "x"]', "S3 key: s3://b/3/x matched no files on s3"),
        (b'[{"prefix": "s3://b/3"}, "../../x"]', "matched no files on s3"),
    ],
)
def test_a_manifest_of_nothing_fails_the_job(scene, content, reason):
    scene.put("3.manifest", content)
    name = f"manifest-{len(content)}"
    record = scene.run(name, "s3://b/3.manifest", "ManifestFile")
    assert record["TransformJobStatus"] == "Failed"
    assert record["FailureReason"].startswith("ClientError: ")
    assert reason in record["FailureReason"]
    assert scene.results(name) == {}


def test_a_result_never_leaves_its_folder(scene):
    scene.put("4../x", b"x")
    scene.put("4.manifest", json.dumps([{"prefix": "s3://b/4"}, "../x"]).encode())
    record = scene.run("outside", "s3://b/4.manifest", "ManifestFile")
    assert record["FailureReason"] == (
        "ClientError: b/4../x has no result: the key ../x.out has a part '.' or '..'"
    )


def test_lines_are_records_in_batches_or_one_by_one(scene):
    long = b"x" * 400_000
    scene.put("5/long.txt", b"\n".join([long, b"flaky", long, long, b"last"]) + b"\n")
    scene.put("5/nothing.txt", b"")
    one = scene.run("multi", "s3://b/5/", source=LINES, target=ASSEMBLED, MaxPayloadInMB=1)
    each = scene.run("single", "s3://b/5", source=LINES, target=ASSEMBLED, BatchStrategy="SingleRecord")
    assert (one["TransformJobStatus"], each["TransformJobStatus"]) == ("Completed", "Completed")
    assert scene.results("multi") == {
        "nothing.txt.out": b"",
        "long.txt.out": b"[%b\nflaky\n%b]\n[%b\nlast]\n" % (long, long, long),
    }
    assert scene.results("single")["long.txt.out"] == (
        b"[%b]\n[flaky]\n[%b]\n[%b]\n[last]\n" % (long, long, long)
    )
    assert "MaxPayloadInMB=1, BatchStrategy=MULTI_RECORD" in scene.log("multi")
    assert "BatchStrategy=SINGLE_RECORD" in scene.log("single")


def test_gzipped_objects_are_sent_unpacked(scene):
    scene.put("6/a.csv.gz", gzip.compress(b"1,2\n3\n"))
    source = {**LINES, "CompressionType": "Gzip", "ContentType": "text/csv"}
    record = scene.run("gzip", "s3://b/6/a.csv.gz", source=source, target=ASSEMBLED)
    assert record["TransformJobStatus"] == "Completed", record
    assert scene.results("gzip") == {"a.csv.gz.out": b"2\n1\n"}
    scene.put("6/half.csv.gz", gzip.compress(b"1,2\n3\n" * 9000)[:-40])
    record = scene.run("half", "s3://b/6/", source=source)
    assert record["FailureReason"].startswith(
        "ClientError: See job logs for more information: 1 of 2 objects"
    )
    assert "b/6/half.csv.gz: the object is not a complete gzip file" in scene.log("half")
    assert list(scene.results("half")) == ["a.csv.gz.out"]


def test_requests_are_under_way_at_once_and_results_in_order(scene):
    scene.put("7/a.txt", b"slow\n" * 12)
    members = {"MaxConcurrentTransforms": 4, "BatchStrategy": "SingleRecord"}
    record = scene.run("at-once", "s3://b/7/", source=LINES, target=ASSEMBLED, **members)
    assert record["TransformJobStatus"] == "Completed", record
    seen = [int(line) for line in scene.results("at-once")["a.txt.out"].split()]
    assert len(seen) == 12
    assert 2 <= max(seen) <= 4
    scene.put("8/a.txt", b"\n".join(b"%d" % number for number in range(100)))
    scene.run("in-order", "s3://b/8/", source=LINES, **members)
    answers = b"".join(b"[%d]" % number for number in range(100))
    assert scene.results("in-order") == {"a.txt.out": answers}


def test_one_bad_record_costs_its_object_and_fails_the_job(scene):
    scene.put("9/bad.txt", b"good\nrefuse\ndie\n")  # what comes after it is not sent
    scene.put("9/good.txt", b"good\n")
    scene.put("9/large.txt", b"good\n" + b"x" * 1_100_000 + b"\n")
    record = scene.run("bad", "s3://b/9/", source=LINES, MaxPayloadInMB=1, BatchStrategy="SingleRecord")
    log = scene.home.folder("transform-jobs", "bad") / "log.txt"
    assert record["TransformJobStatus"] == "Failed"
    assert record["FailureReason"] == (
        "ClientError: See job logs for more information: 2 of 3 objects failed, b/9/bad.txt first:"
        f" ClientError: 400 (log: {log})"
    )
    assert scene.results("bad") == {"good.txt.out": b"[good]"}
    said = [line.partition(":[sagemaker logs]: ")[2] for line in log.read_text().splitlines()[1:]]
    assert said == [
        "b/9/bad.txt: ClientError: 400",
        "b/9/bad.txt: ",
        "b/9/bad.txt: Message:",
        "b/9/bad.txt: not a picture",
        "b/9/bad.txt: but a word",
        "b/9/good.txt: done, 1 of 3 objects",
        "b/9/large.txt: the record is larger than MaxPayloadInMB",
    ]


def test_an_answer_that_is_not_an_answer_is_asked_for_again(scene):
    scene.put("10/a.txt", b"flaky 1")
    record = scene.run("again", "s3://b/10/", ModelClientConfig={"InvocationsMaxRetries": 1})
    assert record["TransformJobStatus"] == "Completed", record
    scene.put("10/a.txt", b"flaky 2")
    record = scene.run("once", "s3://b/10/", ModelClientConfig={"InvocationsMaxRetries": 0})
    assert record["FailureReason"].startswith("AlgorithmError: See job logs for more information")
    assert "b/10/a.txt: Bad HTTP status received from algorithm: 503" in scene.log("once")
    scene.put("10/a.txt", b"late")
    record = scene.run(
        "late",
        "s3://b/10/",
        ModelClientConfig={"InvocationsMaxRetries": 0, "InvocationsTimeoutInSeconds": 1},
    )
    assert record["FailureReason"].startswith("AlgorithmError: See job logs for more information")
    assert "b/10/a.txt: Unable to get response from algorithm" in scene.log("late")
    assert "b/10/a.txt: no answer within 1 s" in scene.log("late")


def test_rows_of_csv_are_filtered_and_joined(scene):
    scene.put("11/a.csv", b'id1,1,2\n"id,2",3,4,5\n')
    source, target = {**LINES, "ContentType": "text/csv"}, {**ASSEMBLED, "Accept": "text/csv"}
    filters = {"InputFilter": "$[1:]", "JoinSource": "Input", "OutputFilter": "$[0,-1]"}
    record = scene.run("csv", "s3://b/11/", source=source, target=target, DataProcessing=filters)
    assert record["TransformJobStatus"] == "Completed", record
    assert scene.results("csv") == {"a.csv.out": b'id1,2\n"id,2",3\n'}
    joined = {"JoinSource": "Input"}
    scene.run("joined", "s3://b/11/", source=source, target=target, DataProcessing=joined)
    assert scene.results("joined") == {"a.csv.out": b'id1,1,2,3\n"id,2",3,4,5,5\n'}


def test_json_lines_are_filtered_and_joined(scene):
    scene.put("12/a.jsonl", b'{"id": 1, "x": [4], "more": 0}\n{"id": 2, "x": []}\n')
    scene.put("12/b.jsonl", b'{"id": 3}\n')
    kind = "application/jsonlines"
    source, target = {**LINES, "ContentType": kind}, {**ASSEMBLED, "Accept": kind}
    filters = {"InputFilter": "$.x", "JoinSource": "Input", "OutputFilter": "$['id','SageMakerOutput']"}
    record = scene.run("json", "s3://b/12/", source=source, target=target, DataProcessing=filters)
    assert scene.results("json") == {
        "a.jsonl.out": b'{"id":1,"SageMakerOutput":{"label":[4]}}\n{"id":2,"SageMakerOutput":{"label":[]}}\n'
    }
    assert record["TransformJobStatus"] == "Failed"
    assert 'b/12/b.jsonl: $.x selects nothing in {"id": 3}' in scene.log("json")


def test_there_must_be_objects_and_a_bucket_for_the_results(scene):
    record = scene.run("nothing", "s3://b/nothing/here")
    # As recorded in definitions/recorded/13_keras_lambda_deploy_dependson__run1.json.
    assert record["FailureReason"] == "ClientError: S3 key: s3://b/nothing/here matched no files on s3"
    scene.put("13/a.txt", b"a")
    record = scene.run("elsewhere", "s3://b/13/", target={"S3OutputPath": "s3://nowhere/out"})
    assert record["FailureReason"] == (
        "ClientError: the bucket of s3://nowhere/out does not exist; create it with aws s3 mb s3://nowhere"
    )
    assert not (scene.home.s3 / "nowhere").exists()


def test_two_objects_with_one_result_are_refused(scene):
    scene.put("14/in/inx", b"a")
    scene.put("14/inx", b"b")
    record = scene.run("twice", "s3://b/14/in")
    assert "the key inx.out belongs to another object, too" in record["FailureReason"]
    assert scene.results("twice") == {}


def test_a_result_below_another_is_refused(scene):
    scene.put("15/in/x", b"a")
    scene.put("15/in/x.out/y", b"b")
    record = scene.run("below", "s3://b/15/in/")
    assert record["FailureReason"] == (
        "ClientError: b/15/in/x.out/y has no result: the key x.out/y.out lies below that of another object,"
        " which is a file here"
    )
    assert scene.results("below") == {}


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"ModelName": "none"}, 'Could not find model "arn:aws:sagemaker:us-east-1:123456789012:model/none"'),
        ({"source": {"SplitType": "RecordIO"}}, "SplitType RecordIO does not run here, only None and Line"),
        ({"source": {"SplitType": "TFRecord"}}, "SplitType TFRecord does not run here, only None and Line"),
        ({"data_type": "AugmentedManifestFile"}, "S3DataType AugmentedManifestFile does not run here"),
        (
            {"TransformResources": {"InstanceType": "ml.m5.xlarge", "InstanceCount": 2}},
            "InstanceCount is 2; the local service has one machine",
        ),
        (
            {"DataCaptureConfig": {"DestinationS3Uri": "s3://b/c"}},
            "the local service does not support DataCaptureConfig",
        ),
        ({"uri": "https://b/in"}, "'https://b/in' is not an S3 URI"),
        ({"MaxPayloadInMB": 0}, "MaxPayloadInMB 0, HTTP chunked encoding, does not run locally"),
        ({"MaxPayloadInMB": 101}, "MaxPayloadInMB is 101; it cannot be greater than 100 MB"),
        ({"MaxConcurrentTransforms": 17}, "is 17 \\* 6; it cannot exceed 100 MB"),
        (
            {"ModelClientConfig": {"InvocationsMaxRetries": 4}},
            "modelClientConfig.invocationsMaxRetries.* less than or equal to 3",
        ),
        (
            {"ModelClientConfig": {"InvocationsTimeoutInSeconds": 3601}},
            "invocationsTimeoutInSeconds.* less than or equal to 3600",
        ),
        ({"Environment": {f"V{n}": "" for n in range(17)}}, "'environment'.* less than or equal to 16"),
        (
            {"source": {"ContentType": "image/jpeg"}, "DataProcessing": {"JoinSource": "Input"}},
            "DataProcessing needs a ContentType and an Accept of one format.* image/jpeg and missing",
        ),
        ({"DataProcessing": {"OutputFilter": "SageMakerOutput"}}, "'SageMakerOutput' is not a JSONPath"),
    ],
)
def test_what_cannot_run_is_refused_before_it_starts(apart, members, message):
    request = transform_request("refused", members.pop("uri", "s3://b/1/"), **members)
    with pytest.raises(ServiceError, match=message):
        apart.control.call("CreateTransformJob", request)
    with pytest.raises(ServiceError):
        apart.control.call("DescribeTransformJob", {"TransformJobName": "refused"})


def test_a_model_that_cannot_be_served_names_its_image(apart):
    pack(apart.home, "xgboost.tar.gz", model="x")
    container = {"Image": IMAGE, "ModelDataUrl": "s3://bucket/xgboost.tar.gz"}
    apart.control.call("CreateModel", {"ModelName": "xgboost", "PrimaryContainer": container})
    apart.put("20/a.txt", b"a")
    record = apart.run("image", "s3://b/20/", ModelName="xgboost")
    assert record["TransformJobStatus"] == "Failed"
    assert record["FailureReason"].startswith("ClientError: model xgboost, s3://bucket/xgboost.tar.gz: ")
    assert f"(the image {IMAGE} is not run here)" in record["FailureReason"]


def test_the_server_has_the_variables_of_model_and_job_and_says_how_it_wants_to_be_asked(apart):
    wanted = {"MaxConcurrentTransforms": 3, "MaxPayloadInMB": 2, "BatchStrategy": "SINGLE_RECORD"}
    apart.put("21/a.txt", b"environment")
    record = apart.run(
        "environment",
        "s3://b/21/",
        Environment={"PARAMETERS": json.dumps(wanted), "SAGEMAKER_PROGRAM": "of the job"},
        MaxPayloadInMB=5,
    )
    assert record["TransformJobStatus"] == "Completed", record
    assert json.loads(apart.results("environment")["a.txt.out"]) == {
        "SAGEMAKER_BATCH": "true",
        "SAGEMAKER_MAX_PAYLOAD_IN_MB": "5",
        "SAGEMAKER_PROGRAM": "of the job",
    }
    asked = "MaxConcurrentTransforms=3, MaxPayloadInMB=5, BatchStrategy=SINGLE_RECORD"
    assert asked in apart.log("environment")


def test_a_server_that_dies_fails_the_job_with_its_last_words(apart):
    apart.put("22/a.txt", b"a")
    apart.put("22/b.txt", b"x\ndie\nx\n")
    apart.put("22/c.txt", b"c")
    record = apart.run("dies", "s3://b/22/", source=LINES, BatchStrategy="SingleRecord")
    assert record["TransformJobStatus"] == "Failed"
    assert record["FailureReason"].startswith("AlgorithmError: the model server exited with status 3: ")
    assert "out of luck" in record["FailureReason"]
    assert apart.results("dies") == {"a.txt.out": b"[a]"}


def test_a_stopped_job_leaves_no_result_and_no_server(apart, monkeypatch):
    monkeypatch.setattr(model_server, "STOP_TIMEOUT_S", 0.2)
    end = Started.end

    def end_slowly(*arguments):
        end(*arguments)
        time.sleep(
            0.3
        )  # otherwise the job, whose request has failed by now, would remove the server's folder first

    monkeypatch.setattr(Started, "end", end_slowly)
    before = set(psutil.Process().children(recursive=True))
    apart.put("23/a.txt", b"a")
    apart.put("23/b.txt", b"hang")
    request = transform_request("stopped", "s3://b/23/")
    apart.control.call("CreateTransformJob", request)
    deadline = time.monotonic() + 60
    log = apart.home.folder("transform-jobs", "stopped") / "log.txt"
    while not (log.exists() and "hanging" in log.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    apart.control.call("StopTransformJob", {"TransformJobName": "stopped"})
    assert finished(apart.control, "TransformJob", "stopped")["TransformJobStatus"] == "Stopped"
    assert apart.results("stopped") == {}
    assert set(psutil.Process().children(recursive=True)) == before
    listed = apart.control.call("ListTransformJobs", {"StatusEquals": "Stopped"})["TransformJobSummaries"]
    assert [job["TransformJobName"] for job in listed] == ["stopped"]
