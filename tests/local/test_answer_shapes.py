from local.wire.operations import service_model
from tests.local.answer_shapes import problems


def test_an_answer_that_aws_does_not_give_is_reported():
    shape = service_model().operation_model("ListModels").output_shape
    arn = "arn:aws:sagemaker:us-east-1:123456789012:model/m"
    model = {"ModelName": "m", "ModelArn": arn, "CreationTime": 0}
    assert problems({"Models": [model]}, shape) == []
    assert "ModelArn" in problems({"Models": [{"ModelName": "m", "CreationTime": 0}]}, shape)[0]
    assert "CreationTime" in problems({"Models": [model | {"CreationTime": "soon"}]}, shape)[0]
    shape = service_model().operation_model("DescribeEndpoint").output_shape
    answer = {"EndpointName": "e", "EndpointArn": "a" * 20, "CreationTime": 0, "LastModifiedTime": 0}
    assert problems(answer | {"EndpointStatus": "InService"}, shape) == []
    assert "'Up' is none of" in problems(answer | {"EndpointStatus": "Up"}, shape)[0]
