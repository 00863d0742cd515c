"""README.md and docs/: their commands run as written, and their tables agree with the code."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path

import boto3
import pytest
import yaml
from PIL import Image

from config.parameters import execution_parameters
from config.settings import load

ROOT = Path(__file__).resolve().parents[1]
# In the order in which a reader runs their commands; the README repeats some of them.
PAGES = {
    name: (ROOT / name).read_text(encoding="utf-8")
    for name in (
        "docs/datasets.md",
        "docs/laptop.md",
        "docs/aws.md",
        "docs/costs.md",
        "docs/endpoint.md",
        "docs/operations.md",
        "docs/ci.md",
        "docs/pipeline.md",
        "docs/reference.md",
        "docs/troubleshooting.md",
        "README.md",
    )
}
MANUAL = "\n".join(PAGES.values())
LINKED = {
    **PAGES,
    **{
        name: (ROOT / name).read_text(encoding="utf-8")
        for name in ("docs/opt-ml.md", "docs/replicas.md", "benchmarks/README.md", "CONTRIBUTING.md")
    },
}
FOLDERS = ("config", "entrypoints", "infra", "local", "pipeline", "scripts", "steps")
LOCAL_URL = "http://127.0.0.1:4566"
NOT_RUN = "not run by the tests: "
STAYS = "stays running"
LAST = "run last by the tests"

# The manual's commands on 24 tiny pictures: one trial of one epoch. With the cache on, the second execution
# finds the results of the first; it never does under Debugger, whose request names the execution.
QUICK_SETTINGS = {
    "PIPELINE_TUNING__JOBS": "1",
    "PIPELINE_TUNING__PARALLEL_JOBS": "1",
    "PIPELINE_DEBUGGER__ENABLED": "false",
    "PIPELINE_CACHE_EXPIRES": "P30D",
    "PIPELINE_GATE__BETTER_THAN_GUESSING": "false",
}
QUICK_PARAMETERS = " --parameter Epochs=1 --parameter ImageSize=32 --parameter AccuracyThreshold=0"
SHADES = {"daisies": (240, 240, 200), "roses": (200, 20, 40), "tulips": (230, 120, 20)}


class Template(yaml.SafeLoader):
    """Reads a CloudFormation template; the values of !Sub and similar tags do not matter here."""


Template.add_multi_constructor("!", lambda loader, suffix, node: None)  # noqa: ARG005


@dataclass(frozen=True)
class Block:
    """A fenced block of the manual: its language, its text, and the HTML comment above it."""

    language: str
    text: str
    mark: str

    @property
    def commands(self) -> list[str]:
        return self.text.replace("\\\n", " ").splitlines()


def blocks(*languages: str) -> list[Block]:
    found = re.findall(r"(?:<!-- (.*?) -->\n)?^```(\w+)\n(.*?)^```", MANUAL, re.MULTILINE | re.DOTALL)
    return [Block(name, text, mark) for mark, name, text in found if name in languages]


def deployment() -> dict[str, str]:
    """The settings that the manual puts into pipeline.toml."""
    (block,) = blocks("toml")
    settings = tomllib.loads(block.text)
    overrides = [f"{key}={value}" for key, value in settings.items()]
    assert load(environ={}, overrides=overrides).placeholders() == []
    return settings


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A clone of the parts of the project that its commands need, with pictures next to it."""
    for name in FOLDERS:
        (tmp_path / name).symlink_to(ROOT / name)
    for name, shade in SHADES.items():
        (tmp_path / "flowers" / name).mkdir(parents=True)
        for number in range(8):
            picture = Image.new("RGB", (40, 36), tuple(value - 5 * number for value in shade))
            picture.save(tmp_path / "flowers" / name / f"{number}.jpg")
    return tmp_path


