"""Read a folder of result records.  Files that are not valid records are set aside with the reason."""

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

THEORY = "theory.json"  # at the top of the results folder: the theory's experiments, not a record
LONGEST_REASON = 300  # characters; a reason may quote a hostile file


@dataclass(frozen=True)
class Loaded:
    name: str  # path below the results folder, with /
    sha256: str  # of the JSON file
    record: Record
    arrays: dict[str, np.ndarray]  # utils.records.arrays.ARRAYS; empty in a failed run


@dataclass(frozen=True)
class Rejected:
    """A file that is not a valid record.  Both texts may be shown as they are."""

    name: str
    reason: str


def load_results(folder: Path) -> tuple[list[Loaded], list[Rejected]]:
    """All records below a folder, sorted by name, and what was rejected.  RunError when the folder does not exist."""
    if not folder.is_dir():
        raise RunError(f"{folder}: no such folder; --results-dir names the one with the records")
    loaded, rejected = [], []
    found = [path for path in folder.rglob("*.json") if not path.is_dir() and path != folder / THEORY
             and not path.name.startswith("._")]  # which macOS adds
    for path in sorted(path for path in found if path.parent.suffix != UNFINISHED):
        name = path.relative_to(folder).as_posix()
        try:
            record = read_record(path)
            check_known(record, path.name)
            arrays = {} if record.run.status == "failed" else read_arrays(record, path.parent)
            loaded.append(Loaded(name, sha256_file(path), record, arrays))
        except RecordError as error:
            rejected.append(Rejected(plain(name), shorten(plain(str(error)), LONGEST_REASON)))
    return loaded, rejected


def check_known(record: Record, name: str) -> None:
    """RecordError unless the record's data set is a folder, or a known one with its own images, shape and classes."""
    dataset, data = record.run.dataset, record.data
    known = DATASETS.get(dataset)
    if known is None:
        if not dataset.startswith("folder-"):
            raise RecordError(f"{name}: run.dataset is {dataset!r}, which is not a data set of this project")
        return
    for field, expected in (("sha256", known.sha256), ("image_shape", list(known.image_shape)),
                            ("classes", list(known.classes)), ("split_seed", SPLIT_SEED)):
        if getattr(data, field) != expected:
            raise RecordError(f"{name}: data.{field} is not that of {dataset}")
