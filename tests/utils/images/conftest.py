"""A small data set with fake sources, and a small folder of images."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.utils.images.samples import Answers, sha256_of, tiny_arrays, write_images
from utils.images import chunks
from utils.images.datasets import DATASETS, DatasetSpec


class ThisProcess:
    """A pool that does each task at once, in this process."""

    def schedule(self, function: Callable[..., Any], args: tuple, timeout: float) -> Future:
        task: Future = Future()
        task.set_result(function(*args))
        return task


@pytest.fixture
def decoded_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without other processes, whose start takes half a second; test_chunks.py looks at them."""
    @contextmanager
    def pool(workers: int) -> Iterator[ThisProcess]:
        yield ThisProcess()
    monkeypatch.setattr(chunks, "_pool", pool)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def install(*answers: Answers) -> None:
        spec = DatasetSpec(
            title="Tiny", image_shape=(1, 2, 3), classes=("a", "b", "c"), recipe_family="mnist",
            sha256=sha256_of(tiny_arrays()), sources=tuple(answer.source for answer in answers),
            by_hand="put tiny.bin into {data_dir}.")
        monkeypatch.setitem(DATASETS, "tiny", spec)
    return install


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """Twenty cats with red 200 and ten dogs with red 100; green is the image's number."""
    write_images(tmp_path / "my pets" / "dog", 10, 100)
    write_images(tmp_path / "my pets" / "cat", 20, 200)
    return tmp_path / "my pets"
