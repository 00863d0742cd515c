from steps import deploy, gate, register, verify

ACCURACY, PICTURES, CLASSES = (
    {
        "Std:JsonGet": {
            "PropertyFile": {"Get": "Steps.EvaluateModel.PropertyFiles.EvaluationResult"},
            "Path": path,
        }
    }
    for path in ("accuracy", "test_pictures", "test_classes")
)
THRESHOLD = {"Get": "Parameters.AccuracyThreshold"}


def test_the_condition_and_its_two_ways(steps, request_of):
    context, _, _, training, evaluating = steps()
    registering = register.build(context, training, evaluating)
    deploying = deploy.build(context, registering)
    passed = [registering, deploying, verify.build(context, evaluating, deploying)]
    step = request_of(gate.build(context, evaluating, passed))
    assert (step["Name"], step["Type"]) == ("CheckAccuracy", "Condition")
    arguments = step["Arguments"]
    assert arguments["Conditions"] == [
        {"Type": "GreaterThanOrEqualTo", "LeftValue": ACCURACY, "RightValue": THRESHOLD}
    ]
    names = ["RegisterModel", "DeployEndpoint", "VerifyEndpoint"]
    assert [item["Name"] for item in arguments["IfSteps"]] == names
    (fail,) = arguments["ElseSteps"]
    assert (fail["Name"], fail["Type"]) == ("AccuracyTooLow", "Fail")


def test_the_failure_names_both_numbers_and_what_the_accuracy_was_measured_on(steps, request_of):
    context, _, _, _, evaluating = steps()
    (fail,) = request_of(gate.build(context, evaluating, []))["Arguments"]["ElseSteps"]
    values = fail["Arguments"]["ErrorMessage"]["Std:Join"]["Values"]
    for number in (ACCURACY, PICTURES, CLASSES, THRESHOLD):
        assert number in values