class Terminal:
    """Runs the manual's commands in the clone, with AWS out of reach and the local service in its place."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = LOCAL_URL
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "PIPELINE_"))}
        self.environment = {
            **kept,
            **{f"PIPELINE_{key.upper()}": value for key, value in deployment().items()},
            **QUICK_SETTINGS,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "AWS_CONFIG_FILE": str(folder / "no-such-file"),
            "AWS_SHARED_CREDENTIALS_FILE": str(folder / "no-such-file"),
            "AWS_EC2_METADATA_DISABLED": "true",
            "COLUMNS": "200",
            "OMP_NUM_THREADS": "1",
        }
        self.service: subprocess.Popen[str] | None = None

    def run(self, command: str) -> str:
        """The command's output; it must succeed."""
        if "run_local.py" in command or "start_execution.py" in command:
            command += QUICK_PARAMETERS
        completed = subprocess.run(
            ["bash", "-c", command.replace(LOCAL_URL, self.url)],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert completed.returncode == 0, f"{command}\n{completed.stdout}\n{completed.stderr}"
        return completed.stdout

    def run_on(self, command: str) -> None:
        """Start the local service on a free port, and use it in place of AWS from now on."""
        self.service = subprocess.Popen(
            [*shlex.split(command.replace("python", sys.executable, 1)), "--port", "0"],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.service.stdout is not None
        self.url = self.service.stdout.readline().split()[0]
        self.environment |= {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "local",
            "AWS_SECRET_ACCESS_KEY": "local",
        }
        # Until then an endpoint that an earlier service left is SystemUpdating.
        sagemaker = self.client("sagemaker")
        wait_until(lambda: status(sagemaker) == "InService")

    def client(self, service: str):
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id="local",
            aws_secret_access_key="local",
        )


def status(sagemaker) -> str:
    return sagemaker.describe_endpoint(EndpointName="flower-classifier")["EndpointStatus"]


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.2)


@pytest.fixture
def terminal(house: Path) -> Iterator[Terminal]:
    terminal = Terminal(house)
    yield terminal
    if terminal.service is not None:
        terminal.service.send_signal(signal.SIGINT)
        assert terminal.service.wait(60) == 0
        terminal.service.stdout.close()


def test_the_commands_run_as_written(terminal):
    """One test, since each command builds on those before it, as for a reader."""
    printed: dict[str, str] = {}
    last: list[str] = []
    for block in blocks("sh", "python"):
        if block.mark.startswith(NOT_RUN):
            continue
        if block.mark == LAST:
            last += block.commands
            continue
        assert block.mark in {"", STAYS}
        if block.language == "python":
            # The page says that its sizes are those of ImageSize 224; here it is 32.
            text = block.text.replace("(256)", "(37)").replace("(224)", "(32)")
            (terminal.folder / "example.py").write_text(text)
            printed["python"] = terminal.run("python example.py")
            continue
        for command in block.commands:
            if block.mark == STAYS:
                terminal.run_on(command)
            elif command not in printed:  # a command on two pages runs once
                printed[command] = terminal.run(command)

    summary = json.loads((terminal.folder / "summary.json").read_text())
    assert summary["status"] == "Succeeded"
    assert summary["classes"] == list(SHADES)
    definition = json.loads((terminal.folder / "definition.json").read_text())
    assert [step["Name"] for step in definition["Steps"]] == [
        "SplitDataset", "TuneHyperparameters", "TrainModel", "FindChampion", "EvaluateModel", "CheckAccuracy"
    ]  # fmt: skip
    assert printed["python"].strip() in SHADES
    predicted = {command: text for command, text in printed.items() if "predict.py" in command}
    tables = [text for command, text in predicted.items() if "--format" not in command]
    assert len(tables) == 3
    assert all("flowers/daisies/1.jpg" in table for table in tables)
    (csv,) = [text for command, text in predicted.items() if "--format csv" in command]
    assert len(csv.splitlines()) == 1 + 8
    (answers,) = [text for command, text in predicted.items() if "--format json" in command]
    assert [answer["file"] for answer in json.loads(answers)] == ["-"]
    starts = {command: text for command, text in printed.items() if "start_execution.py" in command}
    (estimate,) = [starts.pop(command) for command in list(starts) if "--estimate" in command]
    assert "then the endpoint flower-classifier (1 x ml.m5.2xlarge): 336.53 USD a month" in estimate
    started = list(starts.values())
    assert len(started) == 2
    for text in started:
        assert "Succeeded; endpoint flower-classifier is InService" in text
    (bill,) = [text for command, text in printed.items() if "cost.py" in command]
    assert "endpoint flower-classifier (1 x ml.m5.2xlarge, InService) costs 0.461 USD an hour" in bill
    (listed,) = [text for command, text in printed.items() if command.endswith("executions.py")]
    assert len(listed.splitlines()) >= 3
    (back,) = [text for command, text in printed.items() if "endpoints.py rollback" in command]
    assert "version 2" in back
    sagemaker = terminal.client("sagemaker")
    packages = sagemaker.list_model_packages(ModelPackageGroupName="flower-classifier")
    assert len(packages["ModelPackageSummaryList"]) == 3
    wait_until(lambda: not sagemaker.list_endpoints()["Endpoints"])
    assert terminal.client("scheduler").list_schedules()["Schedules"] == []

    # The walk that began with doctor.py ends here.
    (checked,) = [text for command, text in printed.items() if "doctor.py" in command]
    assert "failure" not in checked
    for command in last:
        assert "is left in us-east-1 but what stays" in terminal.run(command)
    assert remains(terminal) == set()


