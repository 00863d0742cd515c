import subprocess
import sys
from operator import attrgetter
from pathlib import Path
from typing import get_args

import pytest

from config.settings import FILE, Duty, load, without_effect
from config.values import SettingsError

REQUIRED = """
bucket = "my-bucket"
execution_role = "arn:aws:iam::444455556666:role/Execution"
lambda_role = "arn:aws:iam::444455556666:role/service-role/Lambda"
scheduler_role = "arn:aws:iam::444455556666:role/Scheduler"
"""


@pytest.fixture
def write(tmp_path):
    def write(text, required=REQUIRED):
        path = tmp_path / "pipeline.toml"
        path.write_text(required + text, encoding="utf-8")
        return path

    return write


def refused(path, environ=None, overrides=()):
    with pytest.raises(SettingsError) as caught:
        load(path, environ or {}, overrides)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_the_shipped_file_holds_placeholders_only_where_a_deployment_differs():
    settings = load(environ={})
    roles = (
        "execution",
        "lambda",
        "scheduler",
        "processing",
        "training",
        "verification",
        "endpoint",
        "scoring",
    )
    assert settings.placeholders() == ["bucket", *(f"{role}_role" for role in roles)]
    assert settings.cache_expires is None
    assert settings.debugger.enabled


def test_the_shipped_file_writes_the_defaults_down(write):
    shipped, bare = load(FILE, {}), load(write(""), {})
    for section in ("split", "tuning", "debugger", "images", "deployment", "retries", "model_card"):
        assert getattr(shipped, section) == getattr(bare, section)


def test_the_environment_wins_over_the_file_and_the_command_line_over_both(write):
    path = write("[tuning]\njobs = 5\nparallel_jobs = 1\n")
    environ = {"PIPELINE_TUNING__JOBS": "6", "PIPELINE_TUNING__PARALLEL_JOBS": "3", "HOME": "/elsewhere"}
    assert load(path, {}).tuning.jobs == 5
    assert load(path, environ).tuning.jobs == 6
    settings = load(path, environ, ["tuning.jobs=7"])
    assert (settings.tuning.jobs, settings.tuning.parallel_jobs) == (7, 3)


def test_text_of_the_shell_becomes_every_type(write):
    overrides = [
        "region=eu-west-1",
        "tags.cost center=a=b",
        "cache_expires=P30D",
        "tuning.early_stopping=true",
        "tuning.learning_rate_min=1e-5",
        "tuning.batch_sizes=16, 32",
        "debugger.collections=gradients,weights",
        "debugger.profiler_interval_ms=1000",
    ]
    settings = load(write(""), {}, overrides)
    assert settings.region == "eu-west-1"
    assert settings.tags == {"cost center": "a=b"}
    assert settings.cache_expires == "P30D"
    assert settings.tuning.early_stopping is True
    assert settings.tuning.learning_rate_min == 1e-5
    assert settings.tuning.batch_sizes == (16, 32)
    assert settings.debugger.collections == ("gradients", "weights")
    assert settings.debugger.profiler_interval_ms == 1000


def test_empty_limits_of_the_search_are_none_and_given_ones_are_taken(write):
    nothing = load(write('[tuning]\nmax_runtime_s = ""\ntarget_accuracy = ""\n'), {}).tuning
    assert (nothing.max_runtime_s, nothing.target_accuracy, nothing.max_jobs_not_improving) == (None,) * 3
    overrides = [
        "max_runtime_s=3600",
        "target_accuracy=0.98",
        "max_jobs_not_improving=3",
    ]
    given = load(write(""), {}, [f"tuning.{override}" for override in overrides]).tuning
    assert (given.max_runtime_s, given.target_accuracy, given.max_jobs_not_improving) == (3600, 0.98, 3)


def test_without_spot_instances_the_wait_does_not_matter(write):
    assert load(write("max_runtime_s = 200_000\n"), {}).max_runtime_s == 200_000


