# `make run` and `make test` need Python 3.10 to 3.14; they make .venv and compile the engine themselves.
# Another interpreter: make PYTHON=/path/to/python3.12 run

SUPPORTED := import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 14))

ifndef PYTHON
# The first supported one that can make an environment; where there is none, python3, for the error to name.
PYTHON := $(or $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python3.10; do \
	$$p -c 'import venv, ensurepip; $(SUPPORTED)' 2>/dev/null && echo $$p && break; done),python3)
endif

INSTALL := .venv/bin/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt

C_OF_PYTHON = $$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_config_var("CC").split()[0])')

CPP := $(wildcard game/engine/*.cpp game/engine/*.hpp game/engine/*.h tests/engine/*.cpp)

.PHONY: run test lint format sanitize site bench engine clean

run: engine
	@.venv/bin/python -m qwop_stride.run

test: lint
	@.venv/bin/python -m pytest

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

# Compiles what changed and nothing else.
engine: .venv/.complete
	@.venv/bin/python hatch_build.py

# Two packages are compiled: the engine, and evdev, which pynput needs on Linux and which comes as C source. Where
# a compiler is missing, zig is both; it also has the kernel's headers. Only Python's own headers PyPI lacks.
.venv/.complete: pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { \
	  echo "make: no $(PYTHON) here: install Python 3.10 to 3.14, or name one: make PYTHON=python3.11" >&2; exit 2; }
	@$(PYTHON) -c '$(SUPPORTED)' 2>/dev/null || { \
	  echo "make: $(PYTHON) is not Python 3.10 to 3.14: name one that is: make PYTHON=python3.11" >&2; exit 2; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	  echo "make: $(PYTHON) has no venv module: install it (Debian, Ubuntu: apt-get install python3-venv)" >&2; exit 2; }
	@echo "Installing into .venv: minutes and gigabytes the first time, most of it torch"
	@$(PYTHON) -m venv .venv
	@$(INSTALL) hatchling setuptools wheel
	@.venv/bin/python -c 'import hatch_build as b; raise SystemExit(not b.installed_compiler())' || $(INSTALL) ziglang
	@if [ -z "$$CC" ] && ! command -v $(C_OF_PYTHON) >/dev/null; then \
	  $(INSTALL) ziglang && zig="$$(.venv/bin/python -c 'import ziglang; print(ziglang.__path__[0])')" && \
	  export CC="$(CURDIR)/.venv/bin/python -m ziglang cc" CPATH="$$zig/lib/libc/include/any-linux-any"; \
	fi; \
	$(INSTALL) --no-build-isolation --editable '.[dev,docs]' || { \
	  .venv/bin/python -c 'import os, sysconfig; os.stat(sysconfig.get_path("include") + "/Python.h")' 2>/dev/null || \
	  echo "make: Python's headers are missing: install them (Debian, Ubuntu: apt-get install python3-dev)" >&2; exit 2; }
	@$(INSTALL) --no-deps imitation==1.0.1 qwop-gym==1.0.1
	@touch $@

clean:
	rm -rf .venv build dist game/qwop_game/_engine.* .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +
