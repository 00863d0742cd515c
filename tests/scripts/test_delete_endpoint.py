import pytest

from scripts.command import Failure
from scripts.delete_endpoint import Deployment, find

SCRIPT = "delete_endpoint.py"
GROUP = "image-classification"
ROLE = "arn:aws:iam::111122223333:role/ImageClassificationExecution"


@pytest.fixture
def sagemaker(client):
    return client("sagemaker")


def register(sagemaker, version, group=GROUP, name=None):
    """What a deployment of a model package leaves besides the endpoint: a model and a config."""
    name = name or f"{group}-{version}"
    package = f"arn:aws:sagemaker:us-east-1:123456789012:model-package/{group}/{version}"
    sagemaker.create_model(ModelName=name, Containers=[{"ModelPackageName": package}], ExecutionRoleArn=ROLE)
    variant = {"VariantName": "AllTraffic", "ModelName": name}
    variant |= {"InstanceType": "ml.m5.2xlarge", "InitialInstanceCount": 1}
    sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
    return name


def serve(sagemaker, endpoint, config):
    sagemaker.create_endpoint(EndpointName=endpoint, EndpointConfigName=config)


def names(sagemaker):
    return (
        {item["EndpointName"] for item in sagemaker.list_endpoints()["Endpoints"]},
        {item["EndpointConfigName"] for item in sagemaker.list_endpoint_configs()["EndpointConfigs"]},
        {item["ModelName"] for item in sagemaker.list_models()["Models"]},
    )


def test_deletes_the_endpoint_and_what_all_its_deployments_left(run, url, sagemaker):
    register(sagemaker, 1)
    serve(sagemaker, GROUP, register(sagemaker, 2))
    completed = run(SCRIPT, "--local", url, "--yes")
    assert completed.returncode == 0, completed.stderr
    assert "0.46 USD an hour" in completed.stderr
    assert completed.stdout == f"Deleted {GROUP}: 2 endpoint configs, 2 models.\n"
    assert names(sagemaker) == (set(), set(), set())


def test_leaves_what_other_endpoints_use_and_what_is_not_ours(sagemaker):
    first, second = register(sagemaker, 1), register(sagemaker, 2)
    stranger = register(sagemaker, 1, group="another", name=f"{GROUP}-lookalike")
    serve(sagemaker, "flowers", second)
    serve(sagemaker, "flowers-eu", register(sagemaker, 3))
    serve(sagemaker, "stranger", stranger)
    assert find(sagemaker, "flowers", GROUP) == Deployment("flowers", (first, second), (first, second))


def test_what_two_endpoints_share_stays_with_the_other(run, url, sagemaker):
    shared = register(sagemaker, 1)
    serve(sagemaker, "flowers", shared)
    serve(sagemaker, "flowers-eu", shared)
    assert run(SCRIPT, "flowers", "--local", url, "--yes").returncode == 0
    assert names(sagemaker) == ({"flowers-eu"}, {shared}, {shared})


def test_remains_of_a_deleted_endpoint_are_found(run, url, sagemaker):
    register(sagemaker, 1)
    completed = run(SCRIPT, "flowers", "--local", url, "--yes")
    assert completed.returncode == 0
    assert "0.46 USD" not in completed.stderr
    assert "gone already" in completed.stdout
    assert names(sagemaker) == (set(), set(), set())


def test_an_endpoint_whose_config_is_gone_can_be_deleted(run, url, sagemaker):
    config = register(sagemaker, 1)
    serve(sagemaker, "flowers", config)
    sagemaker.delete_endpoint_config(EndpointConfigName=config)
    completed = run(SCRIPT, "flowers", "--local", url, "--yes")
    assert completed.returncode == 0, completed.stderr
    assert names(sagemaker) == (set(), set(), set())


def test_an_endpoint_of_another_group_is_refused(sagemaker):
    serve(sagemaker, "flowers", register(sagemaker, 1, group="another"))
    with pytest.raises(Failure, match="not from model package group"):
        find(sagemaker, "flowers", GROUP)


def test_nothing_is_deleted_without_an_answer(run, url, sagemaker):
    name = register(sagemaker, 1)
    serve(sagemaker, GROUP, name)
    completed = run(SCRIPT, "--local", url)
    assert completed.returncode == 2
    assert "add --yes" in completed.stderr.splitlines()[-1]
    assert names(sagemaker) == ({GROUP}, {name}, {name})


def test_bad_input_is_one_line(run, refused, url):
    refused(run(SCRIPT, "flowers", "--local", url, "--yes"), "there is no endpoint flowers")
    refused(run(SCRIPT, "a", "b", "--local", url), "unrecognized arguments: b")
