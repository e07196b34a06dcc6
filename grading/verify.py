"""Score every record's checkpoint again and set what it gives beside what the record claims, image by image."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np

from evaluation.rescore import predict_again, test_images
from report.load import Loaded
from report.summary import with_status
from report.verification import Verdict, verdict_in_words
from utils.errors import RunError
from utils.images.datasets import DATASETS
from utils.images.on_device import DeviceData


def verify(loaded: list[Loaded], folder: Path, data_dir: Path) -> Iterator[tuple[Loaded, Verdict]]:
    """The verdict of every complete run.  One bad checkpoint stops nothing.  RunError where a data set is missing.

    folder: where the records lie; data_dir: where the data sets do.
    """
    @cache
    def images_of(dataset: str) -> DeviceData:
        return test_images(dataset, data_dir)

    for run in with_status(loaded, "complete"):
        claim, dataset = run.record.headline, run.record.run.dataset
        if dataset not in DATASETS:
            yield run, Verdict(claim.correct, claim.n, reason="its images are a folder that is not here")
            continue
        data = images_of(dataset)
        try:
            predicted = predict_again(folder / run.name, data)
        except RunError as error:
            yield run, Verdict(claim.correct, claim.n, reason=str(error))
            continue
        labels, told = data.test_labels.cpu().numpy(), run.arrays["test_predictions"]
        yield run, Verdict(claim.correct, claim.n, int(np.sum(predicted == labels)), int(np.sum(predicted != told)))


def verify_aloud(loaded: list[Loaded], folder: Path, data_dir: Path) -> list[tuple[Loaded, Verdict]]:
    """The same, with a printed line for each."""
    verdicts = []
    for run, verdict in verify(loaded, folder, data_dir):
        print(f"{run.name}: {verdict_in_words(verdict)}", flush=True)
        verdicts.append((run, verdict))
    return verdicts
