from pathlib import Path

import pytest

from local.definition.definition import DefinitionError, Dependency, parse_definition
from local.definition.unsupported import unsupported
from tests.local.definitions import (
    EQUAL,
    REPORT,
    SHARED,
    condition,
    document,
    fail,
    function,
    get,
    join,
    processing,
    report,
    training,
    tuning,
)


def refused(*steps, **more):
    with pytest.raises(DefinitionError) as error:
        parse_definition(document(*steps, **more))
    return str(error.value)


def test_edges_come_from_references_dependencies_and_branches():
    definition = parse_definition(
        document(
            processing(
                "Evaluate", get("Steps.Train.ModelArtifacts.S3ModelArtifacts"), PropertyFiles=[REPORT]
            ),
            training("Train"),
            condition(
                "Gate",
                [{"Type": "LessThan", "LeftValue": report("Evaluate", "x"), "RightValue": 1}],
                [processing("Then", DependsOn=[{"Step": "Train", "Trigger": "Any"}])],
                [condition("Inner", [EQUAL], [fail("Stop", "no")])],
            ),
            function("Notify", {}, {}, DependsOn=["Gate"]),
        )
    )
    upstream = {name: step.upstream for name, step in definition.steps.items()}
    assert upstream == {
        "Evaluate": (Dependency("Train"),),
        "Train": (),
        "Gate": (Dependency("Evaluate"),),
        "Then": (Dependency("Gate", branch=True), Dependency("Train", "Any")),
        "Inner": (Dependency("Gate", branch=False),),
        "Stop": (Dependency("Inner", branch=True),),
        "Notify": (Dependency("Gate"),),
    }
    position = definition.order.index
    assert position("Train") < position("Evaluate") < position("Gate") < position("Inner") < position("Stop")


def test_names_are_shown_as_the_definition_has_them():
    step = parse_definition(document(processing("A", DisplayName="Ä", Description="does"))).steps["A"]
    assert (step.display_name, step.description) == ("Ä", "does")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"Steps": {}}', '{"Steps": []}'])
def test_what_is_no_definition_is_refused(text):
    with pytest.raises(DefinitionError, match=r"^the definition"):
        parse_definition(text)


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([processing("A"), processing("A")], "step 'A': the name is used twice"),
        ([processing("A"), condition("C", [EQUAL], [processing("A")])], "step 'A': the name is used twice"),
        ([processing("a b")], "step 'a b': a Name is"),
        ([processing("A", DependsOn=["B"])], "step 'A': DependsOn names 'B', which is not a step"),
        ([processing("A", get("Parameters.P"))], "step 'A': Get Parameters.P: there is no parameter 'P'"),
        ([processing("A", get("Steps.B.X"))], "step 'A': Get Steps.B.X: there is no step 'B'"),
        ([processing("A", get("Execution.Now"))], "no execution variable 'Now'"),
        (
            [processing("A", {"Std:Split": {}})],
            "step 'A': the local service does not know the function Std:Split",
        ),
        ([processing("A", Sidecar=1)], "step 'A': unknown key 'Sidecar'"),
        ([processing("A", DependsOn=[{"Step": "A", "Trigger": "Never"}])], "the Trigger 'Never'"),
        ([processing("A"), training("B", {"x": get("Steps.A.Nothing")})], "answers no 'Nothing'"),
        (
            [
                processing("A"),
                training("B", {"x": get("Steps.A.ProcessingOutputConfig.Outputs['q'].S3Output.S3Uri")}),
            ],
            "step 'A' has no output 'q'",
        ),
        ([training("A"), training("B", {"x": get("Steps.A.ModelArtifacts")})], "it is a structure"),
        ([processing("A"), processing("B", get("Steps.A.ProcessingOutputConfig.Outputs"))], "it is a list"),
        (
            [processing("A"), condition("C", [{**EQUAL, "LeftValue": report("A", "x")}])],
            "step 'A' has no such property file",
        ),
        (
            [processing("A", PropertyFiles=[{**REPORT, "OutputName": "q"}])],
            "names 'q', which is not an output",
        ),
        ([training("A", PropertyFiles=[REPORT])], "belong to a Processing step"),
        (
            [function("F", {}, {"a": "String"}), training("B", {"x": get("Steps.F.OutputParameters['b']")})],
            "step 'F' has no such output parameter",
        ),
        ([function("F", {}, {"a": "Text"})], "OutputType 'Text'"),
        ([fail("F", "x"), processing("A", DependsOn=["F"])], "a Fail step"),
        (
            [processing("A", DependsOn="B")],
            "DependsOn is not a list of items of the JSON type string or object",
        ),
        ([processing("A", PropertyFiles=[{**REPORT, "FilePath": 1}])], "FilePath are not all strings"),
        ([{"Name": "F", "Type": "Fail", "Arguments": {"Message": "x"}}], "step 'F': expected an object"),
        ([condition("C", [{"Type": "Not", "Expression": EQUAL}])], "step 'C': condition Not takes Condition"),
        ([processing("A", CacheConfig={"Enabled": True, "ExpireAfter": "soon"})], "ExpireAfter 'soon'"),
        ([processing("A", RetryPolicies=[{"ExceptionType": ["Mine"]}])], "unknown ExceptionType Mine"),
        (
            [{"Name": "A", "Type": "Training", "Arguments": {}}],
            'Missing required parameter in input: "RoleArn"',
        ),
    ],
)
def test_a_wrong_step_is_named_with_its_construct(steps, message):
    assert message in refused(*steps)


