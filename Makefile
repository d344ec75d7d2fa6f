PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
DEVELOPED := $(VENV)/.developed
BENCHED := $(VENV)-bench/.benched
FLOOR_TESTS := $(addprefix tests/test_,$(addsuffix .py,account_files bodies cleanup cli client decoding demo \
	dlt_settings frames frames_of_places history history_frames pushdown report retries scan schema source sync tables usage))
BENCH = $(VENV)-bench/bin/python -m tests.benchmarks.runner

.PHONY: help demo test lint format unit coverage floors readme model faults crash engines fuzz queries bench bench-small audit wheel pythons clean report-check

help: ## Show what can be made
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

demo: $(INSTALLED) ## Load a made-up account into demo.duckdb, change it, load it again
	@$(BIN)/files-source demo

test: lint unit wheel ## Run every check: lint, types, layers, tests, README, wheel

lint: $(DEVELOPED) ## Check style, types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: $(DEVELOPED) ## Put the code into its form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

unit: $(DEVELOPED) ## Run the tests
	$(BIN)/python -m pytest -n auto --dist worksteal

coverage: $(DEVELOPED) ## Run the tests with branch coverage, which takes twice the time
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -n auto --dist worksteal
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

readme: $(DEVELOPED) ## Write the parts of the README that are made from the program, and its picture
	$(BIN)/python -m tests.readme
	$(BIN)/python -m tests.picture
	$(BIN)/python -m tests.chart_pictures

report-check: $(DEVELOPED) ## Open reports in Chromium, at widths from phone to desktop, light and dark
	$(BIN)/python -m tests.report_check

model: $(DEVELOPED) ## Try more than 5,000 steps of what may happen against a model; takes half an hour
	MODEL_STEPS=1300 MODEL_SEEDS=4 MODEL_SEED=$${MODEL_SEED:-1} $(BIN)/python -m pytest -s -n auto tests/test_model.py

faults: $(DEVELOPED) ## Try every fault at every place of a listing, in every kind of run
	FAULT_MATRIX=full $(BIN)/python -m pytest -n auto tests/test_faults.py

fuzz: $(DEVELOPED) ## Decode 100,000 mutated pages and more
	FUZZ_EXAMPLES=20000 HYPOTHESIS_PROFILE=search $(BIN)/python -m pytest -n auto --timeout=3600 tests/test_fuzz.py

queries: $(DEVELOPED) ## Try 3,000 queries of lazy frames against the whole frame
	QUERY_EXAMPLES=1000 HYPOTHESIS_PROFILE=search $(BIN)/python -m pytest -n auto --timeout=3600 tests/test_queries.py

engines: $(DEVELOPED) ## Load into MariaDB too, besides DuckDB, SQLite and PostgreSQL; needs Debian's mariadb-server
	@command -v mariadbd >/dev/null || { echo "make engines needs MariaDB: apt-get install mariadb-server"; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint .pins.txt pymysql
	ENGINES=mariadb $(BIN)/python -m pytest -n auto tests/test_engines*.py

crash: $(DEVELOPED) ## Kill 100 runs and more at moments spread over all they do, and run again
	CRASH_KILLS=25 $(BIN)/python -m pytest -n auto tests/test_crash.py tests/test_cleanup_stopped.py

bench: $(BENCHED) ## Measure the speed beside the peers, for the README; for a part, PARTS="scan load" SIZES=200000; RESUME=1
	$(BENCH) $(if $(PARTS),--parts $(PARTS)) $(if $(SIZES),--sizes $(SIZES)) $(if $(ROUNDS),--rounds $(ROUNDS)) \
		$(if $(RESUME),--resume)

bench-small: $(BENCHED) ## The same with small accounts and once, in less than two minutes; into .cache/bench-small
	$(BENCH) --small

audit: $(INSTALLED) ## Look for known vulnerabilities in what is installed; asks the network
	test -d $(VENV)-audit || $(PYTHON) -m venv $(VENV)-audit
	$(VENV)-audit/bin/python -m pip install --quiet --disable-pip-version-check "pip-audit>=2.7"
	$(VENV)-audit/bin/pip-audit --skip-editable --path "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"

wheel: $(DEVELOPED) ## Build the wheel, install it into a bare environment and run its demo there
	sh tests/wheel.sh $(PYTHON) $(BIN)/python

pythons: ## Run the tests on each Python that the package supports
	for version in 3.11 3.12 3.13; do \
		$(MAKE) unit PYTHON=python$$version VENV=.venv-$$version || exit 1; \
	done

floors: ## Run the tests of loading, reading and decoding with the lowest versions that pyproject.toml states
	test -d $(VENV)-uv || $(PYTHON) -m venv $(VENV)-uv
	$(VENV)-uv/bin/python -m pip install --quiet --disable-pip-version-check "uv>=0.8"
	test -d $(VENV)-floors || $(PYTHON) -m venv $(VENV)-floors
	$(VENV)-uv/bin/uv pip install --quiet --python $(VENV)-floors/bin/python --resolution lowest-direct \
		--editable . --group test
	$(VENV)-floors/bin/python -m pytest -n auto --dist worksteal $(FLOOR_TESTS)

$(INSTALLED): pyproject.toml .pins.txt
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 to 3.13 is needed; name one: make PYTHON=python3.12" if not (3, 11) <= sys.version_info < (3, 14) else 0)'
	test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint .pins.txt --editable .
	touch $@

$(DEVELOPED): $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint .pins.txt "pip>=25.1"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint .pins.txt --group dev
	touch $@

$(BENCHED): pyproject.toml .pins.txt
	test -d $(VENV)-bench || $(PYTHON) -m venv $(VENV)-bench
	$(VENV)-bench/bin/python -m pip install --quiet --disable-pip-version-check --constraint .pins.txt "pip>=25.1"
	$(VENV)-bench/bin/python -m pip install --quiet --disable-pip-version-check --constraint .pins.txt --editable . --group bench
	touch $@

clean: ## Remove what was made
	rm -rf $(VENV) $(VENV)-audit $(VENV)-bench $(VENV)-floors $(VENV)-uv .venv-3.* dist .coverage* .mypy_cache .pytest_cache .ruff_cache
