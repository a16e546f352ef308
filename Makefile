# make demo    set up, then answer a question
# make test    the whole test suite, real vLLM included
# make check   what CI runs: format, lint, types, architecture, tests

PYTHON ?= python3
# An NVIDIA driver that answers gets the CUDA build of vLLM, everything else the CPU build.
EXTRA ?= $(if $(shell nvidia-smi -L 2>/dev/null),gpu,cpu)

# uv looks where pip would: a local CPU build of torch found there is preferred to PyPI's CUDA one.
empty :=
space := $(empty) $(empty)
comma := ,
ifdef PIP_FIND_LINKS
export UV_FIND_LINKS ?= $(subst $(space),$(comma),$(strip $(PIP_FIND_LINKS)))
endif

# Where Python may not keep its bytecode, importing vLLM takes twice as long each time unless it is there already.
COMPILE := $(if $(PYTHONDONTWRITEBYTECODE),--compile-bytecode)
# So that a failure of uv is seen behind the filter of what it prints.
SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c

QUESTION ?= What is 7 + 8?

.PHONY: demo test lint check clean

demo: .venv/.synced
	.venv/bin/reasoner solve "$(QUESTION)" --strategy self_consistency:n=8

test: .venv/.synced
	.venv/bin/python -m pytest

lint: .venv/.synced
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/mypy tests examples bench
	.venv/bin/lint-imports

check: lint test

.venv/.synced: pyproject.toml Makefile
	test -x .venv/bin/python || $(PYTHON) -m venv .venv
	@echo "installing into .venv; the first time, downloads of 10 MB and more are named below"
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check uv
	@.venv/bin/uv sync --inexact --extra $(EXTRA) $(COMPILE) 2>&1 | sed -u -E '/^ [-+~] |^ Download|\((.{1,5}KiB|.{3}MiB)\)$$/d'
	@touch $@

clean:
	rm -rf .venv dist
