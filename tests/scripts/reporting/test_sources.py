"""Reports from SageMaker's answers, for executions in every state."""

from __future__ import annotations

import pytest
from markupsafe import escape

from scripts.reporting import page
from scripts.reporting.parts import Missing, Verification
from tests.scripts.reporting.account import VERIFIED
from tests.scripts.reporting.answers import EXECUTION, PACKAGE, TRAINING_JOB, TUNING_JOB, at


def test_a_finished_execution_has_every_part(report):
    assert report.run.status == "Succeeded"
    assert report.run.passed is True
    assert report.run.seconds == 600
    assert [step.name for step in report.run.steps][:2] == ["SplitDataset", "TuneHyperparameters"]
    assert report.run.steps[1].seconds == 140
    assert report.run.parameters["AccuracyThreshold"] == "0.7"
    assert (report.package.arn, report.package.approval) == (PACKAGE, "Approved")
    assert (report.endpoint.name, report.endpoint.status) == ("flower-classifier", "InService")
    parts = (report.data, report.tuning, report.training, report.evaluation)
    assert not [part for part in parts if isinstance(part, Missing)]


def test_trials_come_best_first_and_those_without_an_objective_last(report):
    tuning = report.tuning
    objectives = [trial.objective for trial in tuning.trials]
    assert objectives[:-1] == sorted(objectives[:-1], reverse=True)
    assert objectives[-1] is None
    assert tuning.trials[-1].failure_reason == "AlgorithmError: the loss is nan"
    assert tuning.ranges == {"batch_size": True, "learning_rate": False}


def test_of_equal_trials_the_service_chooses_the_best(account, collect):
    trials = account.answers["ListTrainingJobsForHyperParameterTuningJob"][TUNING_JOB]["all"]
    for trial in trials[:-1]:
        trial["FinalHyperParameterTuningJobObjectiveMetric"]["Value"] = 0.9
    best = trials[4]["TrainingJobName"]
    account.answers["DescribeHyperParameterTuningJob"][TUNING_JOB]["BestTrainingJob"] = {
        "TrainingJobName": best
    }
    assert collect().tuning.trials[0].name == best


def test_a_minimized_objective_comes_lowest_first(account, collect):
    job = account.answers["DescribeHyperParameterTuningJob"][TUNING_JOB]
    job["HyperParameterTuningJobConfig"]["HyperParameterTuningJobObjective"]["Type"] = "Minimize"
    objectives = [trial.objective for trial in collect().tuning.trials[:-1]]
    assert objectives == sorted(objectives)


@pytest.mark.parametrize(
    ("status", "reason", "words"),
    [
        ("InProgress", None, "has no trial yet."),
        ("Failed", "ClientError: no such bucket.", "ended without a trial: ClientError: no such bucket."),
        ("Stopped", None, "ended without a trial: Stopped."),
    ],
)
def test_a_tuning_job_without_a_trial(account, collect, status, reason, words):
    account.answers["ListTrainingJobsForHyperParameterTuningJob"][TUNING_JOB]["all"].clear()
    job = account.answers["DescribeHyperParameterTuningJob"][TUNING_JOB]
    job["HyperParameterTuningJobStatus"] = status
    if reason:
        job["FailureReason"] = reason
    assert collect().tuning.reason == f"The tuning job {TUNING_JOB} {words}"


def test_a_refused_model(account, collect):
    account.end_at("CheckAccuracy", "Succeeded")
    account.steps()[-1]["Metadata"] = {"Condition": {"Outcome": "False"}}
    message = "Test accuracy 0.6862745098039216 is below AccuracyThreshold 0.7"
    account.steps().append(
        {
            "StepName": "AccuracyTooLow",
            "StepStatus": "Failed",
            "StartTime": at(401),
            "EndTime": at(401),
            "Metadata": {"Fail": {"ErrorMessage": message}},
        }
    )
    account.answers["DescribePipelineExecution"][EXECUTION]["PipelineExecutionStatus"] = "Failed"
    report = collect()
    assert report.run.passed is False
    words = "Test accuracy 0.6862 is below AccuracyThreshold 0.7."
    assert page.headline(report.run, report.evaluation) == ("bad", "Refused", words, "")
    assert report.package.reason == "RegisterModel did not run: the execution ended before it (Failed)."
    assert not isinstance(report.evaluation, Missing)


def test_a_failed_execution_tells_why_each_part_is_missing(account, collect):
    account.job()["TrainingJobStatus"] = "Failed"
    account.end_at("TrainModel", "Failed", "AlgorithmError: out of memory.")
    report = collect()
    assert report.run.passed is None
    words = "TrainModel failed; the model has not been judged."
    assert page.headline(report.run, report.evaluation) == (
        "bad",
        "Failed",
        words,
        "AlgorithmError: out of memory.",
    )
    assert report.run.steps[-1].note == "AlgorithmError: out of memory."
    assert not isinstance(report.training, Missing)  # the job left its own files
    assert report.evaluation.reason == "EvaluateModel did not run: the execution ended before it (Failed)."
    assert "AlgorithmError: out of memory." in page.render(report)


def test_what_verify_endpoint_said(report):
    assert report.verification == Verification(True, VERIFIED)
    assert VERIFIED in page.render(report)


