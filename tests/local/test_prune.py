"""Freeing space in a home: which executions are removed, with which files, and what stays because it is
needed."""

import json
import sys
import time

import pytest
from botocore.exceptions import ClientError

from local import __main__ as command
from local import prune
from local.home.lock import lock
from local.home.store import Store
from local.home.tags import TAGS
from local.pipelines.executions import LEFT
from local.pipelines.pipelines import PIPELINES
from local.pipelines.record import EXECUTIONS
from local.s3.objects import Objects
from local.service import LocalService
from tests.local.definitions import PIPELINE, document, fail, join

DAY_S = 24 * 3600.0
ROOT = "s3://bucket/executions"
DEFINITION = document(fail("First", join("/", ROOT, "other")), fail("Second", "no"))
PACKAGE = {"ModelPackageGroupName": "pictures", "ModelPackageVersion": 1}


def arn(name):
    return f"{PIPELINE}/execution/{name}"


def add(home, store, name, days_old, status="Succeeded", **more):
    """An execution with one training job, and the files of both."""
    ended = time.time() - days_old * DAY_S
    job = f"pipelines-{name}-Train-abc"
    properties = {"ModelArtifacts": {"S3ModelArtifacts": f"{ROOT}/{name}/train/{job}/output/model.tar.gz"}}
    step = {"StepName": "Train", "StepStatus": "Succeeded", "StartTime": ended, "EndTime": ended}
    record = {
        "PipelineArn": PIPELINE,
        "PipelineExecutionArn": arn(name),
        "PipelineExecutionStatus": status,
        "SelectiveExecutionConfig": None,
        "CreationTime": ended,
        "LastModifiedTime": ended,
        "_pipeline": "pictures",
        "_definition": DEFINITION,
        "_parameters": {"InputDataUrl": "s3://bucket/data"},
        "_steps": {"Train": {**step, "_properties": properties}},
        "_token": name,
        **more,
    }
    store.create(EXECUTIONS, arn(name), record)
    outputs = {
        "OutputDataConfig": {"S3OutputPath": f"{ROOT}/{name}/train"},
        "DebugHookConfig": {"S3OutputPath": f"{ROOT}/{name}/train/debugger"},
        "CheckpointConfig": {"S3Uri": "s3://bucket/checkpoints"},
    }
    training = {"TrainingJobName": job, "TrainingJobArn": home.arn("training-job", job), **outputs}
    ends = {"TrainingJobStatus": "Completed", "CreationTime": ended, **properties}
    store.create("TrainingJob", job, {**training, **ends})
    tag = {"Key": "sagemaker:pipeline-execution-arn", "Value": arn(name)}
    store.create(TAGS, home.arn("training-job", job), {"Tags": [tag]})
    for path in (
        f"training-jobs/{job}/log.txt",
        f"reports/{name}.html",
        f"s3/bucket/executions/{name}/train/{job}/output/model.tar.gz",
        f"s3/bucket/executions/{name}/train/debugger/{job}/debug-output/a",
        "s3/bucket/checkpoints/a",
        "s3/bucket/data/a.png",
    ):
        (home.root / path).parent.mkdir(parents=True, exist_ok=True)
        (home.root / path).write_bytes(b"x" * 1000)


def left(home, name):
    """The files with the name of an execution in their paths."""
    paths = (str(path.relative_to(home.root)) for path in home.root.rglob("*") if path.is_file())
    return sorted(path for path in paths if name in path)


def kept(store):
    return sorted(name.rpartition("/")[2] for name, _ in store.names(EXECUTIONS))


def pruned(home, store, keep=0, than_s=0):
    plan = prune.plan(home, store, prune.older(store, keep, than_s))
    prune.carry_out(home, store, plan.prunings)
    return plan


@pytest.fixture
def homed(home):
    home.make()
    return home


