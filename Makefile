PYTHON ?= python3
EXTRA ?= $(if $(shell nvidia-smi -L 2>/dev/null),gpu,cpu)

# uv looks where pip would: a local CPU build of torch there is preferred to PyPI's CUDA one.
empty :=
space := $(empty) $(empty)
comma := ,
ifdef PIP_FIND_LINKS
export UV_FIND_LINKS ?= $(subst $(space),$(comma),$(strip $(PIP_FIND_LINKS)))
endif

.venv/.synced: pyproject.toml Makefile
	test -x .venv/bin/python || $(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check uv
	.venv/bin/uv sync --quiet --inexact --extra $(EXTRA)
	touch $@