def remains(terminal: Terminal) -> set[str]:
    """What a deployment leaves, asked of each service anew."""
    sagemaker, functions, logs = (terminal.client(name) for name in ("sagemaker", "lambda", "logs"))
    listed = {
        "pipelines": sagemaker.list_pipelines()["PipelineSummaries"],
        "endpoints": sagemaker.list_endpoints()["Endpoints"],
        "endpoint configs": sagemaker.list_endpoint_configs()["EndpointConfigs"],
        "models": sagemaker.list_models()["Models"],
        "model package groups": sagemaker.list_model_package_groups()["ModelPackageGroupSummaryList"],
        "functions": functions.list_functions()["Functions"],
        "endpoints' logs": logs.describe_log_groups(logGroupNamePrefix="/aws/sagemaker/Endpoints")[
            "logGroups"
        ],
        "functions' logs": logs.describe_log_groups(logGroupNamePrefix="/aws/lambda")["logGroups"],
    }
    objects = terminal.client("s3").list_objects_v2(Bucket="my-flower-bucket").get("Contents", [])
    found = {what for what, there in listed.items() if there}
    # run_local.py puts the pictures of a run into a folder of their own, which nobody named.
    return found | {item["Key"] for item in objects if "/data/flowers-" not in item["Key"]}


def test_the_commands_that_are_not_run_exist():
    """`make` targets are in the Makefile, options in a script's --help."""
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    commands = [
        command for block in blocks("sh") if block.mark.startswith(NOT_RUN) for command in block.commands
    ]
    assert commands
    for command in commands:
        words = shlex.split(command)
        if words[0] == "make":
            assert words[1] in targets
        elif words[0] == "python":
            for option in [word for word in words if word.startswith("--")]:
                assert option in help_of(*words[1 : 3 if words[1] == "-m" else 2])
        else:
            assert words[0] in {"aws", "source"}


def test_the_options_of_run_local_are_in_its_help():
    described = re.findall(r"^\| `(--[a-z-]+)", PAGES["docs/laptop.md"], re.MULTILINE)
    assert len(described) == 12
    help_text = help_of("scripts/run_local.py")
    assert [option for option in described if option not in help_text] == []


