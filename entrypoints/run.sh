#!/bin/bash
# Start one of the bundle's programs in a processing container: run.sh PROGRAM ARGUMENTS...
# Processing containers install nothing by themselves.
set -euo pipefail

bundle="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
program="${1:?usage: run.sh PROGRAM ARGUMENTS...}"
shift

if [ -f "$bundle/requirements.txt" ]; then
    # The serving image's Python is an environment made by uv, which puts no pip there.
    python3 -m pip --version >/dev/null 2>&1 || python3 -m ensurepip >/dev/null
    python3 -m pip install --quiet --disable-pip-version-check --requirement "$bundle/requirements.txt"
fi
export PYTHONPATH="$bundle${PYTHONPATH:+:$PYTHONPATH}"
exec python3 -m "entrypoints.$program" "$@"
