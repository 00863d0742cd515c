def test_the_request(steps, request_of, uploaded):
    step = request_of(steps()[4])
    assert (step["Name"], step["Type"]) == ("EvaluateModel", "Processing")
    arguments = step["Arguments"]
    assert "ray:serve-ml" in arguments["AppSpecification"]["ImageUri"]
    assert arguments["AppSpecification"]["ContainerEntrypoint"][-1] == "evaluate"
    inputs = {item["InputName"]: item["S3Input"] for item in arguments["ProcessingInputs"]}
    assert inputs["model"]["S3Uri"] == {"Get": "Steps.TrainModel.ModelArtifacts.S3ModelArtifacts"}
    test = "Steps.SplitDataset.ProcessingOutputConfig.Outputs['test'].S3Output.S3Uri"
    assert inputs["test"]["S3Uri"] == {"Std:Join": {"On": "", "Values": [{"Get": test}, "/"]}}
    assert any(key.endswith("/run.sh") for key in uploaded(inputs["code"]["S3Uri"]))
    words = arguments["AppSpecification"]["ContainerArguments"]
    given = dict(zip(words[::2], words[1::2], strict=True))
    assert given["--model"] == inputs["model"]["LocalPath"]
    for name in ("test", "summary", "champion"):
        assert given[f"--{name}"] == inputs[name]["LocalPath"]
    found = "Steps.FindChampion.OutputParameters"
    assert inputs["champion"]["S3Uri"] == {"Get": f"{found}['champion_url']"}
    assert given["--champion-name"] == {"Get": f"{found}['champion']"}
    assert given["--champion-reason"] == {"Get": f"{found}['reason']"}
    assert (given["--metric"], given["--margin"]) == ("accuracy", "0.03")
    (output,) = arguments["ProcessingOutputConfig"]["Outputs"]
    assert given["--output"] == output["S3Output"]["LocalPath"]


def test_the_property_files_are_in_the_output(steps, request_of):
    step = request_of(steps()[4])
    (output,) = step["Arguments"]["ProcessingOutputConfig"]["Outputs"]
    assert step["PropertyFiles"] == [
        {
            "PropertyFileName": "EvaluationResult",
            "OutputName": output["OutputName"],
            "FilePath": "gate.json",
        },
        {"PropertyFileName": "ModelCard", "OutputName": output["OutputName"], "FilePath": "card.json"},
    ]
