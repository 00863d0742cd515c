"""The whole local service: one home folder, one HTTP endpoint, everything behind it."""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import os
import shlex
import subprocess
import threading
from collections import ChainMap
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial
from pathlib import Path
from typing import Any

from local.application import answer_json, application
from local.console import page
from local.console.overview import Call, model_version
from local.endpoints import browser, model_server
from local.endpoints.configs import EndpointConfigs
from local.endpoints.deployments import Deployments
from local.endpoints.endpoints import Endpoints
from local.endpoints.models import Models
from local.endpoints.registry import Registry
from local.functions.functions import FunctionService
from local.home import tags
from local.home.disk import disk_fault
from local.home.home import Home
from local.home.lock import LOCK, lock
from local.home.recovery import set_unreadable_aside
from local.home.store import Store
from local.iam import simulation
from local.jobs import processing, training, transform
from local.jobs.jobs import JobService
from local.logs import operations as logs
from local.pipelines.pipelines import PipelineService
from local.processes.orphans import end_left
from local.processes.start import dismiss, guard
from local.quotas import operations as quotas
from local.s3.operations import S3
from local.scheduler.firing import Firing
from local.scheduler.schedules import ScheduleService
from local.server import Server
from local.tuning.tuning import TuningService
from local.wire import clients
from local.wire.http import HttpRequest, HttpResponse
from local.wire.operations import ControlPlane

# How long programs may take to end by themselves when the service ends. SageMaker's 120 s are too long for
# a person who pressed Ctrl-C.
ENDING_S = 10.0
_WATCH_S = 1.0

log = logging.getLogger(__name__)