def test_an_execution_goes_with_all_that_is_its_own_and_nothing_else(homed, store):
    for days, name in enumerate(("third", "second", "first")):
        add(homed, store, name, days)
    before = left(homed, "third")
    plan = prune.plan(homed, store, prune.older(store, 1, 1.5 * DAY_S))
    (pruning,) = plan.prunings
    assert pruning.arn == arn("first")
    (model,) = homed.s3.glob("bucket/executions/first/train/*/output/model.tar.gz")
    block = model.stat().st_blocks * 512
    assert pruning.counts == {"executions": 1, "training jobs": 1, "objects in S3": 2, "reports": 1}
    assert pruning.sizes["objects in S3"] == 2 * block
    (homed.s3 / "bucket" / "data" / "link").hardlink_to(model)  # an object that the split took from another
    (linked,) = prune.plan(homed, store, prune.older(store, 1, 1.5 * DAY_S)).prunings
    assert linked.sizes["objects in S3"] == block
    assert left(homed, "first") != []  # to plan removes nothing
    prune.carry_out(homed, store, plan.prunings)
    assert left(homed, "first") == []
    assert kept(store) == ["second", "third"]
    jobs = [name for name, _ in store.names("TrainingJob")]
    assert sorted(jobs) == ["pipelines-second-Train-abc", "pipelines-third-Train-abc"]
    assert len(store.names(TAGS)) == 2
    assert store.names(prune.PRUNINGS) == []
    assert left(homed, "third") == before
    pruned(homed, store)
    assert kept(store) == []
    assert sorted(path.name for path in (homed.s3 / "bucket").iterdir()) == ["checkpoints", "data"]


@pytest.mark.parametrize(
    "more",
    [
        {"status": "Executing"},
        {"status": "Stopping"},
        {"status": "Stopped", "FailureReason": LEFT},
    ],
)
def test_what_runs_or_was_interrupted_stays_with_what_it_reuses(homed, store, more):
    add(homed, store, "source", 3)
    add(homed, store, "other", 2)
    selection = {"SourcePipelineExecutionArn": arn("source"), "SelectedSteps": []}
    add(homed, store, "going", 1, **more, SelectiveExecutionConfig=selection)
    plan = pruned(homed, store)
    assert kept(store) == ["going", "source"]
    assert +plan.kept == {
        "executions that run, or were interrupted and can resume": 1,
        "executions whose results a kept one uses": 1,
    }
    assert len(left(homed, "source")) == len(left(homed, "going")) > 0


def test_a_job_that_has_not_ended_keeps_its_execution(homed, store):
    add(homed, store, "first", 3)
    store.update(
        "TrainingJob", "pipelines-first-Train-abc", lambda job: job.update(TrainingJobStatus="InProgress")
    )
    pruned(homed, store)
    assert kept(store) == ["first"]


def test_what_a_kept_execution_found_in_the_cache_stays_over_several_steps(homed, store):
    for days, name in enumerate(("newest", "second", "first", "alone")):
        add(homed, store, name, days)
    for name, source, result in (
        ("newest", "second", "CacheHitResult"),
        ("second", "first", "SelectiveExecutionResult"),
    ):
        reused = {result: {"SourcePipelineExecutionArn": arn(source)}}
        store.update(
            EXECUTIONS, arn(name), lambda record, reused=reused: record["_steps"]["Train"].update(reused)
        )
    pruned(homed, store, keep=1)
    assert kept(store) == ["first", "newest", "second"]


def test_the_trials_that_a_kept_tuning_job_starts_from_stay(homed, store):
    add(homed, store, "first", 3)
    add(homed, store, "other", 3)
    parent = homed.arn("hyper-parameter-tuning-job", "parent")
    store.create("HyperParameterTuningJob", "parent", {"HyperParameterTuningJobStatus": "Completed"})
    tag = {"Key": "sagemaker:pipeline-execution-arn", "Value": arn("first")}
    store.create(TAGS, parent, {"Tags": [tag]})
    start = {"ParentHyperParameterTuningJobs": [{"HyperParameterTuningJobName": "parent"}]}
    store.create("HyperParameterTuningJob", "child", {"WarmStartConfig": start})
    pruned(homed, store)
    assert kept(store) == ["first"]


