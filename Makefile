# Two commands: `make demo` and `make test`. Everything lives in .venv; nothing outside it is touched.
# Versions come from requirements/*.txt (see its README.md). uv installs them where it is present, else pip does.
PYTHON ?= python3
UV ?= $(shell command -v uv 2>/dev/null)
VENV := .venv
BIN := $(VENV)/bin
# `make test TORCH=` tests without torch. On Linux its public build brings CUDA, some gigabytes; CONTRIBUTING.md says more.
TORCH ?= torch==2.13.0

export PIP_DISABLE_PIP_VERSION_CHECK := 1

ifeq ($(strip $(UV)),)
install = $(1)/bin/pip install --quiet $(2)
else
install = $(UV) pip install --quiet --python $(1)/bin/python $(2)
endif

.PHONY: demo test lint bench docs coverage lock test-latest clean

$(VENV)/.installed: pyproject.toml requirements/dev.txt
	$(PYTHON) -m venv $(VENV)
	$(call install,$(VENV),--require-hashes -r requirements/dev.txt)
	$(call install,$(VENV),--no-deps --no-build-isolation --editable .)
	$(BIN)/penstock warm-up
	touch $@

# pip also where uv is: pip takes a CPU build that lies on this machine, or on an index that its settings name.
$(VENV)/.torch: $(VENV)/.installed requirements/torch.txt
ifneq ($(strip $(TORCH)),)
	$(call install,$(VENV),--require-hashes -r requirements/torch.txt)
	$(BIN)/pip install --quiet $(TORCH) || { echo "No $(TORCH) for this machine: run 'make test TORCH='."; exit 1; }
endif
	touch $@

demo: $(VENV)/.installed
	$(BIN)/penstock demo --force

# Tests start some hundred server processes, and each would compile every module anew if Python may not keep bytecode.
test: export PYTHONDONTWRITEBYTECODE :=
test: $(VENV)/.torch
	$(BIN)/pytest -n 2 --dist loadfile

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.installed
	for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

docs: $(VENV)/.installed
	$(BIN)/sphinx-build -W --keep-going docs docs/_build

# Lines of src that tests run: the fast tests, kernels as plain Python, and real servers with their child processes. With
# plain kernels only the rooms that have kernels, each test for 20 seconds of processor time (tests/conftest.py). A test that
# fails is named and does not end the run.
coverage: $(VENV)/.torch
	$(BIN)/coverage erase
	-$(BIN)/coverage run -m pytest -n 2 --dist loadfile -m "not slow"
	-NUMBA_DISABLE_JIT=1 $(BIN)/coverage run -m pytest -n 2 --plain-kernels 20 -m "not slow and not compiled"
	-$(BIN)/coverage run -m pytest -n 2 --dist loadfile -m "slow and not soak and not ray" tests/serve tests/cli tests/api tests/runtime
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

# New versions for everything, within the bounds of pyproject.toml.
lock:
	test -n "$(UV)" || { $(PYTHON) -m venv .venv-lock && .venv-lock/bin/pip install --quiet 'uv>=0.9,<1'; }
	UV="$(or $(UV),.venv-lock/bin/uv)" PYTHON="$(PYTHON)" requirements/lock

# The newest versions that the bounds of pyproject.toml allow, whatever the lock says. Before a release.
test-latest: export PYTHONDONTWRITEBYTECODE :=
test-latest:
	$(PYTHON) -m venv --clear .venv-latest
	$(call install,.venv-latest,--upgrade --editable '.[dev]')
ifneq ($(strip $(TORCH)),)
	.venv-latest/bin/pip install --quiet $(TORCH) || { echo "No $(TORCH) for this machine: run 'make test-latest TORCH='."; exit 1; }
endif
	.venv-latest/bin/penstock warm-up
	.venv-latest/bin/pytest -n 2 --dist loadfile

clean:
	rm -rf $(VENV) .venv-latest .venv-lock docs/_build demo-out
	find src -name __pycache__ -prune -exec rm -rf {} +
