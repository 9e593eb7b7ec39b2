# make demo, make check, make test, make soak; `make help` says what each does. Needs Python 3.11 or newer on PATH.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

VENV := .venv
PYTHON := $(VENV)/bin/python

.PHONY: help demo check test soak clean

help: ## say what each target does
	@grep -E '^[a-z]+:.*## ' Makefile | sed -E 's/^([a-z]+):.*## (.*)/make \1\t\2/' | expand -t 12

demo: $(VENV)/installed ## answer the questions about samples/ with the embedded model; tables in out/demo
	@rm -rf out/demo
	@$(PYTHON) -m jobs.extract --input samples/documents --questions samples/questions.jsonl --output out/demo
	@$(PYTHON) -m jobs.report out/demo --expected samples/expected.jsonl

check: $(VENV)/installed-test ## while you work, a minute: format, lint, types, import directions, quick tests
	@$(PYTHON) -m tests.lanes check

test: $(VENV)/installed-test ## the same and all other tests, in two lanes at once, some minutes
	@$(PYTHON) -m tests.lanes

soak: $(VENV)/installed-test ## what takes minutes: properties on thousands of new examples, tests marked soak
	$(PYTHON) -m pytest -m "(soak or hypothesis) and not gpu" --hypothesis-profile soak --timeout 3600

clean: ## remove the environment and what runs left behind
	rm -rf $(VENV) out .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

# An install says little: the large downloads. All of pip's words are in .venv/install.log.
define install
	@$(PYTHON) -m pip install --disable-pip-version-check --progress-bar off $(1) 2>&1 \
	  | tee $(VENV)/install.log \
	  | { grep -oE --line-buffered \
	      '(Downloading|Using cached) [^ ]+ \([0-9]{2,}[.0-9]* [MG]B\)|Installing collected packages|ERROR.*' \
	      || true; } \
	  || { echo "The install failed; its log is $(VENV)/install.log." >&2; exit 1; }
	@touch $@
endef

# Both run again when pyproject.toml changes; the stamp says that the install finished.
$(VENV)/installed: pyproject.toml
	@python=; for candidate in python3.11 python3.12 python3.13 python3.14 python3 python; do \
	  if $$candidate -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    python=$$candidate; break; fi; done; \
	if [ -z "$$python" ]; then \
	  echo "Quire needs Python 3.11 or newer with its venv module on PATH (on Debian: apt install python3-venv)." >&2; \
	  exit 2; fi; \
	echo "Installing Quire's pinned dependencies into $(VENV) with $$($$python --version): some minutes, once."; \
	$$python -m venv $(VENV)
	$(call install,.)

$(VENV)/installed-test: $(VENV)/installed
	@echo "Installing the test tools into $(VENV)."
	@$(PYTHON) -c 'import triton' 2>/dev/null || $(PYTHON) -m pip install --disable-pip-version-check -q '.[triton]'
	$(call install,'.[test]')
