import errno
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError, NoRegionError

from config.settings import load
from scripts import aws_errors, command

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ("delete_endpoint.py", "predict.py", "schedule_retraining.py", "upload_dataset.py")


def client_error(code: str, message: str = "No.", **details: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": message, **details}}, "PutObject")


@pytest.fixture
def run(tmp_path):
    """Each command here is a process of its own, started as a user starts it."""

    def run(script, *arguments, **extra):
        return subprocess.run(
            [sys.executable, ROOT / "scripts" / script, *arguments],
            cwd=tmp_path,
            env={**os.environ, "COLUMNS": "200", **extra},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_needs_no_environment(run, script):
    completed = run(script, "--help")
    assert completed.returncode == 0
    assert "--local URL" in completed.stdout
    assert completed.stderr == ""


@pytest.mark.parametrize(
    ("script", "example"),
    [
        ("schedule_retraining.py", '  schedule_retraining.py --rate "7 days" --parameter Epochs=10'),
        ("weights.py", "  weights.py resnet18-f37072fd.pth"),
    ],
)
def test_help_fits_the_terminal_and_keeps_the_examples(run, script, example):
    lines = run(script, "--help", COLUMNS="60").stdout.splitlines()
    assert example in lines
    assert max(map(len, lines)) <= 72  # the examples are the longest
    assert not [line for line in lines if len(line) > 60 and not line.startswith("  ")]


@pytest.mark.parametrize(
    ("script", "listed", "missing"),
    [
        (
            "run_local.py",
            {"Epochs", "tuning.jobs", "gate.margin"},
            {"scheduler_role"},
        ),
        ("upsert_pipeline.py", {"name", "tuning.jobs", "tags.NAME"}, {"Epochs", "schedule.max_retries"}),
        ("start_execution.py", {"Epochs", "name", "region"}, {"tuning.jobs", "bucket"}),
        ("schedule_retraining.py", {"Epochs", "schedule.max_retries", "scheduler_role"}, {"tuning.jobs"}),
        ("predict.py", {"name", "region"}, {"Epochs", "bucket"}),
    ],
)
def test_help_lists_the_parameters_and_settings_that_have_an_effect(run, script, listed, missing):
    lines = run(script, "--help", COLUMNS="100").stdout.splitlines()
    names = {line.split()[0] for line in lines if line.startswith("  ") and line.split()}
    assert listed <= names and not missing & names
    if "tuning.jobs" in listed:
        assert "a whole number from 1 to 10000 (4)" in " ".join(lines)


@pytest.mark.parametrize("script", ["delete_endpoint.py", "predict.py", "rollback.py"])
def test_an_endpoint_is_named_by_one_option_everywhere(run, script):
    assert "  --endpoint NAME " in run(script, "--help").stdout


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_projects_own_packages_come_first(run, tmp_path, script):
    for name in ("entrypoints", "config", "scripts", "local"):
        (tmp_path / f"{name}.py").write_text("raise ImportError('the wrong one')")
    assert run(script, "--help", PYTHONPATH=str(tmp_path)).returncode == 0


@pytest.mark.parametrize("script", SCRIPTS)
def test_starts_without_what_is_slow_to_import(script):
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); import scripts.{script.removesuffix('.py')}; "
        "print({'boto3', 'sagemaker', 'torch', 'pandas'} & set(sys.modules))"
    )
    completed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert completed.stdout == "set()\n"


@pytest.mark.parametrize("script", SCRIPTS)
def test_an_unknown_option_is_one_line(run, refused, script):
    refused(run(script, "--colour"), script, "--help")


@pytest.mark.parametrize("arguments", [[""], ["--set="], ["--local", ""]])
def test_an_empty_argument_stands_for_no_default(run, refused, arguments):
    refused(run("delete_endpoint.py", *arguments), "delete_endpoint.py: an argument is empty")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--set", "regoin=x"], ["regoin", "region"]),
        (["--set", "tuning.jobs=many"], ["tuning.jobs", "many"]),
        (["--settings", "missing.toml"], ["missing.toml"]),
        (["--local", "127.0.0.1:1"], ["--local", "http://127.0.0.1"]),
        *(
            (["--local", url], ["is not a URL", "http://127.0.0.1"])
            for url in ("http://", "http://[", "http://127.0.0.1:x", "http://127.0.0.1:99999")
        ),
        (["--local", "http://127.0.0.1:9"], ["http://127.0.0.1:9", "--local"]),
        ([], ["no usable AWS credentials", "aws configure"]),
    ],
)
def test_a_wrong_environment_is_one_line(run, refused, arguments, words):
    refused(run("schedule_retraining.py", *arguments), "schedule_retraining.py: ", *words)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (client_error("AccessDenied"), ["PutObject", "AccessDenied", "get-caller-identity"]),
        (client_error("AccessDeniedException"), ["get-caller-identity"]),
        (client_error("NoSuchBucket", BucketName="flowers"), ["flowers", "--set bucket=NAME"]),
        (client_error("ExpiredToken"), ["aws sso login"]),
        (
            client_error("ValidationException", "1 error\n detected"),
            ["ValidationException: 1 error detected"],
        ),
        (NoCredentialsError(), ["credentials", "--local URL"]),
        (NoRegionError(), ["region", "pipeline.toml"]),
        (EndpointConnectionError(endpoint_url="http://127.0.0.1:9"), ["http://127.0.0.1:9"]),
    ],
)
def test_explain(error, words):
    line = aws_errors.explain(error)
    assert "\n" not in line
    for word in words:
        assert word in line


