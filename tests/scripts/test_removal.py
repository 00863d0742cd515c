import pytest

from scripts import removal
from scripts.command import Failure
from scripts.removal import Deployment, find

DELETE = ("endpoints.py", "delete")
GROUP = "image-classification"
ROLE = "arn:aws:iam::123456789012:role/ImageClassificationExecution"


@pytest.fixture
def sagemaker(client):
    return client("sagemaker")


def register(sagemaker, version, group=GROUP, name=None):
    """The model and config that a deployment of a model package creates besides the endpoint."""
    name = name or f"{group}-{version}"
    package = f"arn:aws:sagemaker:us-east-1:123456789012:model-package/{group}/{version}"
    sagemaker.create_model(ModelName=name, Containers=[{"ModelPackageName": package}], ExecutionRoleArn=ROLE)
    variant = {"VariantName": "AllTraffic", "ModelName": name}
    variant |= {"InstanceType": "ml.m5.2xlarge", "InitialInstanceCount": 1}
    sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
    return name


def serve(sagemaker, endpoint, config, previous=None):
    arn = sagemaker.create_endpoint(EndpointName=endpoint, EndpointConfigName=config)["EndpointArn"]
    if previous:  # as the deploying function notes it
        sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": "previous-endpoint-config", "Value": previous}])


def names(sagemaker):
    return (
        {item["EndpointName"] for item in sagemaker.list_endpoints()["Endpoints"]},
        {item["EndpointConfigName"] for item in sagemaker.list_endpoint_configs()["EndpointConfigs"]},
        {item["ModelName"] for item in sagemaker.list_models()["Models"]},
    )


def test_deletes_the_endpoint_and_what_all_its_deployments_left(run, url, sagemaker):
    register(sagemaker, 1)
    serve(sagemaker, GROUP, register(sagemaker, 2))
    completed = run(*DELETE, "--local", url, "--yes")
    assert completed.returncode == 0, completed.stderr
    assert "0.46 USD an hour" in completed.stderr
    assert completed.stdout == f"Deleted {GROUP}: 2 endpoint configs, 2 models.\n"
    assert names(sagemaker) == (set(), set(), set())


def test_leaves_what_is_not_ours(sagemaker):
    first, second = register(sagemaker, 1), register(sagemaker, 2)
    stranger = register(sagemaker, 1, group="another", name=f"{GROUP}-lookalike")
    serve(sagemaker, "flowers", second)
    serve(sagemaker, "stranger", stranger)
    assert find(sagemaker, "flowers", GROUP) == Deployment("flowers", (first, second), (first, second))


def test_an_endpoint_takes_what_is_known_to_be_its_own_while_another_serves_the_group(run, url, sagemaker):
    one, two, three, four, five = (register(sagemaker, version) for version in range(1, 6))
    serve(sagemaker, "flowers", three, previous=two)
    serve(sagemaker, "flowers-eu", five, previous=four)
    completed = run(*DELETE, "flowers", "--local", url, "--yes")
    assert completed.returncode == 0, completed.stderr
    assert "1 older endpoint configs stay" in completed.stderr
    assert completed.stdout == "Deleted flowers: 2 endpoint configs, 2 models.\n"
    assert names(sagemaker) == ({"flowers-eu"}, {one, four, five}, {one, four, five})


def test_what_another_endpoint_would_go_back_to_stays(sagemaker):
    one, two, three = (register(sagemaker, version) for version in range(1, 4))
    serve(sagemaker, "flowers", two, previous=one)
    serve(sagemaker, "flowers-eu", three, previous=one)
    assert find(sagemaker, "flowers", GROUP) == Deployment("flowers", (two,), (two,))


def test_a_model_that_a_config_of_another_name_serves_stays(sagemaker):
    one = register(sagemaker, 1)
    serve(sagemaker, "flowers", one)
    variant = {"VariantName": "v", "ModelName": one, "InstanceType": "ml.m5.large"}
    sagemaker.create_endpoint_config(
        EndpointConfigName="by-hand", ProductionVariants=[{**variant, "InitialInstanceCount": 1}]
    )
    serve(sagemaker, "stranger", "by-hand")
    assert find(sagemaker, "flowers", GROUP) == Deployment("flowers", (one,), ())


def test_what_two_endpoints_share_stays_with_the_other(run, url, sagemaker):
    shared = register(sagemaker, 1)
    serve(sagemaker, "flowers", shared)
    serve(sagemaker, "flowers-eu", shared)
    assert run(*DELETE, "--endpoint", "flowers", "--local", url, "--yes").returncode == 0
    assert names(sagemaker) == ({"flowers-eu"}, {shared}, {shared})


