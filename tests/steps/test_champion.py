from steps import champion


def test_the_invocation(steps, request_of, uploaded):
    context, _, _, training, _ = steps()
    step = request_of(champion.build(context, training))
    assert (step["Name"], step["Type"]) == ("FindChampion", "Lambda")
    assert step["FunctionArn"] == "arn:aws:lambda:us-east-1:123456789012:function:flowers-deploy"
    assert step["DependsOn"] == ["TrainModel"]
    marker = step["Arguments"].pop("no_champion_url")
    assert step["Arguments"] == {
        "endpoint_name": {"Get": "Parameters.EndpointName"},
        "model_package_group_name": "flowers",
    }
    # An input of EvaluateModel, which must exist.
    assert marker.endswith("/") and [key.rpartition("/")[2] for key in uploaded(marker)] == ["NO_CHAMPION"]
    outputs = {item["OutputName"]: item["OutputType"] for item in step["OutputParameters"]}
    assert outputs == dict.fromkeys(("champion", "champion_url", "reason"), "String")
