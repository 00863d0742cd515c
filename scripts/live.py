"""The loss and the accuracy of training jobs while they run, as CloudWatch has them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

import scripts.command as command
from entrypoints.contract import TRAIN_LOSS, VALIDATION_ACCURACY

if TYPE_CHECKING:
    import boto3

# Namespace and dimension: sagemaker.core.analytics.TrainingJobAnalytics.
NAMESPACE = "/aws/sagemaker/TrainingJobs"
DIMENSION = "TrainingJobName"
# CloudWatch keeps minutes, of which this gives the best value: training goes on getting better, so it is the
# latest, more or less, however many epochs there are in a minute.
STATISTICS = {TRAIN_LOSS: "Minimum", VALIDATION_ACCURACY: "Maximum"}
PERIOD_S = 60
LOOK_BACK = timedelta(hours=3)  # an epoch may take long


class LiveMetrics:
    """What running training jobs emitted last, asked for every `every_s` seconds at most: asking costs."""

    def __init__(self, session: boto3.Session, every_s: float) -> None:
        self._session = session
        self._cloudwatch: Any = None  # making a client takes a tenth of a second
        self._every_s = every_s
        self._asked = -every_s
        self._texts: dict[str, str] = {}
        self._refused = False

    def of(self, jobs: Sequence[str]) -> dict[str, str]:
        """A text for each job that has emitted something: 'train:loss 0.4312, validation:accuracy 0.9120'.

        Raises:
            ClientError: CloudWatch refused, and not because a permission is missing.
        """
        due = time.monotonic() - self._asked >= self._every_s
        if jobs and not self._refused and (due or not set(jobs) <= self._texts.keys()):
            self._asked = time.monotonic()
            try:
                self._texts = self._ask(jobs)
            except ClientError as error:
                if not command.is_denied(error):
                    raise
                self._refused = True
                command.console.print(f"no live metrics: {command.explain(error)}", soft_wrap=True)
        return {job: self._texts[job] for job in jobs if self._texts.get(job)}

    def _ask(self, jobs: Sequence[str]) -> dict[str, str]:
        keys = [(job, metric) for job in jobs for metric in STATISTICS]
        queries = [
            {
                "Id": f"m{index}",
                "MetricStat": {
                    "Metric": {
                        "Namespace": NAMESPACE,
                        "MetricName": metric,
                        "Dimensions": [{"Name": DIMENSION, "Value": job}],
                    },
                    "Period": PERIOD_S,
                    "Stat": STATISTICS[metric],
                },
            }
            for index, (job, metric) in enumerate(keys)
        ]
        now = datetime.now(UTC)
        if self._cloudwatch is None:
            self._cloudwatch = self._session.client("cloudwatch")
        answer: dict[str, Any] = self._cloudwatch.get_metric_data(
            MetricDataQueries=queries,
            StartTime=now - LOOK_BACK,
            EndTime=now + timedelta(seconds=1),  # the end itself is left out
            ScanBy="TimestampDescending",
        )
        values = {result["Id"]: result["Values"] for result in answer["MetricDataResults"]}
        texts = dict.fromkeys(jobs, "")
        for query, (job, metric) in zip(queries, keys, strict=True):
            if latest := values.get(query["Id"]):
                texts[job] += f"{', ' if texts[job] else ''}{metric} {latest[0]:.4f}"
        return texts
