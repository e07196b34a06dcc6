"""Score every record's checkpoint again and compare the result with what the record claims, image by image."""

from functools import cache
from pathlib import Path

import numpy as np

from evaluation.rescore import load_device_data, predict_again
from report.load import Loaded
from report.summary import with_status
from report.verification import Verdict, verdict_in_words
from utils.errors import RunError
from utils.images.datasets import DATASETS
from utils.images.on_device import DeviceData


def verify_and_print(loaded: list[Loaded], folder: Path, data_dir: Path) -> list[tuple[Loaded, Verdict]]:
    """The verdict on every complete run, one printed line each.  A bad checkpoint is a verdict.

    folder: of the records; data_dir: of the data sets.  One that cannot be obtained, offline perhaps, is tried once.
    """
    @cache
    def load_images(dataset: str) -> DeviceData | RunError:
        try:
            return load_device_data(dataset, data_dir)
        except RunError as error:
            return error

    verdicts = []
    for run in with_status(loaded, "complete"):
        correct, n, dataset = run.record.headline.correct, run.record.headline.n, run.record.run.dataset
        assert correct is not None and n is not None  # of a complete run's headline
        verdict = Verdict(correct, n, reason="its images are a folder that is not available here")
        if dataset in DATASETS:
            data = load_images(dataset)
            try:
                if isinstance(data, RunError):
                    raise data
                predicted = predict_again(folder / run.name, data)
                verdict = Verdict(correct, n, int(np.sum(predicted == data.test_labels.cpu().numpy())),
                                  int(np.sum(predicted != run.arrays["test_predictions"])))
            except RunError as error:
                verdict = Verdict(correct, n, reason=" ".join(str(error).split()))
        print(f"{run.name}: {verdict_in_words(verdict)}", flush=True)
        verdicts.append((run, verdict))
    return verdicts
