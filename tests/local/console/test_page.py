"""The service's own page: its content, and its updates in headless Chromium (skipped without it)."""

import time
from functools import partial
from http.client import HTTPConnection

import pytest
from botocore.validate import ParamValidator

from local.application import application
from local.console import page
from local.home.home import Home
from local.server import Server
from local.service import LocalService
from local.wire.errors import ServiceError
from local.wire.operations import service_model, shaped
from tests.browser import CHROMIUM, Browser
from tests.local.definitions import PIPELINE, ROLE, document, fail

GROUP = "flowers"
EXECUTION = f"{PIPELINE}/execution/abc123"
JOB = "arn:aws:sagemaker:us-east-1:123456789012:{}/{}"
TRAINED = "epoch 1: validation:accuracy=0.5;\nepoch 2: validation:accuracy=0.75;\n"
TEXT = "document.querySelector('main').innerText"
HTML = {"Accept": "text/html,application/xhtml+xml"}


class Account:
    """An account with one of everything, as operations' answers; tests change the parts that they check."""

    def __init__(self, home):
        self.home = home
        self.endpoint, self.execution, self.reason = "InService", "Executing", "<b>no</b> pictures"
        self.counters = {"Completed": 2, "InProgress": 1, "Stopped": 1, "NonRetryableError": 0}
        self.server = None

    def call(self, name, request):
        model = service_model().operation_model(name)
        assert not ParamValidator().validate(request, model.input_shape).has_errors()
        return shaped(getattr(self, f"answer_{name}")(request), model.output_shape)  # nothing that AWS lacks

    def answer_ListEndpoints(self, _):
        return {"Endpoints": [{"EndpointName": "flowers", "EndpointStatus": self.endpoint}]}

    def answer_DescribeEndpoint(self, _):
        return {
            "EndpointName": "flowers",
            "EndpointConfigName": "config",
            "EndpointStatus": self.endpoint,
            **({"FailureReason": self.reason} if self.endpoint == "Failed" else {}),
        }

    def answer_DescribeEndpointConfig(self, _):
        return {"ProductionVariants": [{"VariantName": "v", "ModelName": "model"}]}

    def answer_DescribeModel(self, _):
        return {"Containers": [{"ModelPackageName": JOB.format("model-package", f"{GROUP}/3")}]}

    def answer_DescribeModelPackage(self, request):
        return {
            "ModelPackageGroupName": GROUP,
            "ModelPackageVersion": int(request["ModelPackageName"].rpartition("/")[2]),
            "ModelApprovalStatus": "Approved",
            "CreationTime": 1_790_000_000.0,
            "CustomerMetadataProperties": {"test_accuracy": "0.9 from 0.8 to 0.95 on 100 pictures"},
        }

    def answer_ListModelPackageGroups(self, _):
        return {"ModelPackageGroupSummaryList": [{"ModelPackageGroupName": GROUP}]}

    def answer_ListModelPackages(self, request):
        assert request["MaxResults"] == 20 and request["SortOrder"] == "Descending"
        packages = [
            {
                "ModelPackageVersion": number,
                "ModelPackageArn": JOB.format("model-package", f"{GROUP}/{number}"),
            }
            for number in (3, 2)
        ]
        return {"ModelPackageSummaryList": packages, "NextToken": "more"}

    def answer_ListPipelines(self, request):
        # In two pages, of which the second has the item that is shown.
        if "NextToken" not in request:
            return {"PipelineSummaries": [{"PipelineName": "gone"}], "NextToken": "2"}
        return {"PipelineSummaries": [{"PipelineName": "pictures"}]}

    def answer_ListPipelineExecutions(self, request):
        if request["PipelineName"] == "gone":
            raise ServiceError("ResourceNotFound", "it was deleted meanwhile")
        return {"PipelineExecutionSummaries": [{"PipelineExecutionArn": EXECUTION}]}

    def answer_DescribePipelineExecution(self, _):
        status = {"PipelineExecutionStatus": self.execution}
        if self.execution == "Failed":
            status["FailureReason"] = self.reason
        return {"CreationTime": time.time() - 70, "LastModifiedTime": time.time() - 5, **status}

    def answer_ListPipelineExecutionSteps(self, _):
        now = time.time()
        tuning = {"TuningJob": {"Arn": JOB.format("hyper-parameter-tuning-job", "tune")}}
        training = {"TrainingJob": {"Arn": JOB.format("training-job", "train")}}
        return {
            "PipelineExecutionSteps": [
                {"StepName": "Split", "StepStatus": "Succeeded", "StartTime": now - 60, "EndTime": now - 55},
                {"StepName": "Tune", "StepStatus": "Executing", "StartTime": now - 55, "Metadata": tuning},
                {"StepName": "Train", "StepStatus": "Executing", "StartTime": now - 50, "Metadata": training},
                {"StepName": "Wait", "StepStatus": "Starting"},
                {"StepName": "Bad", "StepStatus": "Failed", "FailureReason": self.reason},
            ]
        }

    def answer_DescribeHyperParameterTuningJob(self, _):
        limits = {"MaxNumberOfTrainingJobs": 6, "MaxParallelTrainingJobs": 1}
        best = {"MetricName": "validation:accuracy", "Value": 0.8125}
        return {
            "HyperParameterTuningJobConfig": {"Strategy": "Random", "ResourceLimits": limits},
            "TrainingJobStatusCounters": self.counters,
            "BestTrainingJob": {"FinalHyperParameterTuningJobObjectiveMetric": best},
        }

    def answer_DescribeTrainingJob(self, _):
        metric = {"Name": "validation:accuracy", "Regex": "validation:accuracy=([0-9.]+);"}
        return {
            "TrainingJobName": "train",
            "TrainingJobStatus": "InProgress",
            "SecondaryStatus": "Training",
            "AlgorithmSpecification": {"TrainingInputMode": "File", "MetricDefinitions": [metric]},
            "HyperParameters": {"epochs": '"8"'},
        }


