"""For each command, every setting either has an effect or is refused with the name of the command that takes
it."""

from __future__ import annotations

import importlib
import re
from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest

from config.settings import load
from scripts import command

SCRIPTS = Path(command.__file__).parent
BESIDE = {"--local": "http://127.0.0.1:9"}


def walk(settings, prefix=""):
    for field in fields(settings):
        value = getattr(settings, field.name)
        if is_dataclass(value):
            yield from walk(value, f"{prefix}{field.name}.")
        elif isinstance(value, dict):
            yield from ((f"{field.name}.{key}", text) for key, text in value.items())
        else:
            yield prefix + field.name, value


def text(value) -> str:
    """A value of a setting as --set takes it."""
    if isinstance(value, tuple):
        return f"[{', '.join(map(str, value))}]"
    return str(value).lower() if isinstance(value, bool) else str("" if value is None else value)


SETTINGS = {key: text(value) for key, value in walk(load(environ={}))}
SCHEDULED = {"scheduler_role", *(key for key in SETTINGS if key.startswith("schedule."))}
UPSERTED = SETTINGS.keys() - SCHEDULED - {"scoring_role"}
# The settings that each command uses, and its required arguments.
COMMANDS = {
    "cost": ({"name", "region"}, ["latest"]),
    "delete_endpoint": ({"name", "region"}, []),
    "doctor": (SETTINGS.keys(), []),
    "endpoints delete": ({"name", "region"}, ["delete"]),
    "endpoints deploy": (
        {
            *("name", "region", "execution_role", "endpoint_role"),
            *(key for key in SETTINGS if key.startswith("deployment.")),
        },
        ["deploy"],
    ),
    "endpoints list": ({"name", "region"}, ["list"]),
    "endpoints rollback": ({"name", "region", "execution_role", "endpoint_role"}, ["rollback"]),
    "endpoints show": ({"name", "region"}, ["show"]),
    "executions": ({"name", "region"}, []),
    "predict": ({"name", "region"}, ["PICTURE"]),
    "report": ({"name", "region"}, ["latest"]),
    "rollback": ({"name", "region", "execution_role", "endpoint_role"}, []),
    "run_local": (UPSERTED, []),
    "schedule_retraining": ({"name", "region"} | SCHEDULED, []),
    "score": ({"name", "region", "bucket", "execution_role", "scoring_role"}, ["DIR"]),
    "start_execution": ({"name", "region"}, []),
    "teardown": (
        {
            *("name", "region", "bucket", "execution_role", "lambda_role"),
            *(key for key in SETTINGS if key.startswith(("deployment.", "schedule."))),
        },
        [],
    ),
    "upload_dataset": (
        {"name", "region", "bucket", *(key for key in SETTINGS if key.startswith("split."))},
        ["DIR"],
    ),
    "upsert_pipeline": (UPSERTED, []),
}


class Taken(Exception):
    """The settings were accepted."""


def test_these_are_all_the_commands():
    commands = {path.stem for path in SCRIPTS.glob("*.py") if "command.run(main)" in path.read_text()}
    assert commands == {name.partition(" ")[0] for name in COMMANDS} | {
        "lock_wheels",
        "weights",
    }  # which have no settings


@pytest.mark.parametrize("name", COMMANDS)
def test_a_setting_has_an_effect_or_is_refused(monkeypatch, name):
    read = command.settings

    def settings(arguments):
        read(arguments)
        raise Taken

    monkeypatch.setattr(command, "settings", settings)
    main = importlib.import_module(f"scripts.{name.partition(' ')[0]}").main
    reads, arguments = COMMANDS[name]
    for key, value in SETTINGS.items():
        given = f"{key}={value}"
        with pytest.raises((Taken, command.Failure)) as ended:
            main([*arguments, "--set", given])
        assert (ended.type is Taken) is (key in reads), key
        if ended.type is not Taken:
            found = re.fullmatch(
                r"--set (.*) has no effect here; run python scripts/(\w+)\.py (?:PICTURES )?--set .*, "
                "then this command without it",
                str(ended.value),
            )
            assert found and found[1] == given
            assert key in COMMANDS[found[2]][0]


def test_the_refusal_is_a_command_to_copy(run, refused, tmp_path):
    (tmp_path / "my settings.toml").write_bytes((SCRIPTS.parent / "pipeline.toml").read_bytes())
    refused(
        run(
            "start_execution.py",
            *BESIDE.popitem(),
            "--settings",
            "my settings.toml",
            "--set",
            "tuning.jobs=9",
        ),
        "start_execution.py: --set tuning.jobs=9 has no effect here; run python scripts/upsert_pipeline.py "
        "--set tuning.jobs=9 --settings 'my settings.toml' --local http://127.0.0.1:9, then this command",
    )


def test_a_wrong_value_is_told_first(run, refused):
    refused(run("start_execution.py", "--set", "tuning.jobs=many"), "tuning.jobs", "a whole number")


def test_file_and_environment_serve_all_commands(run, refused, url):
    done = run("start_execution.py", "--local", url, PIPELINE_TUNING__JOBS="9")
    refused(done, "there is no pipeline")


def test_what_no_file_gives_has_an_effect_everywhere(run, refused, url, tmp_path):
    shipped = (SCRIPTS.parent / "pipeline.toml").read_text()
    (tmp_path / "mine.toml").write_text(re.sub("(?m)^lambda_role.*$", "", shipped))
    given = ("--local", url, "--settings", "mine.toml")
    refused(run("start_execution.py", *given), "lambda_role is not set")
    role = ("--set", "lambda_role=arn:aws:iam::123456789012:role/Deploy")
    refused(run("start_execution.py", *given, *role), "there is no pipeline")
    refused(run("start_execution.py", *given, *role, "--set", "tuning.jobs=9"), "tuning.jobs=9 has no effect")


def test_another_command_gets_what_it_reads():
    given = ["--set", "tuning.jobs=9", "--set", "name=flowers", "--settings", "my settings.toml"]
    arguments = command.parser("", command.UPSERTED).parse_args(given)
    arguments.settings = SCRIPTS.parent / "pipeline.toml"
    file = f"--settings={arguments.settings}"
    assert command.same_settings(arguments, ("name",)) == ["--set=name=flowers", file]
    assert command.same_settings(arguments, command.UPSERTED) == [
        "--set=tuning.jobs=9", "--set=name=flowers", file
    ]  # fmt: skip
