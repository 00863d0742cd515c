#!/bin/bash
# Start one of the bundle's programs in a processing container: run.sh PROGRAM ARGUMENTS...
# Processing containers install nothing by themselves.
set -euo pipefail

bundle="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
program="${1:?usage: run.sh PROGRAM ARGUMENTS...}"
shift

if [ -f "$bundle/requirements.txt" ]; then
    python3 -m pip install --quiet --disable-pip-version-check --requirement "$bundle/requirements.txt"
fi
export PYTHONPATH="$bundle${PYTHONPATH:+:$PYTHONPATH}"
exec python3 -m "entrypoints.$program" "$@"
