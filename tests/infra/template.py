"""The stack's template as CloudFormation would read it, for some choice of its parameters.

Only the functions that infra/stack.yaml uses; another one is an error.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

FILE = Path(__file__).resolve().parents[2] / "infra" / "stack.yaml"
REGION, ACCOUNT = "us-east-1", "123456789012"
NO_VALUE = "AWS::NoValue"
PSEUDO = {
    "AWS::AccountId": ACCOUNT,
    "AWS::NoValue": NO_VALUE,
    "AWS::Partition": "aws",
    "AWS::Region": REGION,
    "AWS::URLSuffix": "amazonaws.com",
}
BUCKET = "pictures"
# Everything that the stack can make.
EVERYTHING = {
    "Name": "flowers",
    "BucketName": BUCKET,
    "CreateBucket": "true",
    "KmsKey": "create",
    "VpcId": "vpc-1",
    "CreateDeadLetterQueue": "true",
    "CreateAlarms": "true",
    "GitHubRepository": "octo/flowers",
}


class _Loader(yaml.SafeLoader):
    """Reads !Sub [...] as {"Sub": [...]}."""


def _function(loader: Any, suffix: str, node: yaml.Node) -> dict[str, Any]:
    if isinstance(node, yaml.SequenceNode):
        return {suffix: loader.construct_sequence(node, deep=True)}
    return {suffix: loader.construct_scalar(node)}


_Loader.add_multi_constructor("!", _function)


def parse(file: Path = FILE) -> dict[str, Any]:
    """A template with its functions, as {"Sub": ...} and the like."""
    return yaml.load(file.read_text("utf-8"), _Loader)


class Stack:
    """The resources and outputs that a choice of parameters makes; `arn` names those that have no name."""

    def __init__(self, file: Path = FILE, **parameters: str) -> None:
        template = parse(file)
        unknown = parameters.keys() - template["Parameters"].keys()
        assert not unknown, unknown
        defaults = {name: entry.get("Default") for name, entry in template["Parameters"].items()}
        self._values = {**PSEUDO, **defaults, **parameters}
        self._template = template
        self.resources = self._made("Resources")
        self.outputs = self._made("Outputs")

    def arn(self, logical: str) -> str:
        kind = self._template["Resources"][logical]["Type"]
        if kind == "AWS::IAM::Role":
            return f"arn:aws:iam::{ACCOUNT}:role/{logical}"
        if kind == "AWS::IAM::ManagedPolicy":
            return f"arn:aws:iam::{ACCOUNT}:policy/{logical}"
        if kind == "AWS::KMS::Key":
            return f"arn:aws:kms:{REGION}:{ACCOUNT}:key/{logical}"
        return f"arn:aws:{kind.split('::')[1].lower()}:{REGION}:{ACCOUNT}:{logical}"

    def policies(self, role: str) -> list[dict[str, Any]]:
        """The policy documents of a role: its own, the attached, and those that attach themselves."""
        properties = self.resources[role]["Properties"]
        own = [policy["PolicyDocument"] for policy in properties.get("Policies", [])]
        attached = properties.get("ManagedPolicyArns", [])
        managed = [
            resource["Properties"]["PolicyDocument"]
            for name, resource in self.resources.items()
            if resource["Type"] == "AWS::IAM::ManagedPolicy"
            and (self.arn(name) in attached or role in resource["Properties"].get("Roles", []))
        ]
        return own + managed

    def documents(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Every policy in the stack that grants something, with its resource's name."""
        for name, resource in self.resources.items():
            properties = resource["Properties"]
            for policy in (*properties.get("Policies", []), properties):
                for key in ("PolicyDocument", "KeyPolicy"):
                    if key in policy:
                        yield name, policy[key]

    def roles(self) -> list[str]:
        return [name for name, entry in self.resources.items() if entry["Type"] == "AWS::IAM::Role"]

    def _made(self, section: str) -> dict[str, Any]:
        return {
            name: self._resolve({key: value for key, value in entry.items() if key != "Condition"})
            for name, entry in self._template[section].items()
            if "Condition" not in entry or self._holds(entry["Condition"])
        }

    def _holds(self, condition: str) -> bool:
        return bool(self._resolve(self._template["Conditions"][condition]))

    def _resolve(self, value: Any) -> Any:
        if isinstance(value, list):
            items = [self._resolve(item) for item in value]
            return [item for item in items if item != NO_VALUE]
        if not isinstance(value, dict):
            return value
        if len(value) == 1 and (apply := _FUNCTIONS.get(next(iter(value)))):
            return apply(self, next(iter(value.values())))
        members = {key: self._resolve(item) for key, item in value.items()}
        return {key: item for key, item in members.items() if item != NO_VALUE}

    def _ref(self, name: str) -> Any:
        if name in self._values:
            return self._values[name]
        kind = self._template["Resources"][name]["Type"]
        return self.arn(name) if kind in {"AWS::IAM::ManagedPolicy", "AWS::IAM::OIDCProvider"} else name

    def _sub(self, argument: Any) -> str:
        text, own = argument if isinstance(argument, list) else (argument, {})
        known = {name: self._resolve(value) for name, value in own.items()}
        pieces = text.split("${")
        result = pieces[0]
        for piece in pieces[1:]:
            name, _, rest = piece.partition("}")
            result += str(known[name] if name in known else self._ref(name)) + rest
        return result

    def _if(self, argument: list[Any]) -> Any:
        condition, yes, no = argument
        return self._resolve(yes if self._holds(condition) else no)

    def _find(self, argument: list[Any]) -> Any:
        mapping, first, second = argument
        return self._template["Mappings"][mapping][self._resolve(first)][self._resolve(second)]


_FUNCTIONS = {
    "Ref": Stack._ref,
    "Sub": Stack._sub,
    "If": Stack._if,
    "FindInMap": Stack._find,
    "GetAtt": lambda stack, name: stack.arn(name.removesuffix(".Arn")),
    "Condition": Stack._holds,
    "Equals": lambda stack, pair: stack._resolve(pair[0]) == stack._resolve(pair[1]),
    "Not": lambda stack, one: not stack._resolve(one[0]),
    "And": lambda stack, all_of: all(stack._resolve(item) for item in all_of),
}
