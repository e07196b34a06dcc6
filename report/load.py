"""Read a folder of result records.  What cannot be believed is set aside with its reason and stops nothing else."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from report.format import plain, shorten
from utils.data import DATASETS
from utils.errors import RunError
from utils.record import Record, RecordError, read_arrays, read_record, sha256_file

LONGEST_REASON = 300  # characters; a reason may quote a hostile file


@dataclass(frozen=True)
class Loaded:
    """A record that was believed."""

    name: str  # path below the results folder, with /
    sha256: str  # of the JSON file
    record: Record
    arrays: dict[str, np.ndarray]  # utils.record.ARRAYS; empty in a failed run


@dataclass(frozen=True)
class Rejected:
    """A file that was not.  Both texts are fit to be shown."""

    name: str
    reason: str


def load_results(folder: Path) -> tuple[list[Loaded], list[Rejected]]:
    """All records below a folder, sorted by name, and what was rejected.  RunError when there is no such folder."""
    if not folder.is_dir():
        raise RunError(f"{folder}: no such folder; --results-dir names the one with the records")
    loaded, rejected = [], []
    for path in sorted(path for path in folder.rglob("*.json") if not path.is_dir()):
        name = path.relative_to(folder).as_posix()
        try:
            loaded.append(_load_one(path, name))
        except RecordError as error:
            rejected.append(Rejected(plain(name), shorten(plain(str(error)), LONGEST_REASON)))
    return loaded, rejected


def _load_one(path: Path, name: str) -> Loaded:
    record = read_record(path)
    known = DATASETS.get(record.run.dataset)
    if known and record.data.sha256 != known.sha256:
        raise RecordError(f"{path.name}: data.sha256 is not that of {record.run.dataset}")
    arrays = {} if record.run.status == "failed" else read_arrays(record, path.parent)
    return Loaded(name, sha256_file(path), record, arrays)
