"""A local service's parts: a home folder, its records, executions, and a server with clients bound to it."""

import os
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from local.application import application
from local.definition.definition import parse_definition
from local.definition.parameters import values_at_start
from local.home.home import Home
from local.home.store import Record, Store
from local.pipelines import calls
from local.pipelines.execution import Execution
from local.pipelines.record import EXECUTIONS
from local.s3.operations import S3
from local.server import Server
from local.wire.errors import ServiceError
from local.wire.operations import ControlPlane
from tests.local.answer_shapes import problems
from tests.local.definitions import PIPELINE
from tests.local.fake_aws import FakeAws

Client = Callable[..., Any]


@pytest.fixture(autouse=True, scope="module")  # others, after these, make up answers that are shorter
def answers_have_their_shapes() -> Iterator[None]:
    """All answers of all operations in these tests fit AWS's model; otherwise the request fails."""
    call = ControlPlane.call

    def checked(plane: ControlPlane, name: str, request: dict[str, Any]) -> dict[str, Any]:
        answer = call(plane, name, request)
        shape = plane._model.operation_model(name).output_shape
        if shape is not None:
            wrong = problems(answer, shape)
            assert not wrong, f"{name} answers {answer}: {wrong}"
        return answer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ControlPlane, "call", checked)
        yield


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture(params=[0o000, 0o022])
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    """A umask that lets everybody do everything, and the usual one."""
    before = os.umask(request.param)
    yield
    os.umask(before)


@pytest.fixture
def store(home: Home) -> Iterator[Store]:
    store = Store(home.database)
    yield store
    store.close()


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> FakeAws:
    monkeypatch.setattr(calls, "POLL_S", 0.001)
    return FakeAws()


@pytest.fixture
def prepare(store: Store, aws: FakeAws) -> Callable[..., Execution]:
    """prepare(text, ...) makes an Execution and its record, not yet run."""

    def prepare(
        text: str,
        given: Any = (),
        execution_id: str = "d84ewltjmxhe",
        parallel: int | None = None,
        steps: Record | None = None,
    ) -> Execution:
        definition = parse_definition(text)
        arn = f"{PIPELINE}/execution/{execution_id}"
        record = {
            "PipelineArn": PIPELINE,
            "PipelineExecutionArn": arn,
            "PipelineExecutionStatus": "Executing",
            "CreationTime": time.time(),
            "_pipeline": "pictures",
            "_parameters": values_at_start(definition.parameters, given),
            "_steps": steps or {},
        }
        if parallel:
            record["ParallelismConfiguration"] = {"MaxParallelExecutionSteps": parallel}
        store.create(EXECUTIONS, arn, record)
        return Execution(arn, definition, store, aws)

    return prepare


@pytest.fixture
def run(prepare: Callable[..., Execution], store: Store) -> Callable[..., Record]:
    """run(text, ...) runs a definition to its end and returns the record."""

    def run(text: str, given: Any = (), execution_id: str = "d84ewltjmxhe", **more: Any) -> Record:
        prepare(text, given, execution_id, **more).run()
        return store.get(EXECUTIONS, f"{PIPELINE}/execution/{execution_id}")

    return run


@pytest.fixture(scope="session")
def trials(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the smdebug trials of some small trainings, by their names in trainings.py."""
    folder = tmp_path_factory.mktemp("trials")
    program = Path(__file__).with_name("trainings.py")
    environment = {**os.environ, "SMDEBUG_LOG_LEVEL": "warning", "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, program, folder], env=environment, check=True, timeout=120)
    return folder


@pytest.fixture
def bundle(tmp_path: Path) -> Callable[..., str]:
    """bundle(program, ...) is the path of a sourcedir.tar.gz with package/go.py and further files."""

    def bundle(program: str, **others: str) -> str:
        folder, archive = tmp_path / "code", tmp_path / "sourcedir.tar.gz"
        for name, text in {"package/go.py": program, **others}.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        with tarfile.open(archive, "w:gz") as tar:
            tar.add(folder, ".")
        return str(archive)

    return bundle


def refuse(*_arguments: object) -> Any:
    raise ServiceError("ValidationError", "this test has no such service")


@pytest.fixture
def server(home: Home) -> Iterator[Server]:
    """A server with S3 and moto; no SageMaker operations, endpoints or functions."""
    server = Server(application(S3(home).handle, ControlPlane({}), refuse, refuse, refuse))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def client(server: Server) -> Client:
    """client("s3") is boto3's client of the running server."""
    return clients(server.url)


@pytest.fixture
def s3(client: Client) -> Any:
    """boto3's client of the server's S3, with a bucket `pictures`."""
    s3 = client("s3")
    s3.create_bucket(Bucket="pictures")
    return s3


def clients(url: str) -> Client:
    def client(service: str, **config: object) -> Any:
        return boto3.client(
            service,
            endpoint_url=url,
            region_name="us-east-1",
            aws_access_key_id="local",
            aws_secret_access_key="local",
            config=Config(retries={"total_max_attempts": 1}, max_pool_connections=32, **config),
        )

    return client