@pytest.mark.parametrize(
    ("error", "missing"),
    [
        (client_error("ResourceNotFound"), True),
        (client_error("ValidationException", "Could not find endpoint"), True),
        (client_error("ValidationError", "Endpoint x of account 1 not found."), True),
        (client_error("ValidationException", "Cannot update in-progress endpoint"), False),
        (client_error("AccessDenied", "not found"), False),
    ],
)
def test_is_missing(error, missing):
    assert aws_errors.is_missing(error) is missing


def test_a_local_service_is_reached_whatever_this_machine_is_set_to():
    os.environ["AWS_PROFILE"] = "work"
    os.environ["AWS_ENDPOINT_URL_S3"] = "http://elsewhere"
    os.environ["AWS_SESSION_TOKEN"] = "token"
    arguments = command.parser("", ()).parse_args(["--local", "http://127.0.0.1:4566"])
    client = command.session(arguments, load(environ={})).client("s3")
    assert client.meta.endpoint_url == "http://127.0.0.1:4566"
    assert os.environ["AWS_ENDPOINT_URL"] == "http://127.0.0.1:4566"


def test_placeholders_are_refused_on_aws_only():
    settings = load(environ={})
    with pytest.raises(command.Failure, match="scheduler_role in"):
        command.refuse_placeholders(settings, "scheduler_role")
    os.environ["AWS_ENDPOINT_URL"] = "http://127.0.0.1:4566"
    command.refuse_placeholders(settings, "scheduler_role")


def test_interrupted_ends_with_130_and_one_line(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        script = ROOT / "scripts" / "schedule_retraining.py"
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        process = subprocess.Popen(
            [sys.executable, script, "--local", address], stderr=subprocess.PIPE, text=True, cwd=tmp_path
        )
        silent.settimeout(30)
        connection, _ = silent.accept()  # now the command waits for an answer
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
        connection.close()
    assert process.returncode == 130
    assert errors == "schedule_retraining.py: interrupted\n"


def test_interrupted_while_it_imports_ends_without_a_traceback(tmp_path):
    (tmp_path / "rich").mkdir()
    (tmp_path / "rich" / "__init__.py").write_text("import time; print('up', flush=True); time.sleep(60)")
    process = subprocess.Popen(
        [sys.executable, ROOT / "scripts" / "delete_endpoint.py"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "up\n"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (-signal.SIGINT, "")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device", "/home/x"),
            "/home/x: No space left on device; check the path, its permissions and the free space",
        ),
        (OSError("port 80 is taken"), "port 80 is taken"),
    ],
)
def test_what_the_system_refuses_is_one_line(capsys, error, line):
    def main(_):
        raise error

    with pytest.raises(SystemExit) as ended:
        command.run(main)
    assert ended.value.code == 2
    assert capsys.readouterr().err.partition(": ")[2] == f"{line}\n"


def test_brackets_in_names_are_not_taken_for_markup(capsys):
    command.console.print("photo[a].jpg")
    with command.status("looking at [/pictures]"):
        pass
    assert capsys.readouterr().err.startswith("photo[a].jpg\n")


def test_a_question_without_a_terminal_needs_yes(monkeypatch):
    parser = command.parser("", ())
    parser.add_argument("--yes", action="store_true")
    monkeypatch.setattr(sys, "stdin", open(os.devnull))  # noqa: SIM115, PTH123
    with pytest.raises(command.Failure, match="add --yes"):
        command.confirm("Delete?", parser.parse_args([]))
    assert command.confirm("Delete?", parser.parse_args(["--yes"]))


@pytest.mark.parametrize(("reads", "lines"), [(command.UPSERTED, 1), (("name", "region"), 0)])
def test_a_setting_that_was_adjusted_is_told_where_it_is_read(capsys, monkeypatch, reads, lines):
    monkeypatch.setenv("PIPELINE_TUNING__JOBS", "1")
    settings = command.settings(command.parser("", reads).parse_args([]))
    assert (settings.tuning.jobs, settings.tuning.parallel_jobs) == (1, 1)
    said = capsys.readouterr().err.splitlines()
    assert said == lines * ["tuning.parallel_jobs = 2 (from pipeline.toml): tuning.jobs = 1, so it is 1"]