@pytest.mark.parametrize(
    ("text", "overrides", "adjusted", "told"),
    [
        (
            "[tuning]\njobs = 1\n",
            [],
            {"tuning.parallel_jobs": 1},
            ["tuning.parallel_jobs = 2 (from the default): tuning.jobs = 1, so it is 1"],
        ),
        (
            "[tuning]\njobs = 4\nparallel_jobs = 3\n",
            ["tuning.jobs=2"],
            {"tuning.parallel_jobs": 2, "tuning.jobs": 2},
            ["tuning.parallel_jobs = 3 (from pipeline.toml): tuning.jobs = 2, so it is 2"],
        ),
        ("[tuning]\njobs = 2\nparallel_jobs = 2\n", [], {"tuning.parallel_jobs": 2}, []),
        (
            '[tuning]\nstrategy = "Hyperband"\n',
            ["tuning.early_stopping=true"],
            {"tuning.early_stopping": False},
            ["tuning.early_stopping = True (from --set): Hyperband stops trials by itself, so it is False"],
        ),
        (
            "use_spot = true\nmax_runtime_s = 200000\n",
            [],
            {"max_wait_s": 200_000},
            ["max_wait_s = 172800 (from the default): max_runtime_s = 200000, so it is 200000"],
        ),
    ],
)
def test_settings_that_others_imply_are_adjusted_and_said(write, text, overrides, adjusted, told):
    said = []
    settings = load(write(text), {}, overrides, lambda key, line: said.append((key, line)))
    assert {key: attrgetter(key)(settings) for key in adjusted} == adjusted
    assert [line for _, line in said] == told
    assert all(line.startswith(f"{key} = ") for key, line in said)


def test_an_empty_section_says_nothing(write):
    assert load(write("[tags]\n[tuning]\n"), {}) == load(write(""), {})


def test_names_derive_from_the_name_and_the_execution_role(write):
    settings = load(write('name = "flowers"\nregion = "cn-north-1"\n'), {})
    assert settings.pipeline_name == settings.model_package_group_name == "flowers"
    assert settings.schedule_name == "flowers-retraining"
    assert settings.function_arn == "arn:aws:lambda:cn-north-1:444455556666:function:flowers-deploy"
    assert settings.placeholders() == []


def test_a_duty_without_a_role_of_its_own_is_the_execution_roles(write):
    duties = get_args(Duty)
    settings = load(write(""), {}, ["processing_role=", "tags.team=vision"])
    assert {settings.role(duty) for duty in duties} == {settings.execution_role}
    own = [f"{duty}_role={settings.execution_role}-{duty}" for duty in duties]
    settings = load(write(""), {}, own)
    assert [settings.role(duty) for duty in duties] == [entry.partition("=")[2] for entry in own]


