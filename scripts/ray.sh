#!/usr/bin/env bash
# Make .venv-ray: Ray Serve at the version of SageMaker's container, with what a model artifact asks for.
# .venv-ray/complete is written last, so an interrupted install is gone on with and never taken for finished.
set -euo pipefail
cd "$(dirname "$0")/.."

[ -x .venv/bin/python ] || { echo "ray: needs .venv; make it with: make environment" >&2; exit 2; }
[ -x .venv-ray/bin/pip ] || .venv/bin/python -m venv --clear .venv-ray
# ray[serve] needs jinja2 and does not say so; Pillow lies ready in the container.
.venv-ray/bin/python -m pip install --disable-pip-version-check --quiet \
    'ray[serve]==2.57.*' jinja2 'Pillow>=12' -r entrypoints/requirements/serving.txt
touch .venv-ray/complete
