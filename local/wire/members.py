"""How each member of a Create request is handled: supported, harmless, or refused by name.

A member that is in no table is refused, also one that is new in botocore: nothing is ignored silently.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

# Why ignoring a member changes nothing that a job reads or writes.
_PERSON = "programs run as the person who started the service"
_ENCRYPTED = "what is read back is the same, encrypted at rest or not"
_DISK = "a job has the disk of this machine"
_CAPACITY = "this machine waits for no capacity, and is never taken away"
_NETWORK = "programs have this machine's network, also where AWS would keep them off theirs (docs/laptop.md)"
_ONE = "there is one container, with no traffic between several"
_EXPERIMENT = "Studio's experiments show a job, and nothing reads them"
_NO_IMAGE = "no image is fetched"
_LICENCE = "a licence that is accepted"
_NO_RETRY = "only faults of AWS's machines are tried again"
_ACCESS = "whoever has this machine can look into a job"
_SESSION = "there are no sessions of roles"
_FOLDER = "files in a folder have no order"
_CONSOLE = "only Studio and CloudWatch show it"
_ONE_SERVER = "one server on this machine answers, however many are asked for"
_PATIENCE = "a model has the 240 s in which containers must be healthy unless the request says otherwise"


@dataclass(frozen=True)
class Members:
    """The members of a request, as paths; each stands for all below it.

    Args:
        done: members that the local service handles like SageMaker, or refuses by value.
        harmless: members that can be ignored, and why.
    """

    done: frozenset[str]
    harmless: Mapping[str, str]

    def known(self, path: str) -> bool:
        """Whether this member, with all below it, is in a table."""
        return path in self.done or path in self.harmless

    def below(self, path: str) -> bool:
        """Whether a part of this member is in a table."""
        return any(name.startswith(f"{path}.") for name in (*self.done, *self.harmless))


def _under(prefix: str, names: str) -> set[str]:
    return {f"{prefix}.{name}".removeprefix(".") for name in names.split()}


# Members that CreateTrainingJob and a tuning job's TrainingJobDefinition share.
_TRAINING = {
    *_under("", "RoleArn Environment CheckpointConfig EnableManagedSpotTraining"),
    *_under("AlgorithmSpecification", "TrainingImage TrainingInputMode MetricDefinitions"),
    *_under("InputDataConfig", "ChannelName ContentType CompressionType RecordWrapperType InputMode"),
    *_under("InputDataConfig.DataSource.S3DataSource", "S3DataType S3Uri S3DataDistributionType"),
    *_under("OutputDataConfig", "S3OutputPath CompressionType"),
    *_under("ResourceConfig", "InstanceType InstanceCount InstanceGroups"),
    *_under("StoppingCondition", "MaxRuntimeInSeconds MaxWaitTimeInSeconds"),
}
_TRAINING_HARMLESS = {
    "InputDataConfig.DataSource.S3DataSource.ModelAccessConfig": _LICENCE,
    "InputDataConfig.ShuffleConfig": _FOLDER,
    "OutputDataConfig.KmsKeyId": _ENCRYPTED,
    "ResourceConfig.VolumeKmsKeyId": _ENCRYPTED,
    "ResourceConfig.VolumeSizeInGB": _DISK,
    "ResourceConfig.KeepAlivePeriodInSeconds": _CAPACITY,
    "ResourceConfig.TrainingPlanArn": _CAPACITY,
    "ResourceConfig.InstancePlacementConfig": _CAPACITY,
    "StoppingCondition.MaxPendingTimeInSeconds": _CAPACITY,
    "VpcConfig": _NETWORK,
    "EnableNetworkIsolation": _NETWORK,
    "EnableInterContainerTrafficEncryption": _ONE,
    "RetryStrategy": _NO_RETRY,
}
_CONTAINER = "Image ModelDataUrl Mode Environment ModelPackageName"
_CONTAINER_HARMLESS = {
    "ContainerHostname": _CONSOLE,
    "ImageConfig": _NO_IMAGE,
    "ModelDataSource.S3DataSource.ModelAccessConfig": _LICENCE,
    "ContainerMetricsConfig": _CONSOLE,
}
_DEFINITION = "TrainingJobDefinition"

MEMBERS: Mapping[str, Members] = {
    "CreateTrainingJob": Members(
        frozenset(
            {
                *_TRAINING,
                *_under("", "TrainingJobName HyperParameters Tags DebugHookConfig DebugRuleConfigurations"),
                *_under("", "ProfilerConfig ProfilerRuleConfigurations TensorBoardOutputConfig"),
                *_under("AlgorithmSpecification", "ContainerEntrypoint ContainerArguments"),
            }
        ),
        {
            **_TRAINING_HARMLESS,
            "AlgorithmSpecification.EnableSageMakerMetricsTimeSeries": _CONSOLE,
            "AlgorithmSpecification.TrainingImageConfig": _NO_IMAGE,
            "ExperimentConfig": _EXPERIMENT,
            "RemoteDebugConfig": _ACCESS,
            "InfraCheckConfig": _CAPACITY,
            "SessionChainingConfig": _SESSION,
        },
    ),
    "CreateProcessingJob": Members(
        frozenset(
            {
                *_under("", "ProcessingJobName RoleArn Environment StoppingCondition AppSpecification Tags"),
                *_under("ProcessingInputs", "InputName AppManaged S3Input"),
                *_under("ProcessingOutputConfig.Outputs", "OutputName AppManaged S3Output"),
                *_under("ProcessingResources.ClusterConfig", "InstanceCount InstanceType"),
            }
        ),
        {
            "ProcessingOutputConfig.KmsKeyId": _ENCRYPTED,
            "ProcessingResources.ClusterConfig.VolumeKmsKeyId": _ENCRYPTED,
            "ProcessingResources.ClusterConfig.VolumeSizeInGB": _DISK,
            "NetworkConfig.EnableInterContainerTrafficEncryption": _ONE,
            "NetworkConfig.EnableNetworkIsolation": _NETWORK,
            "NetworkConfig.VpcConfig": _NETWORK,
            "ExperimentConfig": _EXPERIMENT,
        },
    ),
    "CreateTransformJob": Members(
        frozenset(
            {
                *_under("", "TransformJobName ModelName MaxConcurrentTransforms ModelClientConfig Tags"),
                *_under("", "MaxPayloadInMB BatchStrategy Environment TransformInput DataProcessing"),
                *_under("TransformOutput", "S3OutputPath Accept AssembleWith"),
                *_under("TransformResources", "InstanceType InstanceCount"),
            }
        ),
        {
            "TransformOutput.KmsKeyId": _ENCRYPTED,
            "TransformResources.VolumeKmsKeyId": _ENCRYPTED,
            "TransformResources.TransformAmiVersion": _NO_IMAGE,
            "ExperimentConfig": _EXPERIMENT,
        },
    ),
    "CreateModel": Members(
        frozenset(
            {
                *_under("", "ModelName Tags"),
                *_under("PrimaryContainer", _CONTAINER),
                *_under("Containers", _CONTAINER),
                *_under("PrimaryContainer.ModelDataSource.S3DataSource", "S3Uri S3DataType CompressionType"),
                *_under("Containers.ModelDataSource.S3DataSource", "S3Uri S3DataType CompressionType"),
            }
        ),
        {
            **{f"PrimaryContainer.{name}": why for name, why in _CONTAINER_HARMLESS.items()},
            **{f"Containers.{name}": why for name, why in _CONTAINER_HARMLESS.items()},
            "InferenceExecutionConfig": "it tells how several containers are asked; one is served here",
            "ExecutionRoleArn": _PERSON,
            "VpcConfig": _NETWORK,
            "EnableNetworkIsolation": _NETWORK,
        },
    ),
    "CreateEndpointConfig": Members(
        frozenset(
            {
                *_under("", "EndpointConfigName Tags DataCaptureConfig"),
                *_under("ProductionVariants", "VariantName ModelName InitialInstanceCount InstanceType"),
                *_under("ProductionVariants", "InitialVariantWeight ServerlessConfig"),
            }
        ),
        {
            "KmsKeyId": _ENCRYPTED,
            "ExecutionRoleArn": _PERSON,
            "VpcConfig": _NETWORK,
            "EnableNetworkIsolation": _NETWORK,
            "MetricsConfig": _CONSOLE,
            "ProductionVariants.AcceleratorType": _ONE_SERVER,
            "ProductionVariants.CapacityReservationConfig": _CAPACITY,
            "ProductionVariants.ContainerStartupHealthCheckTimeoutInSeconds": _PATIENCE,
            "ProductionVariants.CoreDumpConfig": _ACCESS,
            "ProductionVariants.EnableSSMAccess": _ACCESS,
            "ProductionVariants.InferenceAmiVersion": _NO_IMAGE,
            "ProductionVariants.ManagedInstanceScaling": _ONE_SERVER,
            "ProductionVariants.ModelDataDownloadTimeoutInSeconds": "nothing is downloaded",
            "ProductionVariants.RoutingConfig": _ONE_SERVER,
            "ProductionVariants.VariantInstanceProvisionTimeoutInSeconds": _CAPACITY,
            "ProductionVariants.VolumeSizeInGB": _DISK,
        },
    ),
    "CreateHyperParameterTuningJob": Members(
        frozenset(
            {
                *_under("", "HyperParameterTuningJobName HyperParameterTuningJobConfig WarmStartConfig Tags"),
                *(f"{_DEFINITION}.{name}" for name in _TRAINING),
                f"{_DEFINITION}.StaticHyperParameters",
                *_under(
                    f"{_DEFINITION}.HyperParameterTuningResourceConfig",
                    "InstanceType InstanceCount InstanceConfigs",
                ),
                # Refused by tuning/request.py, with better messages.
                *_under("", "TrainingJobDefinitions Autotune"),
            }
        ),
        {
            **{f"{_DEFINITION}.{name}": why for name, why in _TRAINING_HARMLESS.items()},
            f"{_DEFINITION}.DefinitionName": "it tells several definitions apart; there is one",
            f"{_DEFINITION}.HyperParameterTuningResourceConfig.AllocationStrategy": _CAPACITY,
            f"{_DEFINITION}.HyperParameterTuningResourceConfig.VolumeKmsKeyId": _ENCRYPTED,
            f"{_DEFINITION}.HyperParameterTuningResourceConfig.VolumeSizeInGB": _DISK,
        },
    ),
}


def unsupported(operation: str, request: Mapping[str, Any]) -> Iterator[str]:
    """Why the local service does not support a request, a sentence for each member.

    A member without effect (false, "None", empty) is allowed.
    """
    if operation in MEMBERS:
        yield from _unsupported(MEMBERS[operation], request, "", "")


def _unsupported(members: Members, value: Any, path: str, shown: str) -> Iterator[str]:
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _unsupported(members, item, path, f"{shown}[{index}]")
    elif isinstance(value, Mapping) and (not path or members.below(path)):
        for name, item in value.items():
            inner = f"{path}.{name}" if path else name
            if not members.known(inner):
                yield from _unsupported(members, item, inner, f"{shown}.{name}" if shown else name)
    elif value not in (None, False, "", "None", [], {}):
        yield f"the local service does not support {shown}; leave it out here"
