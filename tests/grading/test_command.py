"""Grading needs Unix; everything else must import without Unix's modules."""

import importlib
import os
import sys
from collections.abc import Iterator
from types import ModuleType

import pytest

from tests.grading.helpers import ROOT

ROOMS = ("training", "evaluation", "models", "utils", "report", "theory", "playground", "grading", "benchmarks")
SCRIPTS = ("_main", "_report_evaluation", "_theory")
BLOCKED = ("resource", "fcntl", "pwd", "grp", "termios")


def unload() -> dict[str, ModuleType]:
    """Forget the project's modules, so that they are imported again; returns them."""
    return {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[0] in (*ROOMS, *SCRIPTS)}


@pytest.fixture
def without_unix(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No module of the project is loaded, and those of Unix are missing; afterwards all is as it was."""
    for name in BLOCKED:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delattr(os, "fork", raising=False)
    before = unload()
    yield
    unload()
    sys.modules.update(before)


@pytest.mark.usefixtures("without_unix")
def test_without_unix_modules_everything_imports_and_grading_says_in_one_line_what_it_needs(
        capsys: pytest.CaptureFixture[str]) -> None:
    files = [path for room in ROOMS for path in (ROOT / room).rglob("*.py") if path.name != "__init__.py"]
    modules = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in sorted(files)]
    modules.remove("grading.child")
    assert len(modules) > 60
    for name in (*modules, *SCRIPTS):
        importlib.import_module(name)
    main = sys.modules["_report_evaluation"].main
    code = sys.modules["utils.command_line"].exit_code(lambda: main(["grade", "x", "--rubric", "r", "--out", "o"]), "")
    err = capsys.readouterr().err
    assert (code, err.count("\n")) == (1, 1) and "grading needs Unix" in err
