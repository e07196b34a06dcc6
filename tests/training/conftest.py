"""A few digits for all tests of training/."""

import pytest

from utils.images.datasets import Dataset, load_dataset


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return load_dataset("digits", tmp_path_factory.mktemp("data")).head(train=400, val=80, test=120)
