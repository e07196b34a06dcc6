# make report   train every task on the embedded digits, write report.html, report.pdf and playground.html
# make test     the tests
# make check    lint and types
# make faults   tests that kill commands, fill disks, train in several processes and grade a hostile class; some minutes
PYTHON ?= python3
BIN := .venv/bin

.PHONY: report test check faults clean

report: .venv/installed
	$(BIN)/python _main.py --task all --dataset digits
	$(BIN)/python _report_evaluation.py
	$(BIN)/python _report_evaluation.py --playground playground.html --dataset digits

test: .venv/installed-test
	$(BIN)/python -m pytest

check: .venv/installed-test
	$(BIN)/python -m ruff check .
	$(BIN)/python -m mypy

faults: .venv/installed-test
	$(BIN)/python -m pytest tests/faults

.venv/installed: requirements.txt
	@$(PYTHON) utils/__init__.py || { echo 'make PYTHON=/path/to/python3.11 uses another' >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

.venv/installed-test: .venv/installed requirements-test.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-test.txt
	touch $@

clean:
	rm -rf .venv report.html report.pdf playground.html
