#!/usr/bin/env bash
# Make .venv: Python 3.12 or 3.11, what pyproject.toml asks for, at the versions of constraints.txt.
# .venv/complete is written last, so an interrupted install is gone on with and never taken for finished.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() {
    echo "environment: $1" >&2
    exit 2
}

# Running it is the only proof: pyenv's shims exist for versions that are not installed.
suits() {
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' >/dev/null 2>&1
}

find_python() {
    local candidate
    for candidate in $(type -aP python3.12 python3.11 python3); do
        if suits "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    fail "needs Python 3.12 or 3.11, and none on PATH runs; install one, e.g. apt-get install python3.11"
}

# Three dependencies (sagemaker-training, inotify_simple, pyinstrument_cext) come as source only.
missing() {
    "$1" -c 'import ensurepip, venv' 2>/dev/null || echo "Python's venv module (python3-venv)"
    type -P cc >/dev/null || type -P gcc >/dev/null || echo "a C compiler (gcc)"
    "$1" -c 'import pathlib, sysconfig, sys
sys.exit(not pathlib.Path(sysconfig.get_path("include"), "Python.h").is_file())' || echo "Python's headers (python3-dev)"
}

python=$(find_python)
lacking=$(missing "$python")
[ -z "$lacking" ] || fail "$python lacks ${lacking//$'\n'/, }; install what stands in brackets and try again"

if ! suits .venv/bin/python || ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
    "$python" -m venv --clear .venv
fi
echo "Installing into .venv with $(.venv/bin/python --version): about 3 minutes and 7 GB the first time." >&2
# Every local job runs `pip install -r`. pip 25.3 finds in 2 s that nothing is missing; Python 3.11's own takes 5.
.venv/bin/python -m pip install --disable-pip-version-check --quiet --constraint constraints.txt --upgrade pip
.venv/bin/python -m pip install --disable-pip-version-check --constraint constraints.txt '.[dev]'
touch .venv/complete
