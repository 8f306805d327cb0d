# make demo    a real job, traced, bundled and run where nothing of this machine's /usr is visible
# make check   linters, types and unit tests: a minute, no root, no network
# make test    linters, types and all tests: what CI runs
# make docs    the manual: build/docs/docs/index.html, and man pages in docs/man
# make bench   the measurements of docs/performance.md
# make fuzz    a minute of fuzzing of every parser and protocol: tests/fuzz (FUZZ_SECONDS=60)
# make fuzz-short  the same of those that strangers reach first: what CI runs
# make sanitizers  sdee-env and sdee-front under AddressSanitizer, UndefinedBehaviorSanitizer and ThreadSanitizer
# make corpus  real software on foreign systems: docs/corpus.md
# All of them install what is missing: Debian packages when run as root, Python packages into .venv.

SHELL    := /bin/bash
PYTHON   ?= python3
VENV     := .venv
BIN      := $(VENV)/bin
# pytest arguments, e.g. make test PYTEST='-k trace -x': then in one process, and without the linters
PYTEST   ?=
# how many tests run at once: they wait as long as they compute. Only root can keep them apart (tests/apart)
JOBS     ?= $(shell [ $$(id -u) -ne 0 ] && echo 1 || echo $$((2 * $$(nproc))))

# targets beside each other: mypy takes as long as the C compiler
BESIDE   := $(MAKE) --no-print-directory --output-sync -j$(shell nproc)

.PHONY: demo test check lint docs bench fuzz fuzz-short sanitizers corpus launcher asan compiled wheel clean system-packages

demo: system-build-packages
	@fixtures/demo/run.sh "$(PYTHON)"

# pytest keeps what it compiles of the tests, else each worker compiles them
unexport PYTHONDONTWRITEBYTECODE

check: $(VENV)/.ready
	@$(BESIDE) launcher lint
	$(BIN)/python -m pytest --dist loadgroup -n $(shell nproc) tests/unit $(PYTEST)

ifeq ($(strip $(PYTEST)),)
test: system-packages $(VENV)/.ready
	@$(BESIDE) launcher lint docs compiled asan
	$(BIN)/python -m pytest --durations=20 --dist loadgroup --tx '$(JOBS)*popen//python=tests/apart $(BIN)/python'
else
test: system-packages $(VENV)/.ready launcher compiled
	tests/apart $(BIN)/python -m pytest $(PYTEST)
endif

# once, and not by each command of the ordinary users that tests make, who may not write here
compiled: $(VENV)/.ready
	@$(BIN)/python -m compileall -q src packer tracer runtime

lint: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	@$(BIN)/python .ci/generate --check
	$(BIN)/shellcheck -s sh $$(git ls-files 'runtime/*.sh')
	@$(MAKE) -s -C runtime/native lint

# -W: a warning, such as a link that leads nowhere, is an error
docs: $(VENV)/.ready launcher
	@.ci/install-packages .ci/docs-packages.txt
	$(BIN)/sphinx-build -q -W --keep-going -c docs -d build/doctrees -b html . build/docs
	$(BIN)/sphinx-build -q -W --keep-going -c docs -d build/doctrees -b man . docs/man

bench: system-packages $(VENV)/.ready launcher
	$(BIN)/python bench/run.py

# make corpus JOB="r gmsh" ROOT=trixie; without them all jobs on all systems (an hour)
corpus: system-packages $(VENV)/.ready launcher
	$(BIN)/python tests/corpus/run.py $(JOB) $(addprefix --root ,$(ROOT)) $(CORPUS)

# atheris guides the targets in Python; without it their inputs are changed at random. FUZZ='table py-trace': these targets alone
FUZZ_SECONDS ?= 60
fuzz-short: FUZZ ?= table bundle py-trace join front
fuzz-short: FUZZ_WHAT := --where-possible
fuzz fuzz-short: system-build-packages $(VENV)/.ready
	@.ci/install-packages .ci/fuzz-packages.txt || echo "sdee: what .ci/fuzz-packages.txt names cannot all be installed"
	@$(BIN)/pip install -q --disable-pip-version-check atheris || echo "sdee: there is no atheris for this Python: inputs are changed at random"
	$(BIN)/python tests/fuzz/run.py --seconds $(FUZZ_SECONDS) $(FUZZ_WHAT) $(FUZZ)

# The launcher's own tests run it under sanitizers each time. A holder's eight threads answer each stat(2) of these tests
sanitizers: system-packages $(VENV)/.ready launcher
	@tests/sanitized.sh sdee-env thread tests/environment/test_env_calls.py tests/environment/test_env_root.py -k 'calls or many_processes'
	@tests/sanitized.sh sdee-env address,undefined tests/environment/test_env_calls.py tests/environment/test_env_root.py -k 'calls or many_processes'
	@tests/sanitized.sh sdee-front address,undefined tests/environment/test_env_fronts.py

launcher:
	@$(MAKE) -s -C runtime/native

# the tests' own, here so that no worker waits for another that compiles it
asan:
	@$(MAKE) -s -C runtime/native asan

# An editable install: the tests test this checkout. The stamp is renewed when the project's metadata changes.
$(VENV)/.ready: pyproject.toml setup.py .ci/packages.txt
	@.ci/venv "$(PYTHON)" $(VENV)
	$(BIN)/pip install -q --disable-pip-version-check -e '.[dev,docs]'
	@touch $@

wheel: docs
	$(BIN)/python -m build -o dist .

# As root, what the tests need beyond the build; as an ordinary user, what is missing shows as skipped tests.
system-packages:
	@.ci/install-packages .ci/packages.txt

system-build-packages:
	@.ci/install-packages .ci/build-packages.txt

clean:
	rm -rf build dist docs/commands docs/man .venv .pytest_cache .mypy_cache .ruff_cache src/*.egg-info
	$(MAKE) -s -C runtime/native clean
