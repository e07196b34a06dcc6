"""Grading needs Unix; everything else must import without Unix's modules."""

import subprocess
import sys

from tests.grading.helpers import ROOT

ROOMS = ("training", "evaluation", "models", "utils", "report", "theory", "grading", "benchmarks")
BLOCKED = ("resource", "fcntl", "pwd", "grp", "termios")
CODE = f"""
import os, sys
for name in {BLOCKED}:
    sys.modules[name] = None
if hasattr(os, "fork"):
    del os.fork
import importlib
for name in sys.argv[1:]:
    importlib.import_module(name)
import _report_evaluation
from utils.command_line import exit_code
sys.exit(exit_code(lambda: _report_evaluation.main(["grade", "x", "--rubric", "r", "--out", "o"]), ""))
"""


def test_without_unix_modules_everything_imports_and_grading_says_in_one_line_what_it_needs() -> None:
    files = [path for room in ROOMS for path in (ROOT / room).rglob("*.py") if path.name != "__init__.py"]
    modules = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in sorted(files)]
    modules.remove("grading.child")
    assert len(modules) > 60
    done = subprocess.run([sys.executable, "-c", CODE, "_main", *modules], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert done.stderr.count("\n") == 1 and "grading needs Unix" in done.stderr
