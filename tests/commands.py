"""_main.py as a function: what it prints, and how it ends."""

import subprocess
import sys
from pathlib import Path

import pytest

import _main
from utils.command_line import exit_code

ROOT = Path(__file__).parent.parent


def call(capsys: pytest.CaptureFixture, *argv: str) -> tuple[int, list[str], list[str]]:
    """Exit code, lines of stdout, lines of stderr."""
    code = exit_code(lambda: _main.main(list(argv)), "")
    captured = capsys.readouterr()
    return code, captured.out.splitlines(), captured.err.splitlines()


def stdout_without_torch(*argv: str) -> str:
    """What the command prints in a process of its own, which must not import torch."""
    code = f"import sys; sys.argv = {['_main.py', *argv]}\ntry:\n import runpy; runpy.run_path('_main.py', " \
           "run_name='loaded')['main'](sys.argv[1:])\nexcept SystemExit: pass\nassert 'torch' not in sys.modules"
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
