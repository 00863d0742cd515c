#!/usr/bin/env bash
# Make the environment of the peers that serving.py measures: TorchServe with the SageMaker PyTorch toolkit's
# handler, and Ray Serve with torch. Argument: its folder (build/peers). Needs a C compiler and network.
set -euo pipefail
cd "$(dirname "$0")/../.."
folder=${1:-build/peers}

type -P java >/dev/null || {
    echo "environment: TorchServe needs Java 17 on PATH; on Debian: apt-get install default-jre-headless" >&2
    exit 2
}
[ -x .venv/bin/python ] || {
    echo "environment: needs the project's own environment; run make environment first" >&2
    exit 2
}

.venv/bin/python -m venv --clear "$folder"
echo "Installing into $folder: about 3 minutes and 7 GB." >&2
# The project's torch, so that the peers compute with the same; Ray as in AWS's serving container.
grep -E '^(torch|torchvision|safetensors|pillow)==' constraints.txt >"$folder/constraints.txt"
# jinja2 is what ray[serve] needs and pyyaml and setuptools what torchserve needs without saying so.
"$folder/bin/python" -m pip install --disable-pip-version-check --constraint "$folder/constraints.txt" \
    torch torchvision safetensors pillow \
    torchserve==0.12.0 torch-model-archiver==0.12.0 sagemaker-pytorch-inference==2.0.25 pyyaml 'setuptools<81' \
    'ray[serve]==2.57.1' jinja2
