"""What the teacher gives: rubric, manifest, overrides, and the images and labels that submissions are scored on."""

import hashlib
import math
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field, model_validator

from grading.points import Override
from grading.rubric import Rubric, read_rubric
from grading.score import Truth
from grading.strict_yaml import Moment, read_yaml
from utils.errors import UsageError
from utils.images.datasets import load_dataset
from utils.records.schema import Strict


class Submitted(Strict):
    """The manifest's entry for one student: the time of submission, or the number of days late."""

    submitted: Moment | None = None
    days_late: Annotated[int, Field(ge=-36500, le=36500)] | None = None

    @model_validator(mode="after")
    def _check(self) -> "Submitted":
        if (self.submitted is None) == (self.days_late is None):
            raise ValueError("needs either submitted or days_late")
        return self

    def days(self, deadline: datetime | None) -> int:
        """Days late; a day that has begun counts.  UsageError for a time of submission without a deadline."""
        if self.submitted is None:
            return max(0, self.days_late or 0)
        if deadline is None:
            raise UsageError("submitted in the manifest needs a deadline in the rubric")
        return max(0, math.ceil((self.submitted - deadline).total_seconds() / 86400))


@dataclass(frozen=True)
class Assignment:
    """The teacher's files.  days_late, overrides: by student; students who are not named have none."""

    rubric: Rubric
    days_late: dict[str, int]
    overrides: dict[str, list[Override]]


def read_assignment(rubric_file: Path, manifest: Path | None, overrides_file: Path | None,
                    students: list[str]) -> Assignment:
    """Read the teacher's files and check them against each other and the students.  Raises UsageError."""
    rubric = read_rubric(rubric_file)
    submitted = read_yaml(manifest, dict[str, Submitted]) if manifest else {}
    decisions = read_yaml(overrides_file, list[Override]) if overrides_file else []
    for file, names in ((manifest, list(submitted)), (overrides_file, [one.student for one in decisions])):
        for student in names:
            if student not in students:
                raise UsageError(f"{file}: there is no submission of {student}")
    for student in students:
        if manifest and student not in submitted:
            raise UsageError(f"{manifest}: no entry for {student}; {{days_late: 0}} means in time")
    most = {criterion.id: criterion.points for criterion in rubric.criteria}
    overrides: dict[str, list[Override]] = {}
    for one in decisions:
        if one.criterion not in most:
            raise UsageError(f"{overrides_file}: no criterion {one.criterion}; choose from {', '.join(most)}")
        if one.points > most[one.criterion]:
            raise UsageError(f"{overrides_file}: {one.points:g} points for {one.criterion} of {one.student}; "
                             f"the criterion has {most[one.criterion]:g}")
        overrides.setdefault(one.student, []).append(one)
    return Assignment(rubric, {name: one.days(rubric.deadline) for name, one in submitted.items()}, overrides)


def load_truth(rubric: Rubric, data_dir: Path, holdout: Path | None, folder: Path) -> Truth:
    """The rubric's data sets: test images as .npy files in `folder`, labels in memory.  Raises RunError, UsageError."""
    images, labels = {}, {}
    for name in sorted({criterion.dataset for criterion in rubric.criteria if criterion.dataset}):
        dataset = load_dataset(name, data_dir)
        images[name], labels[name] = dataset.test_images, dataset.test_labels
    if holdout:
        for name, hidden in read_holdout(holdout, {name: images[name].shape[1:] for name in images}).items():
            images[f"{name}/holdout"], labels[f"{name}/holdout"] = hidden
    for criterion in rubric.criteria:
        if criterion.metric == "holdout_accuracy" and f"{criterion.dataset}/holdout" not in images:
            raise UsageError(f"criterion {criterion.id} needs hidden images: --holdout FILE with "
                             f"{criterion.dataset}_images and {criterion.dataset}_labels")
    digest, files = hashlib.sha256(), {}
    for name, stack in sorted(images.items()):
        files[name] = folder / f"{name.replace('/', '.')}.npy"
        np.save(files[name], stack)
        digest.update(name.encode() + stack.tobytes() + labels[name].astype("<i8").tobytes())
    return Truth(files, labels, digest.hexdigest())


def read_holdout(path: Path, shapes: dict[str, tuple[int, ...]]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Hidden images and labels from an .npz file: NAME_images (N, H, W, C) uint8, NAME_labels (N,) whole numbers.

    shapes: (H, W, C) of the data sets to look for, by name.  Raises UsageError.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except Exception as error:  # numpy and zipfile raise many kinds
        raise UsageError(f"--holdout {path}: not an .npz file of arrays: {' '.join(str(error).split())}") from None
    found = {}
    for name, shape in shapes.items():
        images, labels = arrays.get(f"{name}_images"), arrays.get(f"{name}_labels")
        if images is None and labels is None:
            continue
        if images is None or labels is None or images.shape[1:] != shape or images.dtype != np.uint8 \
                or labels.shape != (len(images),) or not len(images) or labels.dtype.kind not in "iu":
            raise UsageError(f"--holdout {path}: needs {name}_images (N, {', '.join(map(str, shape))}) uint8 and as "
                             f"many whole numbers in {name}_labels")
        found[name] = images, labels
    if not found:
        raise UsageError(f"--holdout {path}: no images of the rubric's data sets ({', '.join(shapes)})")
    return found