@pytest.mark.parametrize(
    ("kind", "record"),
    [
        (
            "model-packages",
            {**PACKAGE, "InferenceSpecification": {"Containers": [{"ModelDataUrl": "MODEL"}]}},
        ),
        ("model-packages", {**PACKAGE, "ModelCard": {"ModelCardContent": '{"model_artifact":["MODEL"]}'}}),
        ("models", {"ModelName": "m", "PrimaryContainer": {"ModelDataUrl": "MODEL"}}),
        ("TrainingJob", {"InputDataConfig": [{"DataSource": {"S3DataSource": {"S3Uri": "FOLDER"}}}]}),
        ("TrainingJob", {"OutputDataConfig": {"S3OutputPath": "FOLDER"}}),
        (EXECUTIONS, {"_parameters": {"InputDataUrl": "FOLDER"}}),
        (PIPELINES, {"PipelineDefinition": '{"Parameters": [{"DefaultValue": "FOLDER"}]}'}),
        (PIPELINES, {"PipelineDefinition": '{"A": {"Std:Join": {"On": "/", "Values": ["FOLDER", "x"]}}}'}),
        ("schedules", {"Target": {"Input": '{"url": "FOLDER."}'}}),
    ],
)
def test_what_a_record_that_stays_names_in_s3_stays(homed, store, kind, record):
    add(homed, store, "first", 3)
    output = f"{ROOT}/first/train/pipelines-first-Train-abc/output"
    text = json.dumps(record).replace("MODEL", f"{output}/model.tar.gz").replace("FOLDER", output)
    name = arn("hand-made") if kind == EXECUTIONS else "name"
    ended = {"PipelineArn": PIPELINE, "PipelineExecutionArn": name, "_steps": {}, "LastModifiedTime": 1e12}
    store.create(kind, name, json.loads(text) | (ended if kind == EXECUTIONS else {}))
    plan = pruned(homed, store, than_s=1)
    assert left(homed, "first") == [
        "s3/bucket/executions/first/train/pipelines-first-Train-abc/output/model.tar.gz"
    ]
    assert sum(plan.kept.values()) == 1


def test_a_record_that_names_no_more_than_where_everything_lies_keeps_nothing(homed, store):
    add(homed, store, "first", 3)
    store.create("TrainingJob", "by-hand", {"OutputDataConfig": {"S3OutputPath": "s3://bucket"}})
    store.create("ProcessingJob", "by-hand", {"Outputs": [{"S3Output": {"S3Uri": "s3://bucket/"}}]})
    store.create(PIPELINES, "pictures", {"PipelineDefinition": DEFINITION})
    pruned(homed, store)
    assert left(homed, "first") == []


def test_killed_half_way_it_leaves_a_home_that_starts_and_the_next_one_ends_the_work(
    homed, store, monkeypatch, capsys
):
    for days, name in enumerate(("second", "first")):
        add(homed, store, name, days)
    members = {"PipelineName": "pictures", "PipelineArn": PIPELINE, "PipelineDefinition": DEFINITION}
    more = {"RoleArn": "role", "CreationTime": 1.0, "LastModifiedTime": 1.0, "PipelineStatus": "Active"}
    store.create(PIPELINES, "pictures", {**members, **more, "_token": "t"})
    delete = Objects.delete

    def killed(self, bucket, key):
        delete(self, bucket, key)
        raise SystemExit

    monkeypatch.setattr(Objects, "delete", killed)
    with pytest.raises(SystemExit):
        pruned(homed, store, keep=1)
    monkeypatch.undo()
    store.close()
    half = left(homed, "first")
    assert len(half) == 3
    (homed.root / "service.json").write_text("{}")  # of a service that was killed
    with LocalService(homed.root, fire=False) as service:
        sagemaker = service.client("sagemaker")
        found = sagemaker.list_pipeline_executions(PipelineName="pictures")["PipelineExecutionSummaries"]
        assert [each["PipelineExecutionArn"] for each in found] == [arn("second")]
        selection = {"SourcePipelineExecutionArn": arn("first"), "SelectedSteps": [{"StepName": "Second"}]}
        with pytest.raises(ClientError, match=f"ResourceNotFound.*'{arn('first')}' does not exist"):
            sagemaker.start_pipeline_execution(
                PipelineName="pictures", SelectiveExecutionConfig=selection, ClientRequestToken="t" * 32
            )
        assert prune_command(monkeypatch, homed, "--yes") == 2
        assert f"{homed.root} is in use by another local service (process" in capsys.readouterr().err
    assert left(homed, "first") == half
    assert prune_command(monkeypatch, homed, "--yes", "--keep", "1") == 0
    assert left(homed, "first") == []
    assert prune_command(monkeypatch, homed, "--yes", "--keep", "1") == 0
    assert capsys.readouterr().out.endswith("nothing to remove\n")


def prune_command(monkeypatch, home, *options):
    monkeypatch.setattr(sys, "argv", ["local", "--home", str(home.root), "--prune", *options])
    return command.main()