def test_the_former_name_does_the_same(run, refused, url, sagemaker):
    serve(sagemaker, GROUP, register(sagemaker, 1))
    completed = run("delete_endpoint.py", GROUP, "--local", url, "--yes")
    assert completed.stdout == f"Deleted {GROUP}: 1 endpoint configs, 1 models.\n", completed.stderr
    refused(run("delete_endpoint.py", "--local", url, "--yes"), "delete_endpoint.py: there is no endpoint")


def test_a_name_that_begins_the_same_keeps_its_configs_and_models(sagemaker, monkeypatch):
    """All that belongs to the deployment flowers-2 begins with "flowers-", too."""
    own = register(sagemaker, 1, group="flowers")
    register(sagemaker, 1, group="flowers-2")
    gone = register(sagemaker, 2, group="flowers-2")
    sagemaker.delete_model(ModelName=gone)
    serve(sagemaker, "flowers", own)
    # A config of inference components has no models; moto makes none.
    components, real = register(sagemaker, 3, group="flowers-2"), removal._models_of
    monkeypatch.setattr(
        removal, "_models_of", lambda client, name: set() if name == components else real(client, name)
    )
    assert find(sagemaker, "flowers", "flowers") == Deployment("flowers", (own,), (own,))
    assert find(sagemaker, None, "flowers") == Deployment(None, (), ())


@pytest.mark.parametrize("arguments", [["nope"], []])  # the default endpoint does not exist either
def test_a_name_that_does_not_exist_deletes_nothing(run, refused, url, sagemaker, arguments):
    one, two, three = (register(sagemaker, version) for version in range(1, 4))
    serve(sagemaker, "flowers", three, previous=two)
    before = {"flowers"}, {one, two, three}, {one, two, three}
    refused(
        run(*DELETE, *arguments, "--local", url, "--yes"),
        f"there is no endpoint {(arguments or [GROUP])[0]} in us-east-1, and nothing is deleted; "
        f"endpoints of {GROUP} are flowers: name another one with --endpoint",
        "--remains",
    )
    assert names(sagemaker) == before


def test_remains_are_what_no_endpoint_has_or_would_go_back_to(run, url, sagemaker):
    one, two, three = (register(sagemaker, version) for version in range(1, 4))
    register(sagemaker, 1, group="another")
    serve(sagemaker, "flowers", three, previous=two)
    completed = run(*DELETE, "--remains", "--local", url, "--yes")
    assert completed.returncode == 0, completed.stderr
    assert f"endpoint config: {one}" in completed.stderr
    assert "0.46 USD" not in completed.stderr
    assert completed.stdout == "Deleted remains: 1 endpoint configs, 1 models.\n"
    kept = {two, three, "another-1"}
    assert names(sagemaker) == ({"flowers"}, kept, kept)

    nothing = run(*DELETE, "--remains", "--local", url)
    assert (nothing.returncode, nothing.stdout) == (0, "Nothing remains of deleted endpoints.\n")


def test_an_endpoint_whose_config_is_gone_can_be_deleted(run, url, sagemaker):
    config = register(sagemaker, 1)
    serve(sagemaker, "flowers", config)
    sagemaker.delete_endpoint_config(EndpointConfigName=config)
    completed = run(*DELETE, "flowers", "--local", url, "--yes")
    assert completed.returncode == 0, completed.stderr
    assert names(sagemaker) == (set(), set(), set())


def test_an_endpoint_of_another_group_is_refused(sagemaker):
    serve(sagemaker, "flowers", register(sagemaker, 1, group="another"))
    with pytest.raises(Failure, match="not from model package group"):
        find(sagemaker, "flowers", GROUP)


def test_nothing_is_deleted_without_an_answer(run, url, sagemaker):
    name = register(sagemaker, 1)
    serve(sagemaker, GROUP, name)
    completed = run(*DELETE, "--local", url)
    assert completed.returncode == 2
    assert "add --yes" in completed.stderr.splitlines()[-1]
    assert names(sagemaker) == ({GROUP}, {name}, {name})


def test_bad_input_is_one_line(run, refused, url):
    refused(run(*DELETE, "flowers", "--local", url, "--yes"), "there is no endpoint flowers")
    refused(run(*DELETE, "a", "b", "--local", url), "unrecognized arguments: b")
    refused(run(*DELETE, "a", "--remains", "--local", url), "--remains goes without the name")
    refused(run(*DELETE, "--endpoint=a", "--remains", "--local", url), "--remains goes without the name")
    refused(
        run(*DELETE, "a", "--endpoint", "b", "--local", url), "both a and --endpoint b", "keep --endpoint"
    )
