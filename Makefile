# Every target sets up what it needs: a virtual environment in .venv, and (tests) a second simulator and a browser in .tools.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
SETUP := $(VENV)/.installed
TEST_SETUP := $(VENV)/.test-installed

.PHONY: demo report test quick lint bench clean

demo: $(SETUP)  ## the main job on embedded data, from nothing to the final table
	$(BIN)/bitting demo

report: $(SETUP)  ## every lock before every attacker, the report on it, and the tables of docs/locks.md; goes on if interrupted
	$(BIN)/bitting attack matrix --data digits --suite digits -o out/attacks
	for suffix in html md json; do $(BIN)/bitting report out/attacks -o out/report.$$suffix > out/report.log || exit 1; done
	$(BIN)/python scripts/locks_page.py out/attacks attacks

test: $(TEST_SETUP) icarus chromium  ## everything CI checks about behaviour
	$(BIN)/pytest -n 2 --dist loadscope --no-loadscope-reorder --durations=25 -m "not thorough"

quick: $(TEST_SETUP) icarus chromium  ## the tests that do not take minutes
	$(BIN)/pytest -n 2 --dist loadscope --no-loadscope-reorder -m "not slow and not thorough"

lint: $(TEST_SETUP)  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --num-workers 2

bench: $(TEST_SETUP)  ## measure; appends to out/bench.json (to docs/history: scripts/bench.py --record)
	$(BIN)/python scripts/bench.py

.PHONY: icarus
icarus:
	scripts/get_icarus.sh

.PHONY: chromium
chromium:
	scripts/get_chromium.sh

# constraints.txt names the versions this was tested with; a newer torch would pull gigabytes of CUDA.
$(SETUP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[sim,train,plot]"
	touch $@

$(TEST_SETUP): $(SETUP)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[test]"
	touch $@

clean:
	rm -rf $(VENV) .tools out build *.egg-info