def test_everything_carries_the_deployments_name_as_a_tag(write):
    settings = load(write('name = "flowers"\n[tags]\nteam = "vision"\n'), {})
    assert settings.resource_tags == {"team": "vision", "deployment": "flowers"}


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ('[tags]\ndeployment = "mine"\n', ["tags", "deployment", "take another key"]),
        ('endpoint_role = "mine"\n', ["endpoint_role", "a role ARN"]),
        ('name = "Flowers"\n', ["name = 'Flowers'", "lower-case letters"]),
        ("[tuning]\njob = 3\n", ["tuning.job = 3", "no such setting", "did you mean tuning.jobs?"]),
        ("[tunning]\n", ["tunning = {}", "no such setting"]),
        ("tuning = 3\n", ["tuning = 3", "it is a section", "tuning.jobs"]),
        ('[tuning]\njobs = "4"\n', ["tuning.jobs = '4'", "must be a whole number from 1 to 10000"]),
        ("[tuning]\njobs = true\n", ["tuning.jobs = True", "must be a whole number"]),
        ("[tuning]\njobs = 0\n", ["tuning.jobs = 0", "from 1 to 10000"]),
        ("[tuning]\njobs = 751\n", ["tuning.jobs = 751", "at most 750", "'Bayesian'"]),
        ('[tuning]\njobs = 10001\nstrategy = "Random"\n', ["tuning.jobs = 10001", "from 1 to 10000"]),
        ("[tuning]\njobs = 200\nparallel_jobs = 101\n", ["tuning.parallel_jobs = 101", "from 1 to 100"]),
        (f"[tuning]\nbatch_sizes = {list(range(1, 32))}\n", ["tuning.batch_sizes", "1 to 30"]),
        ("[tuning]\nlearning_rate_min = 0\n", ["tuning.learning_rate_min = 0", "above 0"]),
        ("[tuning]\nlearning_rate_min = nan\n", ["tuning.learning_rate_min = nan", "a number"]),
        ("[tuning]\nlearning_rate_max = 1e-4\n", ["tuning.learning_rate_min = 0.0001", "below"]),
        ("[tuning]\nbatch_sizes = []\n", ["tuning.batch_sizes = []", "1 to 30"]),
        ("[tuning]\nbatch_sizes = [32, 32]\n", ["tuning.batch_sizes", "only once"]),
        ("[tuning]\nbatch_sizes = 32\n", ["tuning.batch_sizes = 32", "a list"]),
        ('[tuning]\nbatch_sizes = ["32"]\n', ["tuning.batch_sizes = '32'", "a whole number"]),
        ('[tuning]\nstrategy = "Grid"\n', ["tuning.strategy = 'Grid'", "Bayesian, Random, Hyperband"]),
        ("[debugger]\nenabled = 1\n", ["debugger.enabled = 1", "true or false"]),
        ("[debugger]\nprofiler_interval_ms = 250\n", ["250", "one of 100, 200, 500"]),
        ('[debugger]\ncollections = ["losess"]\n', ["'losess'", "one of weights"]),
        ('[debugger]\nrules = ["Overfitting"]\n', ["'Overfitting'", "one of LossNotDecreasing, Overfit,"]),
        (
            "[images]\ntraining_version = 2.13\n",
            ["images.training_version = 2.13", 'in quotes such as "2.13"'],
        ),
        ("[retries]\nmax_attempts = 21\n", ["retries.max_attempts = 21", "from 0 to 20"]),
        (
            '[deployment]\ntraffic_routing = "SHADOW"\n',
            ["deployment.traffic_routing = 'SHADOW'", "one of ALL_AT_ONCE, CANARY, LINEAR"],
        ),
        ("[deployment]\nstep_percent = 51\n", ["deployment.step_percent = 51", "from 1 to 50"]),
        ("[deployment]\nwait_interval_s = 3601\n", ["deployment.wait_interval_s = 3601", "from 0 to 3600"]),
        ("[deployment]\nmax_runtime_s = 599\n", ["deployment.max_runtime_s = 599", "from 600 to 28800"]),
        (
            '[deployment]\ntraffic_routing = "LINEAR"\nstep_percent = 9\n',
            ["deployment.step_percent = 9", "at least 10 %"],
        ),
        (
            '[deployment]\ntraffic_routing = "LINEAR"\nstep_percent = 30\nwait_interval_s = 900\n',
            ["deployment.max_runtime_s = 3600", "the default", "waits 3600 s"],
        ),
        ('[deployment]\nalarms = [" "]\n', ["deployment.alarms = ' '", "an alarm's name"]),
        (f"[deployment]\nalarms = {['a'] * 11}\n", ["deployment.alarms", "at most 10"]),
        ('cache_expires = "30 days"\n', ["cache_expires = '30 days'", "P30D"]),
        ("max_runtime_s = 0\n", ["max_runtime_s = 0", "from 1 to 2419200"]),
        ('input_mode = "Pipe"\n', ["input_mode = 'Pipe'", "one of File, FastFile"]),
        ("[tuning]\nmax_runtime_s = 119\n", ["tuning.max_runtime_s = 119", "from 120 to 15768000"]),
        ("[tuning]\ntarget_accuracy = 98\n", ["tuning.target_accuracy = 98", "above 0 to 1"]),
        ("[tuning]\nmax_jobs_not_improving = 2\n", ["tuning.max_jobs_not_improving = 2", "3 or more"]),
        ("use_spot = 1\n", ["use_spot = 1", "true or false"]),
        ('package_source = "pypi"\n', ["package_source = 'pypi'", "one of index, bundle"]),
        (
            'package_source = "bundle"\n[images]\ntraining_version = "2.14"\n',
            [
                "package_source = 'bundle'",
                "images.training_version = '2.14' has no wheels, only '2.13'",
                "index",
            ],
        ),
        ('name = "a_b"\n', ["name = 'a_b'", "hyphens"]),
        ('region = "Frankfurt"\n', ["region = 'Frankfurt'", "us-east-1"]),
        ("[tags]\nteam = 3\n", ["tags.team = 3", "a string"]),
    ],
)
def test_a_wrong_setting_is_named_with_value_source_and_remedy(write, text, parts):
    message = refused(write(text))
    for part in parts:
        assert part in message
    assert "from pipeline.toml" in message or "from the default" in message


def test_a_random_search_may_have_ten_thousand_jobs(write):
    assert load(write('[tuning]\njobs = 10000\nstrategy = "Random"\n'), {}).tuning.jobs == 10_000


@pytest.mark.parametrize(
    ("key", "value", "remedy"),
    [
        ("bucket", "s3://my-bucket/data", "without s3://"),
        ("bucket", "My_Bucket", "a bucket's name"),
        ("execution_role", "Execution", "arn:aws:iam::123456789012:role/"),
        ("lambda_role", "arn:aws:iam::1234:role/X", "a role ARN"),
        ("scheduler_role", "arn:aws:iam::123456789012:user/X", "a role ARN"),
    ],
)
def test_malformed_names_of_resources_from_the_environment(write, key, value, remedy):
    message = refused(write(""), {f"PIPELINE_{key.upper()}": value})
    assert f"{key} = {value!r} (from environment variable PIPELINE_{key.upper()})" in message
    assert remedy in message


