"""Two test processes with one thread each: on two cores, two processes with two threads wait for each other."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported, and for the processes that tests start

import json
from pathlib import Path
from unittest.mock import patch

import pytest

from tests.factory import HONEST


@pytest.fixture(scope="session")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three short runs on the digits (HONEST), with their checkpoints, under the names of the default recipes."""
    import _main
    from evaluation import figure_arrays, scores

    folder = tmp_path_factory.mktemp("honest")
    with (patch.object(figure_arrays, "tsne", figure_arrays.first_components),
          patch.object(scores, "CLASSIFIER_EPOCHS", 4),patch.object(scores, "CLASSIFIER_STEPS", 50)):
        for task in HONEST:
            _main.main(["--task", task, "--epochs", "2", "--dataset", "digits", "--results-dir", str(folder)])
    for path in list(folder.glob("*.json")):
        stem = path.stem.rsplit("_", 1)[0]  # without the recipe's hash
        record = json.loads(path.read_text())
        for artifact in record["artifacts"].values():
            artifact["name"] = artifact["name"].replace(path.stem, stem)
        path.unlink()
        (folder / f"{stem}.json").write_text(json.dumps(record))
        for suffix in (".npz", ".safetensors"):
            path.with_suffix(suffix).rename(folder / f"{stem}{suffix}")
    return folder
