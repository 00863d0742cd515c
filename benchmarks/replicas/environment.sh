#!/usr/bin/env bash
# Make the replicas' environments, .venv-replica-training and .venv-replica-serving: 14 GB.
# A file "complete" in each is written last, so an interrupted install is gone on with and never taken for finished.
# TRAINING_PYTHON and SERVING_PYTHON name interpreters that are not on PATH.
set -euo pipefail
cd "$(dirname "$0")/../.."

fail() {
    echo "replicas: $1" >&2
    exit 2
}

# Running it is the only proof: pyenv's shims exist for versions that are not installed.
find_python() { # WANTED VERSION...: the first interpreter on PATH that runs as one of them
    local version candidate
    for version in "$@"; do
        for candidate in $(type -aP "python$version"); do
            if "$candidate" -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$version')" >/dev/null 2>&1
            then
                echo "$candidate"
                return
            fi
        done
    done
}

make_environment() { # NAME PYTHON
    local folder=".venv-replica-$1" list="benchmarks/replicas/$1.txt"
    if [ -f "$folder/complete" ] && ! [ "$list" -nt "$folder/complete" ]; then
        return
    fi
    "$folder/bin/python" -c pass 2>/dev/null || "$2" -m venv --clear "$folder"
    echo "Installing into $folder with $("$folder/bin/python" --version): some GB the first time." >&2
    "$folder/bin/python" -m pip install --disable-pip-version-check --quiet --requirement "$list"
    touch "$folder/complete"
}

training=${TRAINING_PYTHON:-$(find_python 3.12)}
[ -n "$training" ] || fail "the training image has Python 3.12, and none on PATH runs; install it, or name it in TRAINING_PYTHON"
# The serving image has 3.13, and so have the wheels of package_source = "bundle".
serving=${SERVING_PYTHON:-$(find_python 3.13 3.14)}
serving=${serving:-$training}
make_environment training "$training"
make_environment serving "$serving"
