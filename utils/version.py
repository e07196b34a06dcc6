"""Which code is running: the project's version and the commit.  Imports no torch, as --version needs this file."""

import os
import subprocess
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def project_version() -> str:
    """The version in pyproject.toml; "unknown" where the file was not copied along with the code."""
    try:
        return str(tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"])
    except FileNotFoundError:
        return "unknown"


def commit_of(folder: Path = ROOT) -> tuple[str, bool | None]:
    """The code's commit, and whether tracked files differ from it; ("unknown", None) outside git."""
    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True,
                              env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"}).stdout.strip()
    try:
        return git("rev-parse", "HEAD"), bool(git("status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.CalledProcessError):
        return "unknown", None