def help_of(*program: str) -> str:
    command = [sys.executable, *program, "--help"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_the_stack_of_the_roles_takes_its_parameters_and_gives_the_settings():
    (block,) = [block for block in blocks("sh") if "cloudformation" in block.text]
    words = shlex.split(block.commands[0])
    template = yaml.load((ROOT / words[words.index("--template-file") + 1]).read_text(), Template)
    given = dict(word.split("=") for word in words[words.index("--parameter-overrides") + 1 :])
    settings = deployment()
    assert given["Name"] == settings["name"]
    assert given["BucketName"] == settings["bucket"]
    assert words[words.index("--region") + 1] == settings["region"]
    required = {name for name, parameter in template["Parameters"].items() if "Default" not in parameter}
    assert required <= given.keys() <= template["Parameters"].keys()
    for name, value in given.items():
        parameter = template["Parameters"][name]
        assert re.fullmatch(
            parameter.get("AllowedPattern", "|".join(parameter.get("AllowedValues", []))), value
        )
    for name, output in template["Outputs"].items():
        key, _, file = output["Description"].partition(" in ")
        if name.endswith("Role") and file == "pipeline.toml":
            assert f"\n| `{name}` | " in PAGES["docs/aws.md"]
            assert key in settings
        elif file == "pipeline.toml":
            assert f"`{key}` |\n" in PAGES["docs/aws.md"]
    adding = re.findall(r"`([A-Za-z]+)=[^`]*`", PAGES["docs/aws.md"].partition("## 2.")[0])
    assert len(adding) > 8
    assert set(adding) | given.keys() <= template["Parameters"].keys()


def test_the_table_of_execution_parameters():
    for parameter in execution_parameters(load(environ={}), ""):
        default = f"`{parameter.default}`" if parameter.default else "the marker for random weights"
        row = f"\n| {parameter.name} | {parameter.type} | {default} | {parameter.meaning} |\n"
        assert row in PAGES["docs/reference.md"]
    assert len(rows("parameter")) == len(execution_parameters(load(environ={}), ""))


def test_the_table_of_settings():
    expected = [(key, shown(value)) for key, value in walk(load(environ={}))]
    assert [(key, value) for key, value, _ in rows("key")] == expected


def rows(head: str) -> list[list[str]]:
    """The cells of the table whose first column has this head and that has a column `meaning`."""
    table = re.search(rf"^\| {head} \|.*\| meaning \|\n\|[-| ]+\n((?:\|.*\n)+)", MANUAL, re.MULTILINE)
    assert table
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table[1].splitlines()]


def walk(settings, prefix=""):
    for field in fields(settings):
        value = getattr(settings, field.name)
        if is_dataclass(value):
            yield from walk(value, f"{prefix}{field.name}.")
        else:
            yield prefix + field.name, value


def shown(value) -> str:
    if value is None or value == ():
        return "empty"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return f"`{list(value)}`"
    if isinstance(value, float):
        return f"`{value:g}`"
    if isinstance(value, dict):
        return ", ".join(f"`{key} = {text}`" for key, text in value.items())
    return f"`{value}`"


def test_the_steps_are_those_of_the_definition():
    steps = json.loads((ROOT / "tests" / "golden" / "definition.json").read_text())["Steps"]
    for step in steps:  # grows: a branch may hold a condition
        steps += [inner for branch in ("IfSteps", "ElseSteps") for inner in step["Arguments"].get(branch, [])]
    (diagram,) = blocks("mermaid")
    for step in steps:
        assert step["Name"] in diagram.text
        assert f"\n| {step['Name']} | " in PAGES["docs/pipeline.md"]


def test_the_quoted_errors_are_in_the_code():
    code = "".join(
        path.read_text(encoding="utf-8")
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("*")
        if path.suffix in {".py", ".sh"}
    )
    code = re.sub(r'"\s+f?"', "", code)  # a message may go over several lines
    quoted = re.findall(r"^\| `(.*?)` \|", PAGES["docs/troubleshooting.md"], re.MULTILINE)
    assert len(quoted) > 10
    assert [message for message in quoted if message not in code] == []


def anchors(page: str) -> set[str]:
    """The anchors that GitHub gives a page's headings."""
    titles = re.findall(r"^#+ (.*)$", page, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title).strip().lower().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("name", LINKED)
def test_links_lead_somewhere(name):
    for target in re.findall(r"\]\(([^)]+)\)", re.sub(r"^```.*?^```", "", LINKED[name], flags=re.M | re.S)):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        found = (ROOT / name).parent.joinpath(path).resolve() if path else ROOT / name
        assert found.exists(), target
        if anchor:
            assert anchor in anchors(LINKED[found.relative_to(ROOT).as_posix()]), target


def test_the_readme_is_an_entrance():
    """Short, and each page of the manual is linked from it."""
    readme = PAGES["README.md"]
    assert len(readme.split()) < 900
    for name in [*PAGES, "benchmarks/README.md", "CONTRIBUTING.md"]:
        assert name == "README.md" or f"]({name})" in readme
