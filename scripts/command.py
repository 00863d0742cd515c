"""What all commands share: options, the AWS session, one-line errors, exit codes.

Exit codes: 0 done, 1 the answer is no (a failed gate, a refused request), 2 wrong input or environment, 130
interrupted. Results go to stdout, progress and errors to stderr.
"""

from __future__ import annotations

import argparse
import errno
import os
import re
import shlex
import shutil
import signal
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlsplit

from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.status import Status
from rich.text import Text

from config.parameters import ENDPOINT_NAME, execution_parameters
from config.settings import Settings, load, without_effect
from config.values import SettingsError
from entrypoints.program import printable
from scripts import choices
from scripts.aws_errors import explain, is_missing, one_line

if TYPE_CHECKING:
    import boto3
    from mypy_boto3_sagemaker.client import SageMakerClient
    from mypy_boto3_sagemaker.type_defs import DescribePipelineResponseTypeDef


class _Console(Console):
    """Prints names of files and classes literally: no markup, since they may hold brackets, and no emoji.
    Escapes control characters.
    """

    def __init__(self, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, highlight=False, markup=False, emoji=False)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=printable(segment.text))


# A parser, and what commands are added to.
Subcommands = tuple[argparse.ArgumentParser, "argparse._SubParsersAction[Any]"]

console = _Console(stderr=True)
output = _Console()

# The settings that upsert_pipeline.py puts into AWS: all except those of the schedule and of score.py.
_OTHERS = {"scheduler_role", "scoring_role", "schedule"}
UPSERTED = tuple(item.name for item in fields(Settings) if item.name not in _OTHERS)


class Failure(Exception):
    """An error that the user can fix; the message is one line: what, where and what to do."""


