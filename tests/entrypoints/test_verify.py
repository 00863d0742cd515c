"""VerifyEndpoint as a program, against endpoints of the local service."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from entrypoints import verify
from local.service import LocalService
from tests.entrypoints.local_account import ENDPOINT, RIGHT, Account

WRONG = {"label": "bees", "probabilities": {"ants": 0.2, "bees": 0.8}}


@pytest.fixture
def account(tmp_path: Path) -> Iterator[Account]:
    with LocalService(tmp_path / "home") as service:
        yield Account(tmp_path, service)


def test_an_endpoint_that_answers_as_evaluated_is_waited_for_and_kept(account: Account) -> None:
    account.serve(account.config("old", WRONG), account.config("new"))
    code, message, printed = account.verify("new", "old")
    assert (code, message) == (0, "endpoint flowers answers 1 test pictures as the evaluation did")
    assert "endpoint flowers is InService" in printed
    assert account.serves() == ("InService", "new")


def test_an_endpoint_that_answers_otherwise_gets_its_previous_config_back(account: Account) -> None:
    account.serve(account.config("old"), account.config("new", WRONG))
    code, message, _ = account.verify("new", "old")
    assert code == 1
    assert message == (
        "the endpoint says bees, the evaluation ants (1.png, engine fp32, evaluated with fp32); "
        "the previous endpoint config old is back"
    )
    assert account.serves() == ("InService", "old")


def test_an_update_that_does_not_come_up_leaves_the_old_one_and_fails(account: Account) -> None:
    broken = account.config("new", app="raise RuntimeError('no weights here')")
    account.serve(account.config("old"), broken)
    code, message, _ = account.verify("new", "old")
    assert code == 1
    assert message.startswith("endpoint flowers does not serve new: Endpoint flowers:")
    assert "no weights here" in message and message.endswith("; it serves old")
    assert account.serves() == ("InService", "old")


def test_an_endpoint_that_dies_of_a_picture_is_made_again_of_its_previous_config(account: Account) -> None:
    account.serve(account.config("old"), account.config("new", behaviour="os._exit(3)"))
    code, message, _ = account.verify("new", "old")
    assert code == 1
    assert "the endpoint does not answer 1.png" in message
    assert message.endswith("; the previous endpoint config old is back")
    assert account.serves() == ("InService", "old")


def test_a_first_endpoint_that_never_comes_up_is_left_as_it_is(account: Account) -> None:
    account.serve(account.config("new", app="raise RuntimeError('no weights here')"))
    code, message, _ = account.verify("new")
    assert code == 1
    assert message.startswith("endpoint flowers is Failed: ")
    assert message.endswith("; no endpoint config came before this one, so the endpoint is left as it is")
    assert account.serves() == ("Failed", "new")


def test_a_first_endpoint_that_answers_otherwise_is_left_as_it_is(account: Account) -> None:
    account.serve(account.config("new", WRONG))
    code, message, _ = account.verify("new")
    assert code == 1
    assert message.startswith("the endpoint says bees, the evaluation ants")
    assert message.endswith("; no endpoint config came before this one, so the endpoint is left as it is")
    assert account.serves() == ("InService", "new")


def test_an_endpoint_that_is_busy_for_too_long_is_told_how_to_continue(account: Account) -> None:
    slow = account.config("new", app="import time; time.sleep(60)")
    account.serve(account.config("old"), slow)
    code, message, _ = account.verify("new", "old", timeout_s=0)
    assert code == 1
    assert message.startswith("endpoint flowers is still Updating after 0 s; ")
    assert "run scripts/rollback.py when it is InService" in message


def test_a_previous_config_that_is_gone_is_told_beside_the_reason(account: Account) -> None:
    account.serve(account.config("new", WRONG))
    code, message, _ = account.verify("new", "old")
    assert code == 1
    assert message.startswith("the endpoint says bees")
    assert "old could not be put back" in message and "Could not find endpoint configuration" in message


def test_a_container_that_refuses_is_quoted(account: Account) -> None:
    account.serve(account.config("new", {"message": "not a picture"}, status=400))
    code, message, _ = account.verify("new")
    assert code == 1
    assert "does not answer 1.png" in message and "not a picture" in message


def test_samples_that_are_not_there_put_the_previous_config_back(account: Account) -> None:
    account.serve(account.config("old"), account.config("new"))
    (account.samples / "answers.json").write_text("[]")
    code, message, _ = account.verify("new", "old")
    assert code == 1
    assert "holds no test pictures" in message and message.endswith("old is back")


def test_an_endpoint_that_was_deleted_is_named(account: Account) -> None:
    code, message, _ = account.verify("new", "old")
    assert (code, message) == (1, "there is no endpoint flowers; nothing is put back")


def test_nothing_deployed_is_nothing_to_verify(account: Account) -> None:
    code, message, printed = account.verify("-", endpoint="-")
    assert code == 0
    assert message in printed and "nothing was deployed" in message


@pytest.mark.parametrize(
    "answer",
    [
        [RIGHT],
        {"label": "ants", "probabilities": [0.9, 0.1]},
        {"label": "ants", "probabilities": {"ants": "much", "bees": 0.1}},
    ],
)
def test_an_answer_of_another_kind_puts_the_previous_config_back(account: Account, answer: object) -> None:
    account.serve(account.config("old"), account.config("new", answer))
    code, message, _ = account.verify("new", "old")
    assert code == 1
    assert message.startswith("the endpoint's answer to 1.png is not one of a classifier: ")
    assert message.endswith("; the previous endpoint config old is back")


def test_an_endpoint_that_cannot_be_looked_at_any_more_keeps_the_reason() -> None:
    sagemaker = boto3.client(
        "sagemaker", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x"
    )
    with Stubber(sagemaker) as stub:
        stub.add_client_error("describe_endpoint", "AccessDeniedException", "not any more")
        done = verify.restore(sagemaker, ENDPOINT, "new", "old", 1)
    assert done.startswith("nothing is put back: ") and done.endswith("not any more")


QUESTION = {"file": "1.png", "predicted": "ants", "engine": "int8", "temperature": 1.0, **RIGHT}
SURE = {**QUESTION, "probabilities": {"ants": 0.998, "bees": 0.002}}


def answer(ants: float, label: str | None = None) -> dict[str, Any]:
    return {
        "label": label or ("ants" if ants >= 0.5 else "bees"),
        "probabilities": {"ants": ants, "bees": 1 - ants},
    }


@pytest.mark.parametrize(
    ("question", "given", "engine"),
    [
        (QUESTION, answer(0.915), "int8"),
        (QUESTION, answer(0.89), "int8"),
        (QUESTION, answer(0.75), "fp32"),
        (QUESTION, answer(0.75), ""),
        (SURE, answer(0.99), "int8"),
        (SURE, answer(0.985), "fp32"),
        (SURE, answer(1.0), "fp32"),
    ],
)
def test_what_is_close_enough(question: dict[str, Any], given: dict[str, Any], engine: str) -> None:
    verify.compare(question, given, engine)


@pytest.mark.parametrize(
    ("question", "given", "engine", "complaint"),
    [
        (
            QUESTION,
            answer(0.88),
            "int8",
            "gives ants 0.8800, the evaluation 0.9000; from 0.8811 to 0.9183 would",
        ),
        (QUESTION, answer(0.73), "fp32", "from 0.7400 to 0.9743 would do"),
        (QUESTION, answer(0.98), "fp32", "gives ants 0.9800"),
        (SURE, answer(0.98), "fp32", "gives ants 0.9800"),
        (QUESTION, answer(0.4), "fp32", "says bees, the evaluation ants"),
        (
            QUESTION,
            answer(0.9, "bees"),
            "fp32",
            "says bees, which is not the class that it finds most probable",
        ),
        (QUESTION, answer(0.9, "wasps"), "int8", "says wasps"),
        (
            QUESTION,
            {"label": "ants", "probabilities": {"ants": 0.9, "bees": 0.1, "wasps": 0.0}},
            "int8",
            "only the endpoint knows the class 'wasps'",
        ),
        (QUESTION, answer(float("nan"), "ants"), "int8", "gives ants nan"),
        (
            QUESTION,
            {"label": "ants", "probabilities": {"ants": 1.0}},
            "int8",
            "only the evaluation knows the class 'bees'",
        ),
    ],
)
def test_what_is_not(question: dict[str, Any], given: dict[str, Any], engine: str, complaint: str) -> None:
    with pytest.raises(verify.VerificationError) as caught:
        verify.compare(question, given, engine)
    assert complaint in str(caught.value)


def test_a_temperature_moves_the_odds_that_engines_may_differ_by() -> None:
    """At temperature 0.5 the probabilities are those of twice the scores: odds of 9 become 81."""
    cold = {**QUESTION, "temperature": 0.5, "probabilities": {"ants": 81 / 82, "bees": 1 / 82}}
    as_far_as_at_1 = (0.75 / 0.25) ** 2
    verify.compare(cold, answer(as_far_as_at_1 / (as_far_as_at_1 + 1)), "fp32")
    with pytest.raises(verify.VerificationError, match=r"from 0\.89\d\d to 1\.00"):
        verify.compare(cold, answer(0.85), "fp32")


def test_answers_of_an_earlier_version_have_a_temperature_of_1(tmp_path: Path) -> None:
    entry = {"file": "1.png", "predicted": "ants", "engine": "int8", **RIGHT}
    (tmp_path / "answers.json").write_text(json.dumps([entry, {**entry, "temperature": 0.4}]))
    assert [question["temperature"] for question in verify.read_questions(tmp_path)] == [1.0, 0.4]


def test_of_two_labels_as_probable_either_will_do() -> None:
    question = {**QUESTION, "probabilities": {"ants": 0.501, "bees": 0.499}}
    verify.compare(question, answer(0.4995), "int8")
