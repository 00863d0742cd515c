"""Every member of requests that create something takes effect, is harmless, or is refused by name."""

import pytest

from local.wire.members import MEMBERS, unsupported
from local.wire.operations import service_model

INSTANCES = {"InstancePreferences", "SelectedInstanceType", "SelectedInstanceCount"}
SOURCES = {
    "S3DataSource.AttributeNames", "S3DataSource.InstanceGroupNames", "S3DataSource.HubAccessConfig",
    "FileSystemDataSource", "DatasetSource",
}  # fmt: skip
TRAINING = {
    "AlgorithmSpecification.AlgorithmName",
    *(f"InputDataConfig.DataSource.{name}" for name in SOURCES),
    *(f"ResourceConfig.{name}" for name in INSTANCES),
}
MODEL_DATA = {"HubAccessConfig", "ManifestS3Uri", "ETag", "ManifestEtag"}
CONTAINER = {
    "AdditionalModelDataSources", "InferenceSpecificationName", "MultiModelConfig",
    *(f"ModelDataSource.S3DataSource.{name}" for name in MODEL_DATA),
}  # fmt: skip
# Members refused by name, with all below them. New members of a newer botocore are refused too; whoever
# updates it decides here.
REFUSED = {
    "CreateTrainingJob": TRAINING | {"ServerlessJobConfig", "MlflowConfig", "ModelPackageConfig"},
    "CreateProcessingJob": {
        "ProcessingInputs.DatasetDefinition",
        "ProcessingOutputConfig.Outputs.FeatureStoreOutput",
        *(f"ProcessingResources.ClusterConfig.{name}" for name in INSTANCES),
    },
    "CreateTransformJob": {"DataCaptureConfig"},
    "CreateModel": {f"{side}.{name}" for side in ("PrimaryContainer", "Containers") for name in CONTAINER},
    "CreateEndpointConfig": {
        "AsyncInferenceConfig", "ExplainerConfig", "ShadowProductionVariants", "CrossRegionTrafficConfig",
        "ProductionVariants.InstancePools", "ProductionVariants.AcceleratorPartitionLayouts",
    },
    "CreateHyperParameterTuningJob": {
        f"TrainingJobDefinition.{name}" for name in TRAINING | {"TuningObjective", "HyperParameterRanges"}
    },
}  # fmt: skip


def paths(shape, path=""):
    """The members of a shape, as paths without the indices of lists."""
    if shape.type_name == "list":
        yield from paths(shape.member, path)
    if shape.type_name == "structure":
        for name, member in shape.members.items():
            inner = f"{path}.{name}" if path else name
            yield inner
            yield from paths(member, inner)


def of_model(operation):
    return set(paths(service_model().operation_model(operation).input_shape))


@pytest.mark.parametrize("operation", MEMBERS)
def test_every_member_is_done_harmless_or_refused(operation):
    members = MEMBERS[operation]
    known = members.done | members.harmless.keys()
    assert known - of_model(operation) == set()
    assert members.done & members.harmless.keys() == set()
    assert all(members.harmless.values())
    left = {path for path in of_model(operation) if not members.below(path)}
    covered = {path for path in left if any(f"{path}.".startswith(f"{name}.") for name in known)}
    refused = {path for path in left - covered if path.rpartition(".")[0] not in left}
    assert refused == REFUSED[operation]
    for path in refused:
        request = "asked for"
        for name in reversed(path.split(".")):
            request = {name: [request]}
        shown = path.replace(".", "[0].")
        assert list(unsupported(operation, request)) == [
            f"the local service does not support {shown}[0]; leave it out here"
        ]


def test_a_member_that_asks_for_nothing_may_be_there():
    nothing = {
        "ServerlessJobConfig": {},
        "AlgorithmSpecification": {"AlgorithmName": ""},
        "MlflowConfig": None,
    }
    assert list(unsupported("CreateTrainingJob", nothing)) == []


def test_a_member_that_botocore_does_not_have_yet_is_refused():
    assert list(unsupported("CreateTrainingJob", {"Quantum": {"Bits": 3}, "ResourceConfig": {"New": 1}})) == [
        "the local service does not support Quantum; leave it out here",
        "the local service does not support ResourceConfig.New; leave it out here",
    ]
