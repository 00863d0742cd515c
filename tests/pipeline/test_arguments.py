"""No word of a job's command is ever empty: CreateProcessingJob would refuse it, hours after the start."""

import re

import pytest

from config.parameters import check_assignments, execution_parameters
from config.settings import load
from config.values import SettingsError
from local.jobs.jobs import refuse_empty_words
from tests.entrypoints.stubbed_sagemaker import CONFIG, Service

OUTPUT = re.compile(r"Steps\.DeployEndpoint\.OutputParameters\['(\w+)'\]")
# The least that entrypoints/champion.py answers: a name or NONE, and always a reason (test_champion.py).
FOUND = {
    "Steps.FindChampion.OutputParameters['champion']": "-",
    "Steps.FindChampion.OutputParameters['reason']": "there is none",
}


def not_approved(service):
    service.package("PendingManualApproval")


def created(service):
    service.package()
    service.endpoint(None)
    service.model()
    service.config()
    service.change("create_endpoint")


def created_anew(service):
    service.package()
    service.endpoint("Failed")
    service.model()
    service.config()
    service.change("delete_endpoint")
    service.endpoint(None)
    service.change("create_endpoint")


def updated(service):
    service.package()
    service.endpoint("InService")
    service.model()
    service.config()
    service.note()
    service.change("update_endpoint")


def there_already(service, status="InService", noted=None):
    service.package()
    service.endpoint(status, config=CONFIG)
    service.model(exists=True)
    service.config(exists=True)
    service.noted(noted)


def there_already_after_another(service):
    there_already(service, noted="earlier")


def there_already_noted_as_its_own_previous(service):
    there_already(service, noted=CONFIG)


def on_its_way_already(service):
    there_already(service, status="Creating")


OUTCOMES = (
    not_approved, created, created_anew, updated, there_already, there_already_after_another,
    there_already_noted_as_its_own_previous, on_its_way_already,
)  # fmt: skip


@pytest.fixture(params=OUTCOMES, ids=lambda outcome: outcome.__name__)
def answer(request):
    """The deploying function's answers, for each outcome."""
    service = Service()
    request.param(service)
    answer = service.deploy()
    service.stub.assert_no_pending_responses()
    return answer


def commands(value):
    """Everything in the definition that holds the command of a job."""
    if isinstance(value, dict):
        if {"ContainerArguments", "ContainerEntrypoint"} & value.keys():
            yield value
        for item in value.values():
            yield from commands(item)
    elif isinstance(value, list):
        for item in value:
            yield from commands(item)


def resolved(word, answer):
    """A word of a command as CreateProcessingJob gets it; fails where it could be empty."""
    if isinstance(word, str):
        return word
    reference = word.get("Get", "")
    if output := OUTPUT.fullmatch(reference):
        return answer[output[1]]
    if reference in FOUND:
        return FOUND[reference]
    if reference.startswith("Parameters."):
        return default_of(reference.removeprefix("Parameters."))
    raise AssertionError(f"say here why {word} is never empty")


def default_of(name):
    """A parameter's default; fails where its kind takes an empty value.

    Starts that no script checks, as in Studio, are refused by StartPipelineExecution itself
    (https://github.com/aws/sagemaker-python-sdk/issues/4016).
    """
    parameters = execution_parameters(load(environ={}), "s3://bucket/marker")
    with pytest.raises(SettingsError, match=f"{name} = ''"):
        check_assignments(parameters, [f"{name}="])
    return str({parameter.name: parameter.default for parameter in parameters}[name])


def test_no_outcome_of_the_deployment_makes_a_word_empty(definition, answer):
    found = list(commands(definition))
    assert len(found) == 3
    for command in found:
        refuse_empty_words(
            {
                name: [resolved(word, answer) for word in command[name]]
                for name in ("ContainerArguments", "ContainerEntrypoint")
            }
        )


def test_every_output_of_the_deployment_says_something(steps, answer):
    for output in steps["DeployEndpoint"]["OutputParameters"]:
        assert answer[output["OutputName"]] not in ("", None)


def test_every_parameter_refuses_an_empty_value(definition):
    for parameter in definition["Parameters"]:
        assert default_of(parameter["Name"])


def test_a_setting_that_ends_in_an_argument_refuses_an_empty_value():
    with pytest.raises(SettingsError, match="region = ''"):
        load(environ={}, overrides=["region="])