def test_a_cycle_is_refused():
    message = refused(processing("A", DependsOn=["B"]), processing("B", DependsOn=["A"]))
    assert "a cycle" in message
    assert "A <- B <- A" in message or "B <- A <- B" in message


def test_a_condition_cannot_wait_for_its_own_branch():
    assert "a cycle" in refused(condition("C", [EQUAL], [processing("A")], DependsOn=["A"]))


def test_a_string_map_takes_no_raw_number():
    parameters = [{"Name": "Epochs", "Type": "Integer", "DefaultValue": 3}]
    message = refused(training("T", {"epochs": get("Parameters.Epochs")}), parameters=parameters)
    assert message.startswith("step 'T': Arguments do not fit CreateTrainingJob: ")
    assert "HyperParameters.epochs" in message
    joined = training("T", {"epochs": join("", get("Parameters.Epochs"))})
    assert parse_definition(document(joined, parameters=parameters)).parameters["Epochs"].default == 3


def test_an_integer_argument_takes_an_integer_parameter_and_no_string():
    step = tuning("Tune")
    limits = step["Arguments"]["HyperParameterTuningJobConfig"]["ResourceLimits"]
    limits["MaxNumberOfTrainingJobs"] = get("Parameters.Jobs")
    integer = [{"Name": "Jobs", "Type": "Integer", "DefaultValue": 4}]
    assert parse_definition(document(step, parameters=integer)).order == ("Tune",)
    assert "MaxNumberOfTrainingJobs" in refused(step, parameters=[{"Name": "Jobs"}])


def test_tuning_properties_come_from_both_calls():
    best = get("Steps.Tune.BestTrainingJob.TunedHyperParameters['learning_rate']")
    second = get("Steps.Tune.TrainingJobSummaries[1].TrainingJobName")
    definition = parse_definition(document(tuning("Tune"), training("Train", {"lr": best, "name": second})))
    assert definition.steps["Train"].upstream == (Dependency("Tune"),)


def test_the_definition_itself_is_checked():
    assert "unknown key 'Tags'" in refused(processing("A"), Tags=[])
    assert "parameter 'P': the name is used twice" in refused(processing("A"), parameters=[{"Name": "P"}] * 2)
    assert "PipelineExperimentConfig" in refused(
        processing("A"), PipelineExperimentConfig={"ExperimentName": get("Parameters.P")}
    )


def test_what_does_not_run_here_is_named():
    built_in = training("BuiltIn")
    built_in["Arguments"]["HyperParameters"] = {}
    image_only = processing("ImageOnly")
    del image_only["Arguments"]["AppSpecification"]["ContainerEntrypoint"]
    several = tuning("Several")
    several["Arguments"]["TrainingJobDefinitions"] = [several["Arguments"].pop("TrainingJobDefinition")]
    named = training("Named")
    named["Arguments"]["TrainingJobName"] = "mine"
    callback = {"Name": "Ask", "Type": "Callback", "SqsQueueUrl": "https://q", "Arguments": {}}
    own_entry = training("OwnEntry")
    own_entry["Arguments"]["HyperParameters"] = {}
    own_entry["Arguments"]["AlgorithmSpecification"]["ContainerEntrypoint"] = ["python3", "-m", "x"]
    steps = [built_in, image_only, several, named, callback, own_entry]
    reasons = unsupported(parse_definition(document(*steps, MlflowConfig={"MlflowResourceArn": "arn"})))
    assert [reason.split(":")[0] for reason in reasons] == [
        "step 'BuiltIn'",
        "step 'ImageOnly'",
        "step 'Several'",
        "step 'Named'",
        "step 'Ask'",
        "MlflowConfig",
    ]
    assert "the image image is not run here" in reasons[0]
    assert "no ContainerEntrypoint" in reasons[1]
    assert "TrainingJobDefinitions" in reasons[2]
    assert "TrainingJobName" in reasons[3]
    assert "type Callback" in reasons[4]


def test_our_own_definition_runs_here():
    definition = parse_definition((Path(__file__).parents[2] / "golden" / "definition.json").read_text())
    assert unsupported(definition) == []


@pytest.mark.skipif(not SHARED.is_dir(), reason="the sibling folder shared/definitions is absent")
@pytest.mark.parametrize(
    ("name", "constructs"),
    [
        ("01_examples_tuning_step", ["step 'HPTuning': neither the hyperparameters"]),
        ("03_abalone_lambda_deploy", ["step 'TrainAbaloneModel': neither the hyperparameters"]),
        ("04_abalone_fail_transform_register", ["step 'AbaloneTrain': neither"]),
        (
            "10_xgb_property_file",
            ["step 'DataWranglerProcessingStep': no ContainerEntrypoint", "step 'TrainingStep': neither"],
        ),
        ("13_keras_lambda_deploy_dependson", []),  # its transform job names the image that is not run here
        ("23_sdk_all_conditions", ["step 'MyConditionStep': condition Not takes Condition, got Expression"]),
        ("25_sdk_lambda_outputs", ["step 'MyLambdaStep1': DependsOn names 'TestStep'"]),
        ("29_cdk_tuning_best_hyperparameters", ["step 'tuning': neither", "step 'training': neither"]),
    ],
)
def test_definitions_by_other_people_are_refused_by_construct(name, constructs):
    text = (SHARED / f"{name}.json").read_text()
    try:
        reasons = unsupported(parse_definition(text))
    except DefinitionError as error:
        reasons = [str(error)]
    assert len(reasons) == len(constructs)
    for reason, construct in zip(reasons, constructs, strict=True):
        assert construct in reason
