"""The local service as a whole: one home folder, one HTTP endpoint, everything behind it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections import ChainMap
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial
from pathlib import Path
from typing import IO, Any

from local.application import answer_json, application
from local.endpoints import browser, model_server
from local.endpoints.configs import EndpointConfigs
from local.endpoints.deployments import Deployments
from local.endpoints.endpoints import Endpoints
from local.endpoints.models import Models
from local.endpoints.registry import Registry
from local.functions.functions import FunctionService
from local.home import tags
from local.home.disk import disk_fault
from local.home.files import close_to_others, make_file
from local.home.home import Home
from local.home.store import Store
from local.iam import simulation
from local.jobs import processing, training, transform
from local.jobs.jobs import JobService
from local.logs import operations as logs
from local.pipelines.pipelines import PipelineService
from local.s3.operations import S3
from local.server import Server
from local.tuning.tuning import TuningService
from local.wire import clients
from local.wire.operations import ControlPlane

# How long programs have to end by themselves when the service ends. SageMaker's 120 seconds are too long for
# a person who has pressed Ctrl-C.
ENDING_S = 10.0


class HomeInUse(Exception):
    """Another service keeps this home folder; the message is one line."""


class LocalService:
    """A laptop-sized SageMaker on 127.0.0.1, whose state lies in one home folder.

    Use it as a context manager: leaving it stops what runs. A later service on the same home knows the
    runs of this one and serves its endpoints again.

    Args:
        root: the home folder, made if it is missing, and closed to other users.
        region: the region in its ARNs.
        port: 0 takes a free one.
        server: what serves endpoints, one of model_server.SERVERS.

    Raises:
        HomeInUse: another service keeps this home.
        OtherRegion: this home is of another region.
        LaunchError: that server is not installed.
        OSError: the folder cannot be made, read or written.
    """

    def __init__(
        self, root: Path, region: str = "us-east-1", port: int = 0, server: str = model_server.UVICORN
    ) -> None:
        model_server.require(server)
        self.home = Home(root.resolve(), region)
        self.home.make()
        self._lock = _lock(self.home.root / "service.json")
        try:
            self.home.keep_region()
        except BaseException:
            self._lock.close()
            raise
        self._s3 = S3(self.home)
        store = self._store = Store(self.home.database)
        registry = Registry(self.home, store)
        models = Models(self.home, store, registry)
        kinds = (training.KIND, processing.KIND, transform.kind(models, server))
        self._jobs = {kind: JobService(self.home, store, kind, self.environment) for kind in kinds}
        self._tuning = TuningService(self.home, store, self._jobs[training.KIND])
        configs = EndpointConfigs(self.home, store, models)
        self._deployments = Deployments(self.home, store, models, configs, self.environment, server)
        endpoints = Endpoints(self.home, store, configs, self._deployments)
        self._functions = FunctionService(self.home, store, self.environment)
        self._pipelines = PipelineService(self.home, store, self.client)
        operations = [jobs.operations() for jobs in self._jobs.values()]
        operations += [part.operations() for part in (self._tuning, registry, models, configs, endpoints)]
        operations += [self._pipelines.operations(), tags.operations(store)]
        control = ControlPlane(dict(ChainMap(*operations)), region)
        app = application(
            self._s3.handle,
            control,
            endpoints.invoke,
            self._functions.handle,
            partial(browser.answer, invoke=endpoints.invoke, page=endpoints.page),
            region,
            {"iam": simulation.answer, "logs": partial(answer_json, logs.control_plane(self.home, store))},
        )
        self._server = Server(app, port)

    @property
    def url(self) -> str:
        """Where it answers, e.g. http://127.0.0.1:4566."""
        return self._server.url

    def pages(self) -> list[str]:
        """Where a browser finds the endpoints there are, e.g. http://127.0.0.1:4566/endpoints/NAME/."""
        paginator = self.client("sagemaker").get_paginator("list_endpoints")
        found = [endpoint for page in paginator.paginate() for endpoint in page["Endpoints"]]
        return [f"{self.url}/endpoints/{endpoint['EndpointName']}/" for endpoint in found]

    def environment(self) -> dict[str, str]:
        """What makes boto3 in a child process talk to this service."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_REGION": self.home.region,
            "AWS_DEFAULT_REGION": self.home.region,
            "AWS_ACCESS_KEY_ID": clients.ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": clients.SECRET_KEY,
        }

    def client(self, service: str) -> Any:
        """A boto3 client that talks to this service, whatever the person's AWS configuration says."""
        return clients.client(service, self.environment(), max_pool_connections=50, read_timeout=900)

    def start(self) -> None:
        """Answer requests; take up what an earlier service on this home left.

        Raises:
            OSError: the port is taken, or the disk is full.
        """
        try:
            for jobs in self._jobs.values():
                jobs.recover()
            self._tuning.recover()
            self._pipelines.recover()
            self._server.start()
            # Past the file's buffer: what a full disk does not take would be in the way of closing it.
            os.write(self._lock.fileno(), json.dumps({"url": self.url, "pid": os.getpid()}).encode())
            self._deployments.resume()
        except BaseException as error:  # Ctrl-C among them: what has begun ends
            self.stop()
            if fault := disk_fault(error, self.home.root):
                raise OSError(fault) from None
            raise

    def stop(self) -> None:
        """Stop executions, jobs, functions and endpoint servers, then answer no more.

        Programs have ENDING_S to end by themselves; another Ctrl-C or SIGTERM ends them at once, and the
        process soon after (ending.py). Records of endpoints stay: a later service serves them again.
        """
        with ThreadPoolExecutor(1, thread_name_prefix="local-stop") as thread:
            ended = thread.submit(self._end)
            while not ended.done():
                with contextlib.suppress(KeyboardInterrupt, SystemExit):
                    wait([ended], ENDING_S)
                if not ended.done():
                    self._kill()
        ended.result()

    def _end(self) -> None:
        with contextlib.ExitStack() as last_first:
            last_first.callback(self._lock.close)
            last_first.callback(self._lock.truncate, 0)
            last_first.callback(self._store.close)
            last_first.callback(self._s3.close)
            last_first.callback(self._server.stop)
            last_first.callback(self._deployments.stop)
            last_first.callback(self._functions.stop)
            for jobs in self._jobs.values():
                last_first.callback(jobs.close)
            last_first.callback(self._tuning.close)
            last_first.callback(self._pipelines.stop)

    def _kill(self) -> None:
        for jobs in self._jobs.values():
            jobs.kill()
        self._functions.stop()

    def __enter__(self) -> LocalService:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _lock(path: Path) -> IO[str]:
    """Keep `path` locked as long as the returned file is open; it tells others who does."""
    make_file(path)
    close_to_others(path)
    file = path.open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        text = file.read()
        file.close()
        where = ""
        with contextlib.suppress(ValueError, KeyError, TypeError):  # it is just being written, or damaged
            holder = json.loads(text)
            where = f" (process {holder['pid']}, {holder['url']})"
        raise HomeInUse(
            f"{path.parent} is in use by another local service{where};"
            " stop that one, talk to it with --local URL, or choose another folder with --home"
        ) from None
    file.truncate(0)  # what a service left that was killed
    return file
