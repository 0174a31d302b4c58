# `make run` and `make test` need Python 3.10 to 3.14; they make .venv and compile the engine themselves.
# Another interpreter: make PYTHON=/path/to/python3.12 run

SUPPORTED := import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 14))

ifndef PYTHON
# The first supported one that can make an environment; where there is none, python3, for the error to name.
PYTHON := $(or $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python3.10; do \
	$$p -c 'import venv, ensurepip; $(SUPPORTED)' 2>/dev/null && echo $$p && break; done),python3)
endif

# On Linux, PyPI's torch brings gigabytes of CUDA libraries. With a GPU: make TORCH=cuda run
TORCH := cpu
TORCH_INDEX := https://download.pytorch.org/whl/cpu

# Processes that share the tests: make JOBS=2 test. 0: the tests one after another.
JOBS := 0

INSTALL := .venv/bin/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt

CPP := $(wildcard game/engine/*.cpp game/engine/*.hpp game/engine/*.h tests/engine/*.cpp)

.PHONY: run test lint format sanitize site bench verify-claims engine clean

run: engine
	@.venv/bin/python -m qwop_stride.run

test: lint
	@.venv/bin/python -m pytest -n $(JOBS) --dist loadfile

lint: engine
	@.venv/bin/ruff check
	@.venv/bin/ruff format --check
	@.venv/bin/pyright
	@.venv/bin/clang-format --dry-run --Werror $(CPP)

format: .venv/.complete
	@.venv/bin/ruff format
	@.venv/bin/clang-format -i $(CPP)

# The engine under the address and undefined-behavior sanitizers: two minutes on two idle cores.
sanitize: .venv/.complete
	@.venv/bin/python tests/engine/sanitize.py

# The documentation, in build/site; a warning is an error. The tests build it, too.
site: .venv/.complete
	@NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --strict --quiet

bench: engine
	@.venv/bin/python benchmarks/bench.py

# The figures of README and docs: recomputed, made again from their results, or unchanged. SLOW=1: minutes more.
verify-claims: engine
	@.venv/bin/python benchmarks/claims.py $(if $(SLOW),--slow)

# Compiles what changed and nothing else.
engine: .venv/.complete
	@.venv/bin/python hatch_build.py

# On Linux pynput is installed without evdev: its X11 hook does not use it, and it would need a C compiler.
.venv/.complete: pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { \
	  echo "make: no $(PYTHON) here: install Python 3.10 to 3.14, or name one: make PYTHON=python3.11" >&2; exit 2; }
	@$(PYTHON) -c '$(SUPPORTED)' 2>/dev/null || { \
	  echo "make: $(PYTHON) is not Python 3.10 to 3.14: name one that is: make PYTHON=python3.11" >&2; exit 2; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	  echo "make: $(PYTHON) has no venv module: install it (Debian, Ubuntu: apt-get install python3-venv)" >&2; exit 2; }
	@echo "Installing into .venv: minutes the first time"
	@$(PYTHON) -m venv .venv
	@if [ "$$(uname -s)-$(TORCH)" = Linux-cpu ]; then \
	  $(INSTALL) --no-deps --retries 1 --timeout 15 --index-url $(TORCH_INDEX) torch 2>.venv/torch.log || \
	  echo "$(TORCH_INDEX): no torch from there (see .venv/torch.log): PyPI's brings gigabytes of CUDA libraries"; fi
	@$(INSTALL) hatchling setuptools wheel ziglang
	@$(INSTALL) --no-build-isolation --editable '.[dev,docs]'
	@$(INSTALL) --no-deps imitation==1.0.1 qwop-gym==1.0.1 pynput python-xlib six
	@touch $@

clean:
	rm -rf .venv build dist game/qwop_game/_engine.* .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +
