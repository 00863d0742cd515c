from config.settings import Debugger


def test_the_request(steps, request_of, uploaded):
    step = request_of(steps()[3])
    assert (step["Name"], step["Type"]) == ("TrainModel", "Training")
    arguments = step["Arguments"]
    hyperparameters = arguments["HyperParameters"]
    for name in ("learning_rate", "batch_size"):
        best = f"Steps.TuneHyperparameters.BestTrainingJob.TunedHyperParameters['{name}']"
        assert hyperparameters[name] == {"Get": best}
    assert hyperparameters["sagemaker_program"] == "entrypoints/train.py"
    assert "/code/train_debugged/" in hyperparameters["sagemaker_submit_directory"]
    assert len(uploaded(hyperparameters["sagemaker_submit_directory"])) == 1
    channels = {
        item["ChannelName"]: item["DataSource"]["S3DataSource"]["S3Uri"]
        for item in arguments["InputDataConfig"]
    }
    outputs = "Steps.SplitDataset.ProcessingOutputConfig.Outputs"
    assert channels == {
        "train": {"Get": f"{outputs}['train'].S3Output.S3Uri"},
        "validation": {"Get": f"{outputs}['validation'].S3Output.S3Uri"},
        "pretrained": {"Get": "Parameters.PretrainedWeightsUrl"},
    }


def test_without_debugger_its_bundle_lacks_what_debugger_needs(steps, request_of):
    arguments = request_of(steps(debugger=Debugger(enabled=False))[3])["Arguments"]
    assert not [name for name in arguments if "Debug" in name or "Profiler" in name]
    assert "/code/train/" in arguments["HyperParameters"]["sagemaker_submit_directory"]
    assert arguments["OutputDataConfig"]["S3OutputPath"]["Std:Join"]["Values"][-1] == "train"
