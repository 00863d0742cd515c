#!/usr/bin/env bash
# Make .venv-aws-cli: the AWS CLI, for the tests that use it as a person would. It wants a botocore of its own.
# .venv-aws-cli/complete is written last, so an interrupted install is gone on with and never taken for finished.
set -euo pipefail
cd "$(dirname "$0")/.."

[ -x .venv/bin/python ] || { echo "aws-cli: needs .venv; make it with: make environment" >&2; exit 2; }
[ -x .venv-aws-cli/bin/pip ] || .venv/bin/python -m venv --clear .venv-aws-cli
.venv-aws-cli/bin/python -m pip install --disable-pip-version-check --quiet 'awscli==1.*'
touch .venv-aws-cli/complete
