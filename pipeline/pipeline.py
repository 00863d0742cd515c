"""The steps and their order.

SplitDataset -> TuneHyperparameters -> TrainModel -> FindChampion -> EvaluateModel -> CheckAccuracy
    CheckAccuracy, accuracy >= AccuracyThreshold -> CheckGuessing
    CheckAccuracy, else                          -> AccuracyTooLow (fails)
    CheckGuessing, surely better than guessing   -> CheckChampion
    CheckGuessing, else                          -> NoBetterThanGuessing (fails)
    CheckChampion, not worse than what serves    -> RegisterModel -> DeployEndpoint -> VerifyEndpoint
    CheckChampion, else                          -> WorseThanChampion (fails)
"""

from collections.abc import Mapping

from config.parameters import execution_parameters
from config.settings import Settings
from steps import champion, code, deploy, evaluate, gate, register, split, train, tune, verify
from steps.context import Context, sdk_parameter
from steps.sdk import OfflineSession, Pipeline, PipelineSession


def build_pipeline(
    settings: Settings, session: PipelineSession, digests: Mapping[str, str] | None = None
) -> Pipeline:
    """Build the pipeline without any request to AWS.

    `digests` are the code bundles', by name (default: the current entrypoints/); `steps.code.upload` uploads
    the bundles.
    """
    digests = digests or code.digests(code.bundles(package_source=settings.package_source))
    urls = {name: code.url(settings, name, digest) for name, digest in digests.items()}
    parameters = [sdk_parameter(item) for item in execution_parameters(settings, urls["random_weights"])]
    context = Context(settings, session, {parameter.name: parameter for parameter in parameters}, urls)

    splitting = split.build(context)
    tuning = tune.build(context, splitting)
    training = train.build(context, splitting, tuning)
    finding = champion.build(context, training)
    evaluating = evaluate.build(context, splitting, training, finding)
    registering = register.build(context, splitting, training, evaluating)
    deploying = deploy.build(context, registering)
    verifying = verify.build(context, evaluating, deploying)
    checking = gate.build(context, evaluating, passed=[registering, deploying, verifying])

    return Pipeline(
        name=settings.pipeline_name,
        parameters=parameters,
        steps=[splitting, tuning, training, finding, evaluating, checking],
        sagemaker_session=session,
        # Otherwise each execution would create an experiment and a trial.
        pipeline_experiment_config=None,
    )


def pipeline_session(settings: Settings) -> PipelineSession:
    """A session for `build_pipeline` with region and bucket, without network requests."""
    return OfflineSession(settings.region, settings.bucket)