class _Formatter(argparse.HelpFormatter):
    """Wraps a description's paragraphs to the terminal's width; indented ones (examples) stay as they are."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        paragraphs = text.strip().split("\n\n")
        return "\n\n".join(
            paragraph.strip("\n")
            if paragraph.startswith(" ")
            else super(_Formatter, self)._fill_text(paragraph, width, indent)
            for paragraph in paragraphs
        )


class _Parser(argparse.ArgumentParser):
    def format_help(self) -> str:
        """The usual help, and the names that --parameter and --set take, one a line."""
        lines, width = [], shutil.get_terminal_size().columns - 2  # as argparse does
        if any(action.dest == "parameters" for action in self._actions):
            lines += ["", "execution parameters (--parameter), with their defaults:"]
            lines += choices.parameters(width)
        if reads := self.get_default("reads"):
            lines += ["", "settings (--set), with their defaults:"]
            lines += choices.settings(reads, width)
            lines += ["", "docs/reference.md says what each does."]
        return super().format_help() + "\n".join(lines) + "\n"

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """An empty argument, perhaps from an unset shell variable, must not mean the default."""
        given = sys.argv[1:] if args is None else list(args)
        if any(argument == "" or re.fullmatch("--[a-z-]+=", argument) for argument in given):
            self.error(
                "an argument is empty, perhaps a shell variable that is not set; fill it in or leave it out"
            )
        return super().parse_known_args(given, namespace)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {one_line(message)}; see {self.prog} --help\n")


def fail(message: str) -> NoReturn:
    """End the command with exit code 2 and this line.

    Raises:
        Failure: always; `run` prints it.
    """
    raise Failure(message)


def plain_parser(description: str) -> argparse.ArgumentParser:
    """A parser for a command that reads no settings and sends nothing to AWS."""
    return _Parser(description=description, formatter_class=_Formatter)


def parser(
    description: str,
    reads: Collection[str],
    local_help: str = "talk to a running local service instead of AWS",
) -> argparse.ArgumentParser:
    """A parser with the options that other commands share: --local, --set and --settings.

    Args:
        reads: the settings (keys and sections) that this command uses; see `settings`.
    """
    return _with_environment(plain_parser(description), reads, local_help)


def commands(description: str) -> Subcommands:
    """A parser of several commands, which `add_command` adds to; the one given is `arguments.command`.

    Without any, as with --help, it prints the list of them.
    """
    parser = plain_parser(description)
    return parser, parser.add_subparsers(dest="command", required=True, metavar="COMMAND", title="commands")


def add_command(
    to: Subcommands, name: str, description: str, reads: Collection[str]
) -> argparse.ArgumentParser:
    """The parser of a command with the options that every command has; the list shows its first sentence."""
    added = to[1].add_parser(
        name,
        description=description,
        help=description.partition(".")[0],
        formatter_class=_Formatter,
    )
    return _with_environment(added, reads)


def _with_environment(
    result: argparse.ArgumentParser,
    reads: Collection[str],
    local_help: str = "talk to a running local service instead of AWS",
) -> argparse.ArgumentParser:
    result.set_defaults(reads=reads)
    common = result.add_argument_group("environment")
    common.add_argument("--local", metavar="URL", help=local_help)
    common.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=[], dest="overrides",
        help="override a setting, listed below (repeatable)",
    )  # fmt: skip
    common.add_argument("--settings", metavar="FILE", type=Path, help="settings file (pipeline.toml)")
    return result


def add_parameters(to: argparse.ArgumentParser) -> None:
    """Add --parameter Name=value; `config.parameters.check_assignments` reads `arguments.parameters`."""
    to.add_argument(
        "--parameter", metavar="NAME=VALUE", action="append", default=[], dest="parameters",
        help="an execution parameter, listed below, e.g. --parameter Epochs=10 (repeatable)",
    )  # fmt: skip


def add_endpoint(to: argparse.ArgumentParser, positional: bool = False) -> None:
    """Add --endpoint NAME, and with `positional` also its old spelling, a bare NAME; see `endpoint`."""
    to.add_argument("--endpoint", metavar="NAME", help="the endpoint (the default of EndpointName)")
    if positional:
        to.add_argument("name", metavar="NAME", nargs="?", help=argparse.SUPPRESS)


def endpoint(arguments: argparse.Namespace, settings: Settings) -> str:
    """The endpoint named in either way, else the default of EndpointName.

    Raises:
        Failure: two were named, or none can have that name.
    """
    alone = getattr(arguments, "name", None)
    if alone and arguments.endpoint:
        fail(f"both {alone} and --endpoint {arguments.endpoint} name an endpoint; keep --endpoint")
    name = str(alone or arguments.endpoint or default(settings, "EndpointName"))
    if not ENDPOINT_NAME.admits(name):
        fail(f"no endpoint is called {name!r}: a name has {ENDPOINT_NAME}")
    return name


def settings(arguments: argparse.Namespace) -> Settings:
    """The settings after file, environment and --set.

    File and environment apply to all commands. --set applies to this one, which must use what it sets.
    Reports used settings that were adjusted to fit others.

    Raises:
        SettingsError: one of them is wrong; `run` prints it.
        Failure: --set gives one that this command does not use; the message names the command that does.
    """

    def say(key: str, line: str) -> None:
        if key in arguments.reads or key.partition(".")[0] in arguments.reads:
            console.print(line, soft_wrap=True)

    found = load(arguments.settings, os.environ, arguments.overrides, say)
    for override in without_effect(arguments.settings, os.environ, arguments.overrides, arguments.reads):
        key = override.partition("=")[0].strip()
        if key.partition(".")[0] in UPSERTED:
            taker = "upsert_pipeline.py"
        else:
            taker = "score.py PICTURES" if key == "scoring_role" else "schedule_retraining.py"
        options = ["--set", override]
        if arguments.settings:
            options += ["--settings", str(arguments.settings)]
        if arguments.local:
            options += ["--local", arguments.local]
        fail(
            f"--set {override} has no effect here; run python scripts/{taker} {shlex.join(options)}, "
            "then this command without it"
        )
    return found


def same_settings(arguments: argparse.Namespace, reads: Collection[str]) -> list[str]:
    """The options that give another command, which uses the settings `reads`, the same values."""
    needless = without_effect(arguments.settings, os.environ, arguments.overrides, reads)
    options = [f"--set={override}" for override in arguments.overrides if override not in needless]
    return [*options, f"--settings={arguments.settings}"] if arguments.settings else options


def another(
    arguments: argparse.Namespace, script: str, *words: str, reads: Collection[str] = ("name", "region")
) -> str:
    """Another command as one types it, which talks to the same place with the same settings.

    Args:
        words: what follows the script.
        reads: the settings that the other command reads.
    """
    local = [f"--local={arguments.local}"] if arguments.local else []
    options = [*local, *same_settings(arguments, reads)]
    return shlex.join(["python", f"scripts/{script}", *words, *options])


def default(settings: Settings, name: str) -> str:
    """The default of an execution parameter that does not depend on the code."""
    return next(str(p.default) for p in execution_parameters(settings, "") if p.name == name)


def session(arguments: argparse.Namespace, settings: Settings) -> boto3.Session:
    """A session in the settings' region. Every client made from it, here and in child processes,
    talks to AWS or, with --local URL, to that service.

    Raises:
        Failure: the URL of --local is not http://host:port.
    """
    import boto3  # takes 0.2 s, which --help does not need

    if arguments.local:
        _use_local_service(arguments.local)
    return boto3.Session(region_name=settings.region)


def _use_local_service(url: str) -> None:
    if not _is_url(url):
        fail(f"--local {url!r} is not a URL; write for example --local http://127.0.0.1:4566")
    for name in list(os.environ):
        if name in {"AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"} or (
            name.startswith("AWS_ENDPOINT_URL_")
        ):
            del os.environ[name]
    os.environ["AWS_ENDPOINT_URL"] = url
    os.environ["AWS_ACCESS_KEY_ID"] = os.environ["AWS_SECRET_ACCESS_KEY"] = "local"


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a malformed host or port
        return False


def shown(name: str) -> str:
    """The name of a file or class in one line; escapes control characters and bytes that are not UTF-8."""
    return printable(name).replace("\n", "\\n")


def status(text: str) -> Status:
    """A spinner with a line, for as long as the context lasts."""
    return console.status(Text(text))


def refuse_placeholders(settings: Settings, *keys: str) -> None:
    """Refuse to send AWS the example account of the shipped settings; call this after `session`.

    Raises:
        Failure: one of `keys` is a placeholder, and no local service is used.
    """
    found = [key for key in settings.placeholders() if key in keys]
    if found and not is_local():
        fail(
            f"{', '.join(found)} in pipeline.toml still name the example account; "
            "put in your own (infra/stack.yaml creates the roles), or use --local URL"
        )


def is_local() -> bool:
    """Whether a local service is used instead of AWS; call this after `session`."""
    return bool(os.environ.get("AWS_ENDPOINT_URL"))


def find_pipeline(sagemaker: SageMakerClient, settings: Settings) -> DescribePipelineResponseTypeDef | None:
    """DescribePipeline's answer for the deployment's pipeline; None if it was never upserted.

    Raises:
        ClientError: AWS refused for another reason.
    """
    try:
        return sagemaker.describe_pipeline(PipelineName=settings.pipeline_name)
    except ClientError as error:
        if is_missing(error):
            return None
        raise


def live_pipeline(sagemaker: SageMakerClient, settings: Settings) -> DescribePipelineResponseTypeDef:
    """The same for a pipeline that must exist.

    Raises:
        Failure: it was never upserted.
        ClientError: AWS refused for another reason.
    """
    if (found := find_pipeline(sagemaker, settings)) is None:
        fail(
            f"there is no pipeline {settings.pipeline_name} in {settings.region}; "
            "create it with python scripts/upsert_pipeline.py"
        )
    return found


def confirm(question: str, arguments: argparse.Namespace) -> bool:
    """Ask on the terminal; True at once with --yes.

    Raises:
        Failure: there is no terminal to ask on and no --yes.
    """
    if arguments.yes:
        return True
    if not sys.stdin.isatty():
        fail(f"{question} There is no terminal to ask on; add --yes to go ahead")
    return console.input(f"{question} [y/N] ", markup=False, emoji=False).strip().lower() in {"y", "yes"}


def run(main: Callable[[Sequence[str] | None], int]) -> NoReturn:
    """Run a command and exit with its code; errors that the user can fix become one line.

    A KeyboardInterrupt that carries a message (what was kept, how to continue) is printed with it.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:  # set by scripts/root.py
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        code = main(None)
    except KeyboardInterrupt as interruption:
        _say(f"interrupted: {interruption}" if str(interruption) else "interrupted")
        code = 130
    except (Failure, SettingsError) as failure:
        _say(str(failure))
        code = 2
    except (BotoCoreError, ClientError) as error:
        _say(explain(error))
        code = 2
    except BrokenPipeError:
        # The reader of stdout, perhaps `head`, has closed it; nothing may be flushed to it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except OSError as error:
        if error.filename:
            _say(f"{error.filename}: {error.strerror}; check the path, its permissions and the free space")
        elif error.errno == errno.ENOSPC:
            _say(
                f"a disk is full ({error.strerror}); make room where the command writes, then start it again"
            )
        else:
            _say(str(error))
        code = 2
    sys.exit(code)


def _say(message: str) -> None:
    print(f"{Path(sys.argv[0]).name}: {one_line(message)}", file=sys.stderr)
