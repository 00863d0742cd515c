"""What the stack in infra/ of this checkout allows each role, read from its template.

So the roles that an account has can be compared with it, however old their stack is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from config.settings import FILE, Settings

TEMPLATE = FILE.parent / "infra" / "stack.yaml"
# Operators whose condition holds for a request with one of the values.
_POSITIVE = {"StringEquals", "StringLike", "StringEqualsIgnoreCase", "ArnEquals", "ArnLike"}


@dataclass(frozen=True)
class Grant:
    """A statement that allows something: actions, on resources, for requests with this context."""

    actions: tuple[str, ...]
    resources: tuple[str, ...]
    context: Mapping[str, str] = field(default_factory=dict)


class _Loader(yaml.SafeLoader):
    """Reads CloudFormation's short forms as their long ones: !Ref X is {"Ref": "X"}."""


def _function(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    name = suffix if suffix in {"Ref", "Condition"} else f"Fn::{suffix}"
    if isinstance(node, yaml.SequenceNode):
        return {name: loader.construct_sequence(node, deep=True)}
    if isinstance(node, yaml.MappingNode):
        return {name: loader.construct_mapping(node, deep=True)}
    value = loader.construct_scalar(node)  # type: ignore[arg-type]
    return {name: value.split(".") if name == "Fn::GetAtt" else value}


_Loader.add_multi_constructor("!", _function)


def grants(settings: Settings, template: Path = TEMPLATE) -> dict[str, list[Grant]]:
    """By the setting that names the role, what the stack of this deployment allows it.

    The stack's other parameters have their defaults.

    Raises:
        OSError: the template cannot be read.
    """
    return _Stack(yaml.load(template.read_text(encoding="utf-8"), _Loader), settings).grants()


def arn_of(settings: Settings, key: str) -> str:
    """The role for a duty: execution_role where the settings have no own one."""
    return getattr(settings, key) or settings.execution_role


class _Absent(Exception):
    """A value that only AWS knows, or that the stack leaves out."""


class _Stack:
    def __init__(self, document: dict[str, Any], settings: Settings) -> None:
        self._resources: dict[str, Any] = document["Resources"]
        self._conditions: dict[str, Any] = document.get("Conditions", {})
        self._mappings: dict[str, Any] = document.get("Mappings", {})
        given = {"Name": settings.name, "BucketName": settings.bucket}
        self._values = {
            **{name: item.get("Default", "") for name, item in document["Parameters"].items()},
            **given,
            "AWS::Partition": settings.execution_role.split(":")[1],
            "AWS::Region": settings.region,
            "AWS::AccountId": settings.account,
            "AWS::URLSuffix": "amazonaws.com.cn" if settings.region.startswith("cn-") else "amazonaws.com",
        }
        # The outputs say which role is which setting's: "execution_role in pipeline.toml".
        self._roles: dict[str, str] = {}
        for output in document["Outputs"].values():
            key = str(output["Description"]).split()[0]
            if key.endswith("_role"):
                self._roles[output["Value"]["Fn::GetAtt"][0]] = key
        self._arns = {name: arn_of(settings, key) for name, key in self._roles.items()}

    def grants(self) -> dict[str, list[Grant]]:
        found: dict[str, list[Grant]] = {key: [] for key in self._roles.values()}
        for name, resource in self._resources.items():
            if not self._exists(resource):
                continue
            properties = resource["Properties"]
            if resource["Type"] == "AWS::IAM::Role":
                attached = [item["Ref"] for item in properties.get("ManagedPolicyArns", [])]
                policies = [
                    *properties.get("Policies", []),
                    *(self._resources[it]["Properties"] for it in attached),
                ]
                roles = [name]
            elif resource["Type"] == "AWS::IAM::RolePolicy":
                roles, policies = [properties["RoleName"]["Ref"]], [properties]
            elif resource["Type"] == "AWS::IAM::ManagedPolicy":
                roles, policies = [role["Ref"] for role in properties.get("Roles", [])], [properties]
            else:
                continue
            allowed = [grant for policy in policies for grant in self._allowed(policy["PolicyDocument"])]
            for role in roles:
                if role in self._roles:
                    found[self._roles[role]] += allowed
        return found

    def _exists(self, resource: Mapping[str, Any]) -> bool:
        return "Condition" not in resource or self._holds({"Condition": resource["Condition"]})

    def _allowed(self, document: Mapping[str, Any]) -> Iterator[Grant]:
        for statement in _listed(document["Statement"]):
            try:
                statement = self._value(statement)
            except _Absent:
                continue
            if statement["Effect"] == "Allow":
                yield Grant(
                    tuple(_listed(statement["Action"])),
                    tuple(map(_example, _listed(statement["Resource"]))),
                    _context(statement.get("Condition", {})),
                )

    def _value(self, value: Any) -> Any:
        """A value of the template without functions.

        Raises:
            _Absent: only AWS knows it, or a condition leaves it out.
        """
        if isinstance(value, list):
            return list(self._those_there(value))
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            (name, argument), *_ = value.items()
            if name == "Ref":
                return self._named(argument)
            if name == "Fn::GetAtt":
                if argument[0] in self._arns and argument[1] == "Arn":
                    return self._arns[argument[0]]
                raise _Absent
            if name == "Fn::FindInMap":
                place, first, second = map(self._value, argument)
                return self._mappings[place][first][second]
            if name == "Fn::Sub":
                text, own = argument if isinstance(argument, list) else (argument, {})
                values = {key: self._value(item) for key, item in own.items()}
                return re.sub(r"\$\{([^!}]+)\}", lambda match: str(self._named(match[1], values)), text)
            if name == "Fn::Join":
                return str(argument[0]).join(map(str, self._value(argument[1])))
            if name == "Fn::If":
                return self._value(argument[1 if self._holds({"Condition": argument[0]}) else 2])
        return {key: self._value(item) for key, item in value.items()}

    def _those_there(self, values: list[Any]) -> Iterator[Any]:
        for value in values:
            try:
                yield self._value(value)
            except _Absent:
                continue

    def _named(self, name: str, own: Mapping[str, Any] = MappingProxyType({})) -> Any:
        if name in own:
            return own[name]
        if name.endswith(".Arn") and name.removesuffix(".Arn") in self._arns:
            return self._arns[name.removesuffix(".Arn")]
        if name in self._values:
            return self._values[name]
        raise _Absent

    def _holds(self, condition: Any) -> bool:
        (name, argument), *_ = condition.items()
        if name == "Condition":
            return self._holds(self._conditions[argument])
        if name == "Fn::Equals":
            return len({str(self._value(item)) for item in argument}) == 1
        held = [self._holds(item) for item in argument]
        return not held[0] if name == "Fn::Not" else all(held) if name == "Fn::And" else any(held)


def _context(conditions: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """For each key that a condition asks for, a value with which it holds."""
    there = {key: "x" for key, value in conditions.get("Null", {}).items() if str(value).lower() == "false"}
    return there | {
        key: _example(str(_listed(values)[0]))
        for operator, keys in conditions.items()
        if operator.rpartition(":")[2].removesuffix("IfExists") in _POSITIVE
        for key, values in keys.items()
    }


def _example(pattern: str) -> str:
    """Something that a pattern with * and ? matches; a pattern of * alone stays."""
    if pattern == "*":
        return pattern
    # An account's number stands between colons, as in arn:aws:ecr:us-east-1:*:repository/pytorch.
    return pattern.replace(":*:", ":111122223333:").replace("*", "x").replace("?", "x")


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
