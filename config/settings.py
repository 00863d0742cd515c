"""What users choose once per deployment.

`pipeline.toml` at the project root, then environment variables (`PIPELINE_REGION`,
`PIPELINE_TUNING__JOBS`), then `key=value` overrides (`tuning.jobs=4`): the later one wins.
What changes between executions is an execution parameter instead (parameters.py).
"""

import difflib
import os
import sys
import tomllib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, get_origin, get_type_hints

from config.deployment import Deployment
from config.sections import Debugger, Gate, Images, ModelCard, Retries, Schedule, Split, Training, Tuning
from config.values import Between, Checked, Entry, Matches, SettingsError, convert, words
from entrypoints.contract import RENAMED_TRAINABLE

FILE = Path(__file__).resolve().parents[1] / "pipeline.toml"
PREFIX = "PIPELINE_"
# AWS's example account. The shipped file has it wherever a deployment needs its own value.
PLACEHOLDER_ACCOUNT = "123456789012"
# The tag by which roles and commands tell what belongs to a deployment; its value is the setting name.
DEPLOYMENT_TAG = "deployment"
# What runs as a role of its own; see Settings.
Duty = Literal["processing", "training", "verification", "endpoint", "scoring"]
# SageMaker's default for training jobs, used for processing jobs, too; a job costs until it ends.
MAX_RUNTIME_S = 86_400

# SageMaker writes names in its ARNs in lower case, and the roles in infra/stack.yaml are granted by ARN.
_NAME = Matches(
    r"[a-z0-9](-?[a-z0-9]){0,49}",
    "at most 50 lower-case letters, digits and single hyphens, such as flower-classifier",
)
_REGION = Matches(r"[a-z]{2}(-[a-z]+)+-\d", "an AWS region such as us-east-1")
_BUCKET = Matches(
    r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", "a bucket's name such as my-bucket, without s3:// or a path"
)
_ROLE = Matches(
    r"arn:aws[a-z-]*:iam::\d{12}:role/[\w+=,.@/-]+",
    "a role ARN such as arn:aws:iam::123456789012:role/SageMakerExecution",
)
# The service's forms, in upper or lower case, with or without P: P30D, 30d, PT12H, T16m, 30dT5h.
_DURATION = Matches(
    r"(?i)P?(?=\d|T\d)(\d+Y)?(\d+M)?(\d+W)?(\d+D)?(T(?=\d)(\d+H)?(\d+M)?(\d+S)?)?",
    "an ISO 8601 duration such as P30D or PT12H, or empty for no caching",
)

# Former names of values, by key: accepted, with a line on stderr that gives the new name.
RENAMED = {"training.trainable": RENAMED_TRAINABLE}


