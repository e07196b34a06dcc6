"""Read a folder of result records.  What cannot be believed is set aside with its reason and stops nothing else."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from report.show import plain, shorten
from utils.errors import RunError
from utils.files import sha256_file
from utils.images.datasets import DATASETS
from utils.images.splits import SPLIT_SEED
from utils.records.arrays import read_arrays
from utils.records.schema import UNFINISHED, Record, RecordError, read_record

THEORY = "theory.json"  # at the top of the results folder: the theory's experiments, no record
LONGEST_REASON = 300  # characters; a reason may quote a hostile file


@dataclass(frozen=True)
class Loaded:
    """A record that was believed."""

    name: str  # path below the results folder, with /
    sha256: str  # of the JSON file
    record: Record
    arrays: dict[str, np.ndarray]  # utils.records.arrays.ARRAYS; empty in a failed run


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
    found = [path for path in folder.rglob("*.json") if not path.is_dir() and path != folder / THEORY]
    for path in sorted(path for path in found if path.parent.suffix != UNFINISHED):
        name = path.relative_to(folder).as_posix()
        try:
            loaded.append(_load_one(path, name))
        except RecordError as error:
            rejected.append(Rejected(plain(name), shorten(plain(str(error)), LONGEST_REASON)))
    return loaded, rejected


def _load_one(path: Path, name: str) -> Loaded:
    record = read_record(path)
    check_known(record, path.name)
    arrays = {} if record.run.status == "failed" else read_arrays(record, path.parent)
    return Loaded(name, sha256_file(path), record, arrays)


def check_known(record: Record, name: str) -> None:
    """RecordError unless the record's data set is a folder, or a known one with its own images, shape and classes."""
    dataset, data = record.run.dataset, record.data
    known = DATASETS.get(dataset)
    if known is None:
        if not dataset.startswith("folder-"):
            raise RecordError(f"{name}: run.dataset is {dataset!r}, which is no data set of this project")
        return
    for field, expected in (("sha256", known.sha256), ("image_shape", list(known.image_shape)),
                            ("classes", list(known.classes)), ("split_seed", SPLIT_SEED)):
        if getattr(data, field) != expected:
            raise RecordError(f"{name}: data.{field} is not that of {dataset}")