def test_the_command_shows_what_goes_and_asks(homed, store, monkeypatch, capsys):
    for number in range(5):
        add(homed, store, f"run{number}", 9 - number)
    store.update(EXECUTIONS, arn("run1"), lambda record: record.update(PipelineExecutionStatus="Executing"))
    (homed.root / "service.json").write_text("{}")  # of a service that was killed: the next one reads it
    before = {path: path.stat().st_ino for path in homed.root.rglob("*") if path.is_file()}
    assert prune_command(monkeypatch, homed) == 2  # pytest's input is not a terminal
    told = capsys.readouterr()
    assert (told.out, told.err) == (
        "", "local: --prune asks before it removes, and there is no terminal; add --yes\n",
    )  # fmt: skip
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr("builtins.input", lambda question: "" if question == "Remove this? [y/N] " else "y")
    assert prune_command(monkeypatch, homed) == 1
    out = capsys.readouterr().out
    assert "of each pipeline the 3 newest executions stay\n" in out
    assert "also kept: 1 executions that run" in out
    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in out.splitlines() if "│" in line]
    assert ["pictures", "run0", "0.0"] in rows
    assert ["training jobs", "1", "0.0"] in rows
    assert ["objects in S3", "2", "0.0"] in rows
    assert out.endswith("nothing is removed\n")
    now = {path: path.stat().st_ino for path in homed.root.rglob("*") if path.is_file()}
    assert before.items() <= now.items()
    monkeypatch.setattr("builtins.input", lambda _question: "y")
    assert prune_command(monkeypatch, homed) == 0
    assert kept(store) == ["run1", "run2", "run3", "run4"]
    assert (homed.root / "service.json").read_text() == "{}"
    assert prune_command(monkeypatch, homed, "--older-than", "1w") == 0
    assert kept(store) == ["run1", "run3", "run4"]


def test_names_are_escaped(capsys):
    name = "\x1b[31m\N{RIGHT-TO-LEFT OVERRIDE}[bold]x:smile:"
    table = command._executions([prune.Pruning(f"a:pipeline/{name}/execution/e", (), {}, (), (), {}, {})])
    command.Console(highlight=False, markup=False, emoji=False, width=200).print(table)
    assert "\\x1b[31m\\u202e[bold]x:smile:" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--keep", "2"], "--keep needs --prune; add --prune, or leave it out"),
        (["--yes"], "--yes needs --prune"),
        (["--prune", "--keep", "-1"], "'-1' is not a number of executions; expected 0 or more"),
        (
            ["--prune", "--older-than", "7"],
            "'7' is not an age; expected hours, days or weeks, such as 12h, 7d, 4w",
        ),
    ],
)
def test_wrong_options_are_refused(monkeypatch, tmp_path, capsys, options, told):
    monkeypatch.setattr(sys, "argv", ["local", "--home", str(tmp_path), *options])
    with pytest.raises(SystemExit) as ended:
        command.main()
    assert ended.value.code == 2
    assert told in capsys.readouterr().err


def test_a_folder_that_is_not_a_home_and_a_damaged_home_are_refused(
    homed, store, monkeypatch, tmp_path, capsys
):
    (tmp_path / "empty").mkdir()
    monkeypatch.setattr(sys, "argv", ["local", "--home", str(tmp_path / "empty"), "--prune", "--yes"])
    assert command.main() == 2
    told = f"local: {tmp_path / 'empty'} is not the home of a local service; name one with --home\n"
    assert capsys.readouterr().err == told
    assert list((tmp_path / "empty").iterdir()) == []
    add(homed, store, "first", 3)
    store._connection.execute("UPDATE records SET body = '[' WHERE kind = 'TrainingJob'")
    assert prune_command(monkeypatch, homed, "--yes", "--keep", "0") == 2
    assert "start python -m local on it once" in capsys.readouterr().err
    assert kept(store) == ["first"]
    store.close()
    homed.database.write_bytes(b"no database" * 1000)
    assert prune_command(monkeypatch, homed, "--yes", "--keep", "0") == 2
    assert "so nothing was removed" in capsys.readouterr().err
    assert left(homed, "first") != []
    file, killed = lock(homed.root)  # it is free again
    file.close()
    assert not killed
    Store(homed.database).close()
