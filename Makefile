# make demo, make test: each creates what it needs. PYTHON=python3.12 chooses another interpreter.
PYTHON ?= python3
VENV ?= .venv
CONSTRAINTS ?= constraints.txt
BIN := $(VENV)/bin
# One more than the cores of a small machine: tests that wait for processes leave a core idle.
JOBS ?= 3

.PHONY: demo test test-integrations test-timm test-spaces test-oldest lint docs bench cuda clean

demo: $(VENV)/.demo
	$(BIN)/timm-regnet-ds demo

test: lint
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# timm's own suite on every model of this project and on a scaled model of each of timm's classes; `make test` runs it
# on one model of each family, and on scaled models of a few classes.
test-timm: $(VENV)/.test
	TIMM_TESTS=all $(BIN)/python -m pytest -n $(JOBS) --dist loadfile tests/test_timm_suite.py tests/test_timm_suite_scaled.py

# The tests of docs/integrations.md and of transformers with all packages that these need.
test-integrations: $(VENV)/.test $(VENV)/.integrations
	$(BIN)/python -m pytest tests/test_integrations.py tests/test_share.py

# The oldest supported set of torch, timm and the rest, in an environment of its own.
test-oldest:
	$(MAKE) VENV=.venv-oldest CONSTRAINTS=constraints-oldest.txt .venv-oldest/.test
	.venv-oldest/bin/python -m pytest -n $(JOBS) --dist loadfile

# A thousand random configurations of every design space, each built and measured; `make test` takes ten.
test-spaces: $(VENV)/.test
	TIMM_REGNET_DS_CONFIGS=1000 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile tests/test_spaces.py tests/test_spaces_channels.py tests/test_spaces_nas.py -k complexity_is --timeout 0

# The site, in site/.
docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

bench: $(VENV)/.test
	$(BIN)/python -m pytest benchmarks --benchmark-columns=median,iqr,rounds

# On a machine with a GPU: tests, checks of the clock, times of 60 models and a report, in ten minutes; it goes on where
# it was stopped. It installs nothing: the environment of `make demo` or `make test` is used if there is one.
CUDA_PYTHON ?= $(if $(wildcard $(BIN)/python),$(BIN)/python,$(PYTHON))

cuda:
	@PYTHONPATH=. $(CUDA_PYTHON) benchmarks/first_card.py

clean:
	rm -rf .venv .venv-oldest .timm-tests demo-output site

# One stamp per extra: it is remade when what is to be installed changes, and only then.
$(VENV)/.%: pyproject.toml $(CONSTRAINTS) _build_backend.py _timm_regnet_ds_autoload.py
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS) -e '.[$*]'
	touch $@
