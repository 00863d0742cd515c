"""Rewrite definition.json: the pipeline's definition with fixed settings and fixed code digests.

PYTHONPATH=. python tests/golden/write.py
"""

from pathlib import Path

from config.settings import Settings
from pipeline.definition import sealed
from pipeline.pipeline import build_pipeline, pipeline_session

FILE = Path(__file__).with_name("definition.json")

SETTINGS = Settings(
    bucket="golden-bucket",
    execution_role="arn:aws:iam::123456789012:role/Execution",
    lambda_role="arn:aws:iam::123456789012:role/Lambda",
    scheduler_role="arn:aws:iam::123456789012:role/Scheduler",
    processing_role="arn:aws:iam::123456789012:role/Processing",
    training_role="arn:aws:iam::123456789012:role/Training",
    verification_role="arn:aws:iam::123456789012:role/Verification",
    endpoint_role="arn:aws:iam::123456789012:role/Endpoint",
    tags={"team": "vision", "project": "golden"},
)
# Editing an entry point changes only its digest, so the golden file stays the same.
DIGESTS = {
    name: f"digest-of-{name}"
    for name in (
        *("split", "tune", "train", "train_debugged", "evaluate", "deploy", "verify"),
        *("random_weights", "no_champion"),
    )
}


def definition(settings: Settings = SETTINGS) -> str:
    """The canonical definition of the fixed deployment."""
    return sealed(build_pipeline(settings, pipeline_session(settings), DIGESTS).definition())


if __name__ == "__main__":
    FILE.write_text(definition(), encoding="utf-8")