@pytest.fixture
def account(tmp_path):
    account = Account(Home(tmp_path / "home"))
    log = account.home.folder("training-jobs", "train") / "log.txt"
    log.parent.mkdir(parents=True)
    log.write_text(TRAINED)
    browse = partial(page.answer, home=account.home, call=account.call)
    account.server = Server(application(None, None, None, None, browse))
    account.server.start()
    yield account
    account.server.stop()


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if CHROMIUM is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    with Browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


def get(server, path="/", headers=None):
    connection = HTTPConnection(server.url.removeprefix("http://"), timeout=10)
    connection.request("GET", path, headers=HTML if headers is None else headers)
    answer = connection.getresponse()
    content = answer.read().decode()
    connection.close()
    return answer.status, content


def test_an_empty_home_says_how_to_begin_and_what_begins_is_shown_with_its_report(tmp_path):
    with LocalService(tmp_path, fire=False) as service:
        status, content = get(service)
        assert (status, content.count("None yet")) == (200, 3)
        assert f"python scripts/start_execution.py --local {service.url}" in content
        assert get(service, headers={})[1].startswith("A local SageMaker. Use it with AWS_ENDPOINT_URL")
        sagemaker = service.client("sagemaker")
        definition = document(fail("Refuse", "too few <pictures>"))
        sagemaker.create_pipeline(
            PipelineName="pictures", PipelineDefinition=definition, RoleArn=ROLE, ClientRequestToken="c" * 32
        )
        arn = sagemaker.start_pipeline_execution(PipelineName="pictures")["PipelineExecutionArn"]
        deadline = time.monotonic() + 30
        while "Failed" not in (content := get(service)[1]):
            assert time.monotonic() < deadline, content
            time.sleep(0.05)
        assert f"python scripts/report.py {arn} --local {service.url}" in content
        assert "<pictures>" not in content

        report = f"/executions/{arn.rpartition('/')[2]}/report"
        assert get(service, report)[0] == 403  # there is none, like any unknown path
        (tmp_path / "reports").mkdir()
        (tmp_path / "reports" / f"{arn.rpartition('/')[2]}.html").write_text("<p>the report</p>")
        (tmp_path / "outside.html").write_text("secret")
        assert get(service, report) == (200, "<p>the report</p>")
        content = get(service)[1]
        assert f'href="{report}"' in content and "scripts/report.py" not in content
        for path in ("/executions/..%2Foutside/report", "/executions/../report", "/executions//report"):
            assert get(service, path)[0] == 403


def test_what_runs_tells_how_far_it_is(account):
    _, content = get(account.server)
    assert "3 of 6 trials have ended; best validation:accuracy so far 0.8125" in content
    assert "epoch 2 of 8; validation:accuracy 0.75" in content
    assert "1 min 10 s" in content and "&lt;b&gt;no&lt;/b&gt; pictures" in content
    assert "Serves model version 3 of flowers." in content
    assert content.count("serves at flowers") == 1
    assert "Only the newest 20 are shown of flowers." in content

    account.counters["Completed"] = 5
    assert "6 of 6 trials have ended" in get(account.server)[1]
    log = account.home.folder("training-jobs", "train") / "log.txt"
    log.write_text("")
    assert '<span class="told">Training</span>' in get(account.server)[1]
    account.endpoint = "Failed"
    content = get(account.server)[1]
    assert content.count("&lt;b&gt;no&lt;/b&gt; pictures") == 2 and "/endpoints/flowers/" not in content


def test_an_endpoint_whose_model_is_gone_is_shown(account, monkeypatch):
    def gone(_):
        raise ServiceError("ValidationException", "Could not find the model.")

    monkeypatch.setattr(account, "answer_DescribeModel", gone, raising=False)
    assert "Serves a model that is not a registered version." in get(account.server)[1]


@pytest.mark.parametrize(("width", "dark"), [(400, True), (1280, False)])
def test_the_page_stays_true_by_itself(browser, account, width, dark):
    browser.open(account.server.url + "/", width, 900, dark)
    assert browser.evaluate("document.documentElement.scrollWidth") == width
    browser.press("Tab")
    assert browser.evaluate("document.activeElement.id") == "try-flowers"
    account.execution, account.endpoint = "Failed", "Updating"
    browser.wait_for(f"{TEXT}.includes('Failed') && {TEXT}.includes('Updating')")
    assert "epoch 2 of 8" not in browser.evaluate(TEXT)
    assert browser.evaluate("document.activeElement.id") == "try-flowers"
    said = browser.evaluate("document.querySelector('#status').textContent")
    assert "flowers: Updating" in said and "abc123: Failed" in said
    assert browser.complaints() == []
    assert {url.removeprefix(account.server.url) for url in browser.requests()} == {"/"}


def test_a_service_that_ended_is_reported_and_the_page_continues_when_it_is_back(browser, account):
    browser.open(account.server.url + "/")
    port = int(account.server.url.rpartition(":")[2])
    account.server.stop()
    browser.wait_for("!document.querySelector('#gone').hidden")
    account.execution = "Succeeded"
    browse = partial(page.answer, home=account.home, call=account.call)
    account.server = Server(application(None, None, None, None, browse), port)
    account.server.start()
    browser.wait_for(f"document.querySelector('#gone').hidden && {TEXT}.includes('Succeeded')")