@dataclass(frozen=True)
class Settings(Checked):
    """All settings of a deployment. Build it with `load`, which checks it."""

    bucket: Annotated[str, _BUCKET]
    execution_role: Annotated[str, _ROLE]  # the pipeline, and all that has no role of its own below
    lambda_role: Annotated[str, _ROLE]  # the function that deploys
    scheduler_role: Annotated[str, _ROLE]  # EventBridge Scheduler, starting executions
    # Who may do what (infra/stack.yaml): what opens pictures or requests starts and registers nothing.
    # None: execution_role. `role` has the one in effect.
    processing_role: Annotated[str, _ROLE] | None = None  # SplitDataset and EvaluateModel
    training_role: Annotated[str, _ROLE] | None = None  # the trials, TrainModel and its rules
    verification_role: Annotated[str, _ROLE] | None = None  # VerifyEndpoint
    endpoint_role: Annotated[str, _ROLE] | None = None  # the models behind the endpoint
    scoring_role: Annotated[str, _ROLE] | None = None  # the models of score.py's transform jobs
    name: Annotated[str, _NAME] = "image-classification"
    region: Annotated[str, _REGION] = "us-east-1"
    # None: steps are never cached. The service's cache key holds an input's URI, not its content.
    cache_expires: Annotated[str, _DURATION] | None = None
    # How training jobs get their pictures: copied before they start, or streamed while they read.
    input_mode: Literal["File", "FastFile"] = "File"
    # Where jobs and endpoints get packages that their images lack: the index, or wheels beside the code.
    package_source: Literal["index", "bundle"] = "index"
    # Of each trial and of TrainModel; StoppingCondition in the API reference: at most 28 days.
    max_runtime_s: Annotated[int, Between(1, 2_419_200)] = MAX_RUNTIME_S
    # Managed spot training for the trials and TrainModel: cheaper, and interrupted at times.
    use_spot: bool = False
    max_wait_s: Annotated[int, Between(1)] = 2 * MAX_RUNTIME_S  # for instances and the run itself
    # Checkpoints without spot, too: a job's next attempt continues from its last complete epoch.
    checkpoints: bool = False
    tags: Mapping[str, str] = field(default_factory=dict, hash=False)
    split: Split = field(default_factory=Split)
    tuning: Tuning = field(default_factory=Tuning)
    training: Training = field(default_factory=Training)
    gate: Gate = field(default_factory=Gate)
    model_card: ModelCard = field(default_factory=ModelCard)
    debugger: Debugger = field(default_factory=Debugger)
    images: Images = field(default_factory=Images)
    deployment: Deployment = field(default_factory=Deployment)
    retries: Retries = field(default_factory=Retries)
    schedule: Schedule = field(default_factory=Schedule)

    def check(self, refuse: Callable[[str, str], SettingsError]) -> None:
        if DEPLOYMENT_TAG in self.tags:
            raise refuse("tags", f"the tag {DEPLOYMENT_TAG} holds the setting name; take another key")
        if self.package_source == "bundle":
            # Wheels are for one Python each (steps/wheels.py).
            for key in ("training_version", "serving_version"):
                version, known = getattr(self.images, key), getattr(Images, key)
                if version != known:
                    raise refuse(
                        "package_source",
                        f"images.{key} = {version!r} has no wheels, only {known!r} has; set it to index",
                    )

    @property
    def pipeline_name(self) -> str:
        return self.name

    @property
    def model_package_group_name(self) -> str:
        return self.name

    @property
    def function_name(self) -> str:
        return f"{self.name}-deploy"

    @property
    def schedule_name(self) -> str:
        return f"{self.name}-retraining"

    def role(self, duty: Duty) -> str:
        """The ARN of the role that a kind of job, or the endpoint, runs as."""
        own: str | None = getattr(self, f"{duty}_role")
        return own or self.execution_role

    @property
    def resource_tags(self) -> dict[str, str]:
        """The tags of all that this deployment creates: its name, which the roles ask for, and `tags`."""
        return {**self.tags, DEPLOYMENT_TAG: self.name}

    @property
    def account(self) -> str:
        """The AWS account, as the execution role names it."""
        return self.execution_role.split(":")[4]

    @property
    def function_arn(self) -> str:
        """The deploying Lambda function's ARN, known before the function exists."""
        partition = self.execution_role.split(":")[1]
        return f"arn:{partition}:lambda:{self.region}:{self.account}:function:{self.function_name}"

    def placeholders(self) -> list[str]:
        """Keys that still hold the shipped file's example account, so no AWS account can be meant."""
        keys = ["bucket", *(item.name for item in fields(self) if item.name.endswith("_role"))]
        return [key for key in keys if PLACEHOLDER_ACCOUNT in (getattr(self, key) or "")]


def load(
    path: Path | None = None,
    environ: Mapping[str, str] | None = None,
    overrides: Sequence[str] = (),
    say: Callable[[str, str], object] = lambda _key, _line: None,
) -> Settings:
    """Read and check the settings.

    `path` is a TOML file (default: pipeline.toml at the project root), `environ` the environment
    (default: this process's), `overrides` are `key=value` strings with dotted keys. A setting
    that another one implies is adjusted to it; `say` is told its key, and in one line what and why.
    Raises SettingsError for a file that cannot be read and for the first setting that is wrong.
    """
    given = {
        **_from_file(path or FILE),
        **_from_environment(os.environ if environ is None else environ),
        **_from_overrides(overrides),
    }
    for key, words_now in RENAMED.items():
        if key in given and (now := words_now.get(str(given[key].value))):
            print(f"warning: {given[key].error(key, f'now called {now!r}; write that')}", file=sys.stderr)
            given[key] = replace(given[key], value=now)
    sources = {key: entry.source for key, entry in given.items()}
    settings: Settings = _build(Settings, "", given)
    for key, entry in given.items():
        raise entry.error(key, f"no such setting{_suggestion(key)}")
    for key, value, why in _implied(settings):
        name, _, inner = key.partition(".")
        section = getattr(settings, name)
        old = getattr(section, inner) if inner else section
        new = replace(section, **{inner: value}) if inner else value
        settings = replace(settings, **{name: new})
        told = Entry(old, sources.get(key, "the default"), text=False).error(
            key, f"{why}, so it is {value!r}"
        )
        say(key, str(told))
    return settings


