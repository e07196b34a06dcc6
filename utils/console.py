"""What a command says: lines on stderr, durations in words, the project's version."""

import datetime
import sys
import tomllib
from pathlib import Path


def say(text: str) -> None:
    """Print one line on stderr, at once."""
    print(text, file=sys.stderr, flush=True)


def in_words(seconds: float) -> str:
    """12 s, 3.4 min, 1.2 h."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 6000:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:.1f} h"


def utc_now() -> str:
    """The time as records have it: UTC, to the second."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def project_version() -> str:
    """The version that pyproject.toml states."""
    project = Path(__file__).resolve().parents[1] / "pyproject.toml"
    return tomllib.loads(project.read_text(encoding="utf-8"))["project"]["version"]
