"""The sheet of thumbnails."""

from pathlib import Path

import numpy as np
import pytest

from utils.records.schema import RecordError
from utils.records.thumbnails import read_thumbnails, write_thumbnails


@pytest.mark.parametrize("count, shape", [(130, (28, 28, 1)), (7, (8, 8, 1)), (41, (32, 32, 3))])
def test_thumbnails_come_back_and_are_written_once(tmp_path: Path, count: int, shape: tuple[int, int, int]) -> None:
    images = np.random.default_rng(0).integers(0, 256, (count, *shape), dtype=np.uint8)
    if shape[2] == 3:  # smooth, as photographs are
        images[:] = np.linspace(0, 250, count, dtype=np.uint8)[:, None, None, None]
    sheet = write_thumbnails(tmp_path, "some", images)
    assert write_thumbnails(tmp_path, "some", images) == sheet
    assert [path.name for path in tmp_path.iterdir()] == [sheet.name]
    height, width, channels = shape
    back = read_thumbnails(tmp_path / sheet.name, sheet.sha256, count, [channels, height, width])
    assert np.abs(back.astype(int) - images).max() <= (0 if channels == 1 else 12)


def test_a_sheet_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    sheet = write_thumbnails(tmp_path, "some", np.zeros((50, 8, 8, 1), np.uint8))
    path = tmp_path / sheet.name
    with pytest.raises(RecordError, match="not a sheet of 500"):
        read_thumbnails(path, sheet.sha256, 500, [1, 8, 8])
    with pytest.raises(RecordError, match="not a sheet of 50 images of 2 x 8 x 8"):
        read_thumbnails(path, sheet.sha256, 50, [2, 8, 8])
    path.write_bytes(b"no image")
    with pytest.raises(RecordError, match="SHA-256"):
        read_thumbnails(path, sheet.sha256, 50, [1, 8, 8])
