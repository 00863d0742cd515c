# The environment is .venv, made by scripts/environment.sh and made again when its inputs change.
PYTHON := .venv/bin/python
ENVIRONMENT := .venv/complete
# What `--server ray` needs besides.
RAY := .venv-ray/complete
# What the tests of the AWS CLI need besides.
AWS_CLI := .venv-aws-cli/complete

.PHONY: demo test check golden screenshots environment ray aws-cli replicas clean

demo: $(ENVIRONMENT)
	$(PYTHON) scripts/run_local.py

# Three at a time on two cores, since a quarter of their time is waiting for processes; tests of one module one after
# the other, since they share what they were given. The order is that of tests/conftest.py.
test: $(ENVIRONMENT)
	$(PYTHON) -m pytest -n 3 --dist loadscope --no-loadscope-reorder

check: $(ENVIRONMENT)
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports
	.venv/bin/cfn-lint infra/*.yaml
	$(PYTHON) tests/infra/lint.py

golden: $(ENVIRONMENT)
	PYTHONPATH=. $(PYTHON) tests/golden/write.py

# Of the newest report that `make demo` left, and of its endpoint's page; needs Chromium.
screenshots: $(ENVIRONMENT)
	PYTHONPATH=.:tests $(PYTHON) tests/screenshots/write.py .local-sagemaker

environment: $(ENVIRONMENT)

$(ENVIRONMENT): pyproject.toml constraints.txt scripts/environment.sh
	@bash scripts/environment.sh

ray: $(RAY)

$(RAY): $(ENVIRONMENT) scripts/ray.sh entrypoints/requirements/serving.txt
	@bash scripts/ray.sh

aws-cli: $(AWS_CLI)

$(AWS_CLI): $(ENVIRONMENT) scripts/awscli.sh
	@bash scripts/awscli.sh

# Every bundle in replicas of AWS's containers: 14 GB, Python 3.12 and network, half an hour the first time. The last
# result stands in docs/replicas.md.
replicas: $(ENVIRONMENT)
	@bash benchmarks/replicas/environment.sh
	$(PYTHON) -m benchmarks.replicas

# What the local service keeps (.local-sagemaker) stays.
clean:
	rm -rf .venv .venv-ray .venv-aws-cli .venv-replica-training .venv-replica-serving build *.egg-info
	rm -rf .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
