"""Check the policies in infra/stack.yaml with parliament: actions, resources, condition keys, mixes of them.

cfn-lint knows a policy's form and the names of actions; parliament also which resources and conditions an
action takes, from the Service Authorization Reference.

PYTHONPATH=. python tests/infra/lint.py [TEMPLATE]
"""

import json
import sys
import warnings
from pathlib import Path

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it imports pkg_resources
    import parliament

from template import EVERYTHING, FILE, Stack


def findings(file: Path) -> list[str]:
    """A line for each finding about a policy of the stack with everything in it."""
    stack = Stack(file, **EVERYTHING)
    lines = []
    for name, document in stack.documents():
        kind = stack.resources[name]["Type"]
        # A key's policy has "*" for the key itself, which parliament takes for any resource.
        if kind == "AWS::KMS::Key":
            continue
        for finding in parliament.analyze_policy_string(json.dumps(document)).findings:
            enhanced = parliament.enhance_finding(finding)
            lines.append(f"{name}: {enhanced.issue}: {enhanced.title} {finding.detail or ''}".rstrip())
    return lines


def main() -> int:
    file = Path(sys.argv[1]) if len(sys.argv) > 1 else FILE
    lines = findings(file)
    print("\n".join(lines) if lines else f"{file.name}: parliament has nothing to say")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