class LocalService:
    """A laptop-sized SageMaker on 127.0.0.1, with its state in one home folder.

    Use it as a context manager: leaving it stops what runs. A later service on the same home has the
    records of this one and serves its endpoints again.

    Args:
        root: the home folder, created if it is missing, and closed to other users.
        region: the region in its ARNs.
        port: 0 means any free port.
        server: what serves endpoints, one of model_server.SERVERS.
        resume: whether to continue executions and tuning jobs of an earlier service; else they are Stopped.
        when_gone: called, with a line, when the home folder has been deleted; every request is refused
            from then on.
        fire: whether schedules start pipelines; else due ones wait for a service that does this.

    Raises:
        HomeInUse: another service holds this home.
        UnfitHome: this home belongs to another region, or has a colon in its path.
        LaunchError: that server is not installed.
        OSError: the folder cannot be made, read or written.
    """

    def __init__(
        self,
        root: Path,
        region: str = "us-east-1",
        port: int = 0,
        server: str = model_server.UVICORN,
        resume: bool = True,
        when_gone: Callable[[str], object] = log.error,
        fire: bool = True,
    ) -> None:
        model_server.require(server)
        self._resume = resume
        self._fire = fire
        self.resumed: list[str] = []  # the ARNs of the executions that continue
        self.home = Home(root.resolve(), region)
        self.home.make()
        self._when_gone = when_gone
        self._stopped = threading.Event()
        self._guard: subprocess.Popen[bytes] | None = None
        self._lock, self._after_a_kill = lock(self.home.root)
        try:
            self.home.keep_region()
            self._lock.truncate(0)
        except BaseException:
            self._lock.close()
            raise
        self._s3 = S3(self.home)
        store = self._store = Store(self.home.database)
        self.notes = _notes(self.home, store)
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
        self._firing = Firing(store, functools.cache(self.client))
        operations = [jobs.operations() for jobs in self._jobs.values()]
        operations += [part.operations() for part in (self._tuning, registry, models, configs, endpoints)]
        operations += [self._pipelines.operations(), tags.operations(store)]
        control = ControlPlane(dict(ChainMap(*operations)), region)
        app = application(
            self._s3.handle,
            control,
            endpoints.invoke,
            self._functions.handle,
            partial(self._browse, control.call, endpoints),
            region,
            self._gone,
            {
                "iam": simulation.answer,
                "logs": partial(answer_json, logs.control_plane(self.home, store)),
                "servicequotas": partial(answer_json, quotas.control_plane(region)),
                "scheduler": ScheduleService(self.home, store, self._firing).handle,
            },
        )
        self._server = Server(app, port)

    def _browse(self, call: Call, endpoints: Endpoints, request: HttpRequest) -> HttpResponse | None:
        """What a browser gets: the service's own page, or an endpoint's."""
        return page.answer(request, self.home, call) or browser.answer(
            request, endpoints.invoke, endpoints.page, partial(model_version, call)
        )

    @property
    def url(self) -> str:
        """Its address, e.g. http://127.0.0.1:4566."""
        return self._server.url

    def pages(self) -> list[str]:
        """The endpoints' pages for browsers, e.g. http://127.0.0.1:4566/endpoints/NAME/."""
        paginator = self.client("sagemaker").get_paginator("list_endpoints")
        found = [endpoint for page in paginator.paginate() for endpoint in page["Endpoints"]]
        return [f"{self.url}/endpoints/{endpoint['EndpointName']}/" for endpoint in found]

    @property
    def running(self) -> list[str]:
        """The ARNs of the running executions."""
        return self._pipelines.running()

    def environment(self) -> dict[str, str]:
        """The variables that make boto3 in a child process use this service."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_REGION": self.home.region,
            "AWS_DEFAULT_REGION": self.home.region,
            "AWS_ACCESS_KEY_ID": clients.ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": clients.SECRET_KEY,
        }

    def client(self, service: str) -> Any:
        """A boto3 client for this service, whatever the user's AWS configuration says."""
        return clients.client(service, self.environment(), max_pool_connections=50, read_timeout=900)

    def start(self) -> None:
        """Start answering requests; continue what an earlier service on this home left.

        Raises:
            OSError: the port is taken, or the disk is full.
        """
        try:
            self._end_left()
            self._guard = guard(self.home.processes)
            for recover in self._recoveries():
                recover()
            self._server.start()
            # Unbuffered: with a full disk, buffered bytes would keep the file from closing.
            os.write(self._lock.fileno(), json.dumps({"url": self.url, "pid": os.getpid()}).encode())
            self._deployments.resume()
            self._tuning.resume()
            self.resumed = self._pipelines.resume()
            threading.Thread(target=self._watch, name="local-home", daemon=True).start()
            if self._fire:
                self._firing.start()
        except BaseException as error:  # also on Ctrl-C: end what has begun
            self.stop()
            if fault := disk_fault(error, self.home.root):
                raise OSError(fault) from None
            raise

    def _end_left(self) -> None:
        """End the processes of an earlier service, in case its guard was killed, too."""
        for record in end_left(self.home.processes):
            log.warning(
                "ended process %s, which an earlier service left: %s",
                record["pid"],
                shlex.join(record["command"]),
            )

    def _recoveries(self) -> Iterator[Callable[[], None]]:
        """The steps that handle an earlier service's records, before the first request."""
        yield partial(self._s3.recover, self._after_a_kill)
        yield self._functions.recover
        yield from (jobs.recover for jobs in self._jobs.values())
        yield partial(self._tuning.recover, self._resume)
        yield partial(self._pipelines.recover, self._resume)
        yield self._deployments.recover
        yield partial(set_unreadable_aside, self._store)

    def _gone(self) -> str | None:
        """One line if the home is gone or belongs to another service; None while it is there."""
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            if os.path.samestat((self.home.root / LOCK).stat(), os.fstat(self._lock.fileno())):
                return None
        return (
            f"{self.home.root} was deleted or moved while the local service ran;"
            " put it back if you have it, and start again"
        )

    def _watch(self) -> None:
        while not self._stopped.wait(_WATCH_S):
            if reason := self._gone():
                self._when_gone(reason)
                return

    def stop(self) -> None:
        """End jobs, functions and endpoint servers, then stop answering.

        Programs have ENDING_S to end by themselves; another Ctrl-C or SIGTERM ends them at once, and the
        process soon after (ending.py). Executions, tuning jobs and endpoints keep their state: a later
        service continues them, as after a kill.
        """
        if not self._stopped.is_set() and (reason := self._gone()):
            self._when_gone(reason)
        self._stopped.set()
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
            if self._guard is not None:
                last_first.callback(dismiss, self._guard, self.home.processes)
            last_first.callback(self._store.close)
            last_first.callback(self._s3.close)
            last_first.callback(self._server.stop)
            last_first.callback(self._deployments.stop)
            last_first.callback(self._functions.stop)
            for jobs in self._jobs.values():
                last_first.callback(jobs.close)
            last_first.callback(self._tuning.close)
            last_first.callback(self._pipelines.stop)
            last_first.callback(self._firing.stop)

    def _kill(self) -> None:
        for jobs in self._jobs.values():
            jobs.kill()
        self._functions.stop()

    def __enter__(self) -> LocalService:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _notes(home: Home, store: Store) -> list[str]:
    """What a person should know of the state that the home was found in, a line each."""
    if store.damaged is None:
        return []
    remains = home.remains()
    kept = f"; the logs and files of {remains} are still in {home.root}" if remains else ""
    return [
        f"{home.database} was damaged and is set aside as {store.damaged.name}: executions, jobs, models and "
        f"endpoints from before are lost{kept}"
    ]
