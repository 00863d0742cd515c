"""What an hour costs, from answers in the shape of the Price List Query API."""

import json

import boto3
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from botocore.stub import Stubber

from scripts.prices import HOURS_PER_MONTH, Prices


def product(usage, amount, *, currency="USD", unit="Hrs", term="OnDemand"):
    """A product as GetProducts answers it: JSON within the answer."""
    dimension = {"unit": unit, "pricePerUnit": {currency: amount}, "description": usage, "rateCode": "S.T.D"}
    return json.dumps(
        {
            "product": {
                "productFamily": "ML Instance",
                "attributes": {
                    "usagetype": usage,
                    "regionCode": "eu-west-1",
                    "servicecode": "AmazonSageMaker",
                },
                "sku": "S",
            },
            "serviceCode": "AmazonSageMaker",
            "terms": {term: {"S.T": {"priceDimensions": {"S.T.D": dimension}, "sku": "S"}}},
            "version": "20261120000000",
            "publicationDate": "2026-11-20T00:00:00Z",
        }
    )


class Session:
    """A session whose price list answers what is queued, and that remembers where it was asked."""

    def __init__(self):
        self.asked = []
        self.pricing = boto3.client(
            "pricing", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x"
        )
        self.stub = Stubber(self.pricing)
        self.stub.activate()

    def client(self, service, region_name, config):
        assert service == "pricing"
        assert config.connect_timeout < 60
        self.asked.append(region_name)
        return self.pricing

    def __getattr__(self, name):
        return getattr(boto3.Session(), name)

    def queue(self, instance_type, region, *products, token=None, more=None):
        filters = [
            {"Type": "TERM_MATCH", "Field": "regionCode", "Value": region},
            {"Type": "TERM_MATCH", "Field": "instanceName", "Value": instance_type},
        ]
        request = {"ServiceCode": "AmazonSageMaker", "Filters": filters}
        self.stub.add_response(
            "get_products",
            {"PriceList": list(products), **({"NextToken": more} if more else {})},
            request | ({"NextToken": token} if token else {}),
        )


@pytest.fixture
def session():
    return Session()


def test_each_use_of_an_instance_type_has_its_own_price_and_one_request_gets_them_all(session):
    session.queue(
        "ml.m5.xlarge",
        "eu-west-1",
        product("EU-Train:ml.m5.xlarge", "0.2570000000"),
        product("EU-Train-Spot:ml.m5.xlarge", "0.1"),
        product("EU-Notebk:ml.m5.xlarge", "0.3"),
        more="2",
    )
    session.queue(
        "ml.m5.xlarge",
        "eu-west-1",
        product("EU-Host:ml.m5.xlarge", "0.258"),
        product("EU-Processing:ml.m5.xlarge", "0.259"),
        product("EU-Tsform:ml.m5.xlarge", "0.260"),
        product("EU-Host:ml.m5.xlarge", "0"),  # free tier
        product("EU-Host:ml.m5.xlarge", "9", unit="GB"),
        product("EU-Host:ml.m5.xlarge", "9", term="Reserved"),
        token="2",
    )
    prices = Prices(session, "eu-west-1")
    uses = ("training", "endpoint", "processing", "transform")
    found = [prices.of("ml.m5.xlarge", use) for use in uses]
    assert [price.per_hour for price in found] == [0.257, 0.258, 0.259, 0.26]
    assert {(p.currency, p.region, p.date) for p in found} == {("USD", "eu-west-1", "2026-11-20")}
    assert "GetProducts" in found[0].source
    assert prices.note == ""
    session.stub.assert_no_pending_responses()


def test_the_oldest_regions_lines_have_no_short_name(session):
    session.queue("ml.m5.large", "us-east-1", product("Host:ml.m5.large", "0.115"))
    assert Prices(session, "us-east-1").of("ml.m5.large", "endpoint").per_hour == 0.115


@pytest.mark.parametrize(
    "products",
    [
        pytest.param((), id="none"),
        pytest.param(
            (product("EU-Train:ml.x.large", "1"), product("EU-Train:ml.x.large", "2")), id="ambiguous"
        ),
        pytest.param((product("EU-Train:ml.x.larger", "1"),), id="another type"),
    ],
)
def test_what_the_price_list_does_not_say_is_unknown_and_not_zero(session, products):
    session.queue("ml.x.large", "eu-west-1", *products)
    assert Prices(session, "eu-west-1").of("ml.x.large", "training") is None


def test_china_is_asked_in_china_and_keeps_its_currency(session):
    answer = product("CNN1-Train:ml.m5.large", "1.2", currency="CNY")
    session.queue("ml.m5.large", "cn-north-1", answer)
    assert Prices(session, "cn-north-1").of("ml.m5.large", "training").currency == "CNY"
    assert session.asked == ["cn-northwest-1"]


@pytest.mark.parametrize(("region", "asked"), [("eu-west-1", "us-east-1"), ("eu-central-1", "eu-central-1")])
def test_the_price_list_is_asked_where_it_has_an_endpoint(session, region, asked):
    session.queue("ml.m5.large", region)
    Prices(session, region).of("ml.m5.large", "training")
    assert session.asked == [asked]


def test_who_may_not_ask_gets_the_table_and_hears_so(session):
    session.stub.add_client_error("get_products", "AccessDeniedException", "not authorized")
    prices = Prices(session, "us-east-1")
    price = prices.of("ml.m5.2xlarge", "endpoint")
    assert (price.per_hour, price.currency, price.region) == (0.461, "USD", "us-east-1")
    assert price.date < "2026-12"
    assert "pricing:GetProducts" in prices.note
    assert prices.of("ml.p5.48xlarge", "training") is None
    assert len(session.asked) == 1  # not again for each type


def test_the_table_is_of_one_region_only(session):
    session.stub.add_client_error("get_products", "AccessDeniedException")
    prices = Prices(session, "eu-west-1")
    assert prices.of("ml.m5.2xlarge", "endpoint") is None
    assert "us-east-1 only" in prices.note


def test_other_errors_are_not_swallowed(session):
    session.stub.add_client_error("get_products", "ExpiredTokenException")
    with pytest.raises(ClientError):
        Prices(session, "us-east-1").of("ml.m5.large", "training")


def test_a_network_without_a_way_to_the_price_list_gets_the_table(session, monkeypatch):
    def refuse(*_, **__):
        raise EndpointConnectionError(endpoint_url="https://api.pricing.us-east-1.amazonaws.com")

    monkeypatch.setattr(session.pricing, "_make_api_call", refuse)
    prices = Prices(session, "us-east-1")
    assert prices.of("ml.t3.medium", "processing").per_hour == 0.05
    assert "does not answer" in prices.note


def test_a_local_service_is_not_asked(session, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    prices = Prices(session, "us-east-1")
    assert prices.of("ml.m5.xlarge", "processing").per_hour == 0.23
    assert session.asked == []
    assert "local service" in prices.note


def test_a_month_is_a_twelfth_of_a_year():
    assert HOURS_PER_MONTH * 12 == 365 * 24