def test_an_accepted_model_whose_endpoint_answers_otherwise(account, collect):
    """On AWS the reason of the step only points to a log: its program's own words are in the exit message."""
    said = "the endpoint says roses, the evaluation tulips; the previous endpoint config is back"
    job = account.answers["DescribeProcessingJob"]["verify-job"]
    job |= {"ProcessingJobStatus": "Failed", "ExitMessage": said}
    account.end_at("VerifyEndpoint", "Failed", "ClientError: see the job's log")
    report = collect()
    assert report.verification == Verification(False, said)
    words = "The model is accurate enough; VerifyEndpoint failed."
    assert page.headline(report.run, report.evaluation) == ("bad", "Accepted, then failed", words, said)
    assert report.run.steps[-1].note == said


def test_an_execution_from_before_there_was_a_verify_endpoint(account, collect):
    account.steps().pop()
    assert collect().verification == Missing("VerifyEndpoint was not part of this execution.")


def test_a_verify_endpoint_that_said_nothing(account, collect):
    del account.answers["DescribeProcessingJob"]["verify-job"]["ExitMessage"]
    assert collect().verification == Missing("VerifyEndpoint is Succeeded and left no results.")


def test_a_failed_split(account, collect):
    account.answers["DescribeProcessingJob"]["split-job"]["ProcessingJobStatus"] = "Failed"
    account.end_at("SplitDataset", "Failed", "AlgorithmError: the class roses has 1 usable images")
    reason = "SplitDataset failed: AlgorithmError: the class roses has 1 usable images."
    assert collect().data == Missing(reason)


def test_a_running_execution(account, collect):
    account.answers["DescribeProcessingJob"]["evaluate-job"]["ProcessingJobStatus"] = "InProgress"
    account.end_at("EvaluateModel", "Executing")
    del account.steps()[-1]["EndTime"]
    report = collect()
    assert (
        report.evaluation.reason == "EvaluateModel is still running; make the report again when it has ended."
    )
    assert report.package.reason == "RegisterModel has not started yet; the execution is still running."
    assert "still running" in page.headline(report.run, report.evaluation).sentence


def test_an_execution_without_a_step(account, collect):
    account.steps().clear()
    account.answers["DescribePipelineExecution"][EXECUTION]["PipelineExecutionStatus"] = "Executing"
    report = collect()
    assert report.data == Missing("SplitDataset has not started yet; the execution is still running.")
    assert "No step has started." in page.render(report)


def test_results_of_the_source_of_a_selective_execution(account, collect):
    source = EXECUTION.replace("abc123def456", "source")
    account.answers["ListPipelineExecutionSteps"][source] = {
        "members": "PipelineExecutionSteps",
        "all": account.steps()[:5],
    }
    account.answers["DescribePipelineExecution"][source] = {
        "PipelineArn": "arn:aws:sagemaker:us-east-1:123456789012:pipeline/flower-classifier",
        "PipelineExecutionStatus": "Failed",
        "CreationTime": at(0),
    }
    del account.steps()[:4]
    account.answers["DescribePipelineExecution"][EXECUTION]["SelectiveExecutionConfig"] = {
        "SourcePipelineExecutionArn": source,
        "SelectedSteps": [{"StepName": "CheckAccuracy"}],
    }
    report = collect()
    assert not isinstance(report.evaluation, Missing)
    assert not isinstance(report.tuning, Missing)
    reused = [step.name for step in report.run.steps if step.note == "taken from an earlier execution"]
    assert reused == ["SplitDataset", "TuneHyperparameters", "TrainModel", "EvaluateModel"]
    assert [step.name for step in report.run.steps].count("CheckAccuracy") == 1


@pytest.mark.parametrize(
    ("operation", "name", "part"),
    [
        ("DescribeEndpoint", "flower-classifier", "endpoint"),
        ("DescribeModelPackage", PACKAGE, "package"),
        ("DescribeTrainingJob", TRAINING_JOB, "training"),
    ],
)
def test_what_was_deleted_since(account, collect, operation, name, part):
    del account.answers[operation][name]
    report = collect()
    assert getattr(report, part) == Missing(f"{name} has been deleted since.")


def test_a_model_that_is_not_deployed(account, collect):
    (step,) = [step for step in account.steps() if step["StepName"] == "DeployEndpoint"]
    step["Metadata"]["Lambda"]["OutputParameters"] = [
        {"Name": "deployed", "Value": "false"},
        {"Name": "reason", "Value": "the model package is PendingManualApproval"},
    ]
    reason = "Nothing was deployed: the model package is PendingManualApproval."
    assert collect().endpoint == Missing(reason)


def test_the_model_s_card(report, html):
    card = report.package.card
    assert card.status == "Draft"
    assert card.uses == {"intended_uses": "Only <flowers>", "risk_rating": "Low"}
    assert card.facts["training_job"] == "the ARN of the training"
    assert card.facts["definition_sha256"] == "0123456789abcdef" * 4
    assert "Only &lt;flowers&gt;" in html
    assert card.facts["definition_sha256"] in html
    assert "was in the status Draft when this report was made" in html


@pytest.mark.parametrize(
    ("card", "words"),
    [
        (None, "This version has no card"),
        ({"ModelCardStatus": "Draft"}, "This version has no card"),
        ({"ModelCardContent": "no JSON"}, "is not in AWS's schema"),
        ({"ModelCardContent": '{"training_details": []}'}, "is not in AWS's schema"),
    ],
)
def test_a_version_without_a_card_that_can_be_read(account, collect, card, words):
    (package,) = account.answers["DescribeModelPackage"].values()
    del package["ModelCard"]
    package |= {"ModelCard": card} if card else {}
    found = collect()
    assert words in found.package.card.reason
    assert found.package.approval == "Approved"
    assert escape(found.package.card.reason) in page.render(found)
