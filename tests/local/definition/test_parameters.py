import pytest

from local.definition.parameters import parse_parameter, values_at_start


def declared(**entries):
    return {name: parse_parameter({"Name": name, **entry}) for name, entry in entries.items()}


def start(parameters, **given):
    return values_at_start(parameters, [{"Name": name, "Value": value} for name, value in given.items()])


def test_values_are_parsed_by_type_and_defaults_fill_in():
    parameters = declared(
        Name={"DefaultValue": ""},
        Count={"Type": "Integer"},
        Rate={"Type": "Float", "DefaultValue": 3},
        On={"Type": "Boolean", "DefaultValue": False},
    )
    values = start(parameters, Count="-4")
    assert values == {"Name": "", "Count": -4, "Rate": 3.0, "On": False}
    assert isinstance(values["Rate"], float)
    assert start(parameters, Count="1", Rate="1e-3", On="True", Name="x") == {
        "Name": "x",
        "Count": 1,
        "Rate": 0.001,
        "On": True,
    }


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("Integer", "1.0"),
        ("Integer", "1_000"),
        ("Integer", " 1"),
        ("Float", "nan"),
        ("Float", "1e999"),
        ("Float", "x"),
        ("Boolean", "yes"),
    ],
)
def test_text_that_is_not_of_the_type_is_refused(kind, text):
    with pytest.raises(ValueError, match=f"'P' is of type {kind}, but {text!r} is not"):
        start(declared(P={"Type": kind}), P=text)


def test_unknown_missing_empty_and_repeated_values_are_refused():
    parameters = declared(P={})
    with pytest.raises(ValueError, match="Unknown parameter 'Q'"):
        start(parameters, P="x", Q="y")
    with pytest.raises(ValueError, match="Parameter 'P' is undefined"):
        start(parameters)
    with pytest.raises(ValueError, match="too short"):
        start(parameters, P="")
    with pytest.raises(ValueError, match="given twice"):
        values_at_start(parameters, [{"Name": "P", "Value": "a"}] * 2)


def test_a_value_must_be_one_of_the_enum_values():
    parameters = declared(P={"EnumValues": ["Approved", "Rejected"], "DefaultValue": "Approved"})
    assert start(parameters, P="Rejected") == {"P": "Rejected"}
    with pytest.raises(ValueError, match="'P' is 'approved'; expected one of Approved, Rejected"):
        start(parameters, P="approved")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({}, "without a Name"),
        ({"Name": "P", "Type": "Number"}, "type 'Number'"),
        ({"Name": "P", "Type": "Integer", "DefaultValue": True}, "true is not"),
        ({"Name": "P", "Type": "Integer", "DefaultValue": 1.5}, "1.5 is not"),
        ({"Name": "P", "DefaultValue": 1}, "1 is not"),
        ({"Name": "P", "EnumValues": ["a"], "DefaultValue": "b"}, "expected one of a"),
        ({"Name": "P", "EnumValues": ["a", "a"]}, "all different"),
        ({"Name": "P", "Default": "b"}, "unknown key 'Default'"),
    ],
)
def test_malformed_declarations_are_refused(entry, message):
    with pytest.raises(ValueError, match=message):
        parse_parameter(entry)