def test_an_unknown_environment_variable_is_an_unknown_setting(write):
    message = refused(write(""), {"PIPELINE_BUKET": "x"})
    assert "environment variable PIPELINE_BUKET" in message
    assert "did you mean bucket?" in message


def test_a_malformed_override(write):
    assert "write key=value" in refused(write(""), {}, ["tuning.jobs"])
    assert "(from --set)" in refused(write(""), {}, ["tuning.jobs=many"])


@pytest.mark.parametrize(
    ("reads", "ignored"),
    [
        (("name", "tuning"), ["tags.team=vision"]),
        (("tags", "tun"), ["name=flowers", "tuning.jobs=9"]),
        (("tuning.jobs", "tags"), ["name=flowers"]),
        (("name", "tuning", "tags"), []),
    ],
)
def test_overrides_of_what_nobody_reads_have_no_effect(write, reads, ignored):
    overrides = ["name=flowers", "tuning.jobs=9", "tags.team=vision"]
    assert without_effect(write(""), {}, overrides, reads) == ignored
    assert without_effect(write(""), {}, 2 * ["input_mode=FastFile"], reads) == 2 * ["input_mode=FastFile"]


@pytest.mark.parametrize("order", [1, -1])
def test_overrides_that_agree_with_each_other_only_have_no_effect(write, order):
    # The default of learning_rate_max is 0.1.
    overrides = ["tuning.learning_rate_min=0.5", "tuning.learning_rate_max=0.9"][::order]
    assert sorted(without_effect(write(""), {}, overrides, ())) == sorted(overrides)
    given = {"PIPELINE_TUNING__LEARNING_RATE_MIN": "0.5"}
    assert without_effect(write(""), given, ["tuning.learning_rate_max=0.9"], ()) == []


def test_an_override_that_nothing_else_gives_has_an_effect(write):
    overrides = ["bucket=petals", "region=eu-west-1"]
    path = write("", required=REQUIRED.replace('bucket = "my-bucket"', ""))
    assert without_effect(path, {}, overrides, ()) == ["region=eu-west-1"]
    assert without_effect(path, {"PIPELINE_BUCKET": "x-y-z"}, overrides, ()) == overrides


def test_a_missing_required_setting_says_where_to_give_it(write):
    message = refused(write("", required=""))
    assert "bucket is not set" in message
    assert "PIPELINE_BUCKET" in message


def test_a_file_that_cannot_be_read(tmp_path, write):
    assert "No such file" in refused(tmp_path / "absent.toml")
    assert "not TOML" in refused(write("name = \n"))


def test_settings_load_without_the_sdk_or_boto3():
    probe = "import sys; import config.settings, config.parameters; print(*sys.modules)"
    root = Path(__file__).resolve().parents[2]
    run = subprocess.run([sys.executable, "-c", probe], cwd=root, capture_output=True, text=True, check=True)
    assert not {"sagemaker", "boto3", "botocore"} & set(run.stdout.split())


@pytest.mark.parametrize(
    ("text", "environ", "overrides", "source"),
    [
        ('[training]\ntrainable = "layer4"\n', {}, (), "pipeline.toml"),
        (
            "",
            {"PIPELINE_TRAINING__TRAINABLE": "layer4"},
            (),
            "environment variable PIPELINE_TRAINING__TRAINABLE",
        ),
        ("", {}, ("training.trainable=layer4",), "--set"),
    ],
)
def test_the_old_word_for_the_last_block_is_understood(write, capsys, text, environ, overrides, source):
    assert load(write(text), environ, overrides).training.trainable == "last_block"
    assert capsys.readouterr().err == (
        f"warning: training.trainable = 'layer4' (from {source}): now called 'last_block'; write that\n"
    )


def test_a_word_that_never_was_is_refused_and_the_new_one_is_silent(write, capsys):
    assert "one of auto, head, last_block, all" in refused(write('[training]\ntrainable = "layer3"\n'))
    assert load(write('[training]\ntrainable = "last_block"\n'), {}).training.trainable == "last_block"
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["split.group_pattern=("], "is not a regular expression"),
        (["split.test_fraction=0.9"], "leave nothing to train on"),
        (["split.group_pattern=a", "split.group_level=1"], "names the groups already"),
    ],
)
def test_a_split_that_cannot_be_made(overrides, words):
    with pytest.raises(SettingsError, match=words):
        load(environ={}, overrides=overrides)


def test_the_split_programs_arguments():
    arguments = load(environ={}, overrides=["split.group_pattern=-x", "split.seed=7"]).split.arguments()
    assert "--group-pattern=-x" in arguments
    assert arguments[arguments.index("--seed") + 1] == "7"
    assert not any("pattern" in word for word in load(environ={}).split.arguments())
