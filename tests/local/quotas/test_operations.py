import pytest

from local.quotas.operations import control_plane
from local.wire.errors import ServiceError


@pytest.mark.parametrize("operation", ["ListServiceQuotas", "ListAWSDefaultServiceQuotas"])
def test_a_service_without_quotas(operation):
    control = control_plane("us-east-1")
    assert control.call(operation, {"ServiceCode": "sagemaker", "MaxResults": 100}) == {"Quotas": []}
    with pytest.raises(ServiceError, match="This service is not available") as refused:
        control.call(operation, {"ServiceCode": "sagemakers"})
    assert refused.value.code == "NoSuchResourceException"
    with pytest.raises(ServiceError) as refused:
        control.call(operation, {"ServiceCode": "sagemaker", "NextToken": "x"})
    assert refused.value.code == "InvalidPaginationTokenException"
    with pytest.raises(ServiceError) as refused:
        control.call(operation, {"ServiceCode": "sagemaker", "MaxResults": 101})
    assert refused.value.code == "IllegalArgumentException"