def _implied(settings: Settings) -> Iterator[tuple[str, Any, str]]:
    """What has only one value that SageMaker takes, now that the others are chosen: key, value, why."""
    tuning = settings.tuning
    if tuning.parallel_jobs > tuning.jobs:
        yield "tuning.parallel_jobs", tuning.jobs, f"tuning.jobs = {tuning.jobs}"
    if tuning.strategy == "Hyperband" and tuning.early_stopping:
        yield "tuning.early_stopping", False, "Hyperband stops trials by itself"
    if settings.use_spot and settings.max_wait_s < settings.max_runtime_s:
        yield "max_wait_s", settings.max_runtime_s, f"max_runtime_s = {settings.max_runtime_s}"


def without_effect(
    path: Path | None, environ: Mapping[str, str], overrides: Sequence[str], reads: Collection[str]
) -> list[str]:
    """The overrides that have no effect on a command that reads only `reads` (keys and sections).

    Overrides that make the settings load do have one: a setting without a default needs a value, and some
    settings must agree with others.
    """
    for key in map(_key, overrides):
        if any(key == read or key.startswith(f"{read}.") for read in reads):
            continue
        rest = [other for other in overrides if _key(other) != key]
        if _loads(path, environ, rest):
            dropped = [override for override in overrides if _key(override) == key]
            return [*dropped, *without_effect(path, environ, rest, reads)]
    return []


def _loads(path: Path | None, environ: Mapping[str, str], overrides: Sequence[str]) -> bool:
    try:
        load(path, environ, overrides)
    except SettingsError:
        return False
    return True


def _key(override: str) -> str:
    return override.partition("=")[0].strip()


def _from_file(path: Path) -> dict[str, Entry]:
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(
            f"{path}: cannot be read ({error.strerror}); give a TOML file that exists"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: not TOML: {error}") from error
    return {key: Entry(value, path.name, text=False) for key, value in _flatten(document)}


def _flatten(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        # An empty known section is harmless; any other is a key that `load` does not know.
        if value == {} and prefix + key in _sections():
            continue
        if isinstance(value, dict) and value:
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _sections() -> set[str]:
    hints = get_type_hints(Settings)
    return {
        name
        for name, hint in hints.items()
        if is_dataclass(hint) or get_origin(hint) is get_origin(Mapping[str, str])
    }


def _from_environment(environ: Mapping[str, str]) -> dict[str, Entry]:
    return {
        name.removeprefix(PREFIX).lower().replace("__", "."): Entry(
            value, f"environment variable {name}", text=True
        )
        for name, value in environ.items()
        if name.startswith(PREFIX)
    }


def _from_overrides(overrides: Sequence[str]) -> dict[str, Entry]:
    given = {}
    for override in overrides:
        _, equals, value = override.partition("=")
        if not equals or not _key(override):
            raise SettingsError(f"--set {override!r}: write key=value, e.g. tuning.jobs=4")
        given[_key(override)] = Entry(value.strip(), "--set", text=True)
    return given


def _build(kind: Any, prefix: str, given: dict[str, Entry]) -> Any:
    """An instance of the dataclass `kind` from the keys under `prefix`, which are removed from `given`."""
    hints = get_type_hints(kind, include_extras=True)
    values: dict[str, Any] = {}
    taken: dict[str, Entry] = {}
    for item in fields(kind):
        key, hint = prefix + item.name, hints[item.name]
        if is_dataclass(hint):
            values[item.name] = _build(hint, f"{key}.", given)
        elif get_origin(hint) is get_origin(Mapping[str, str]):
            names = [name for name in given if name.startswith(f"{key}.")]
            values[item.name] = {name[len(key) + 1 :]: convert(str, name, given.pop(name)) for name in names}
        elif key in given:
            taken[item.name] = given.pop(key)
            values[item.name] = convert(hint, key, taken[item.name])
        elif item.default is MISSING:
            raise SettingsError(
                f"{key} is not set: give {words(hint)} in {FILE.name}, as {PREFIX}{key.upper()} or with --set"
            )
    built = kind(**values)

    def refuse(name: str, remedy: str) -> SettingsError:
        entry = taken.get(name) or Entry(getattr(built, name), "the default", text=False)
        return entry.error(prefix + name, remedy)

    if isinstance(built, Checked):
        built.check(refuse)
    return built


def _suggestion(key: str) -> str:
    known = list(_keys(Settings))
    if inside := [name for name in known if name.startswith(f"{key}.")]:
        return f"; it is a section, set {' or '.join(inside[:2])}"
    close = difflib.get_close_matches(key, known, n=1)
    return f"; did you mean {close[0]}?" if close else f"; known are {', '.join(known)}"


def _keys(kind: Any, prefix: str = "") -> Iterator[str]:
    for name, hint in get_type_hints(kind).items():
        if is_dataclass(hint):
            yield from _keys(hint, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}.NAME" if name == "tags" else prefix + name
