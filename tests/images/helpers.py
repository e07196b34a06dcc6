"""Shared by the tests of utils/images: digests, what is left in a folder, ways to damage a file."""

import hashlib
import os
from pathlib import Path

from utils.images.splits import PARTS, Arrays


def sha256_of(arrays: Arrays) -> dict[str, str]:
    return {part: hashlib.sha256(arrays[part].tobytes()).hexdigest() for part in PARTS}


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def empty(path: Path) -> None:
    path.write_bytes(b"")


class Trap:
    """Unpickling it creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)
