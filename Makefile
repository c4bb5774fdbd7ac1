# make demo   installs into .venv and runs the main job on embedded data
# make test   installs and runs the tests
# make check  lint, types, layers, dead code and the documentation
# make docs   the documentation as a site, in site/
# make fuzz READER=model             ten minutes of changed files for a reader, with Atheris (Linux)
# make walk   types everything that help and documentation show, in a fresh clone
# make faults SEED=0 TIMES=1         kills, signals and damages; their table is results/faults.md
# make mutants PATH=src/morex/models/gates.py  the changes to a file that no test notices
# make bench  speed and memory, as ratios; MOREX_DATA or a download for the attacks on CIFAR-10;
#             on a GPU also training steps against bare captured ones

PYTHON ?= python3
TORCH ?= torch==2.13.0
BIN := .venv/bin
RUN ?= runs/digits
BENCH ?= runs/benchmarks.json
SEED ?= 0
TIMES ?= 1

# PATH on the command line is the file to mutate; commands are then found in the usual places.
ifeq ($(origin PATH),command line)
MUTATED := $(PATH)
override export PATH := $(CURDIR)/$(BIN):/usr/local/bin:/usr/bin:/bin
endif

.PHONY: demo test check docs fuzz faults walk mutants bench format lock clean

demo: .venv/runtime
	$(BIN)/morex run digits --out $(RUN)

test: .venv/development
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

check: .venv/development
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/vulture
	$(BIN)/mkdocs build --quiet

# Strict: a broken link, or a name without a docstring, fails. The variable silences an advertisement.
docs check: export NO_MKDOCS_2_WARNING = 1
docs: .venv/development
	$(BIN)/mkdocs build --quiet
	@echo "open site/index.html"

fuzz: .venv/development
	$(BIN)/pip install --quiet atheris==3.0.0
	$(BIN)/python scripts/fuzz.py $(READER)

# Installs anew, as a new user would; the transcript is walk.txt.
walk:
	PYTHON="$(PYTHON)" TORCH="$(TORCH)" bash scripts/walk.sh

faults: .venv/development
	PYTHONPATH=scripts $(BIN)/python -m faults --seed $(SEED) --times $(TIMES) --out results/faults.md

mutants: .venv/development
	$(BIN)/python scripts/mutants.py $(MUTATED) $(TESTS)

bench: .venv/development
	$(BIN)/python -m benchmarks --out $(BENCH)
	$(BIN)/python -m benchmarks.gpu --out $(BENCH:.json=-gpu.json)

format: .venv/development
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# torch comes first and by itself, so that pip takes the build that suits the machine; set TORCH to
# choose another, for example TORCH="torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu"
.venv/runtime: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet $(TORCH)
	$(BIN)/pip install --quiet -r requirements.lock
	$(BIN)/pip install --quiet --no-deps -e .
	touch $@

.venv/development: .venv/runtime requirements-dev.lock
	$(BIN)/pip install --quiet -r requirements-dev.lock
	touch $@

# Write both lock files anew from the ranges in pyproject.toml.
lock:
	sh scripts/lock.sh "$(PYTHON)" "$(TORCH)"

clean:
	rm -rf .venv runs site .pytest_cache .mypy_cache .ruff_cache .hypothesis
