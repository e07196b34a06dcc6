"""The arrays of a record: read back as written; arrays that do not fit their record are refused."""

import re
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tests.factory import edit, make_record
from utils.files import sha256_file
from utils.records.arrays import ARRAY_GROUPS, ARRAYS, REQUIRED_ARRAYS, read_arrays
from utils.records.schema import RecordError, read_record


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_record(tmp_path_factory.mktemp("original"), "1.2.1", "mnist", "plain", accuracy=0.9, n=200,
                       reconstructions=3, name="run")


@pytest.fixture
def path(original: Path, tmp_path: Path) -> Path:
    """A copy of a valid record and its arrays, to be spoilt."""
    for suffix in (".json", ".npz"):
        shutil.copy(original.with_suffix(suffix), tmp_path)
    return tmp_path / original.name


def test_arrays_are_read_back(path: Path) -> None:
    record = read_record(path)
    arrays = read_arrays(record, path.parent)
    assert set(arrays) == set(ARRAYS) - {"map_images"}  # the sheet of thumbnails was not copied, and is not missed
    assert (arrays["test_labels"] == arrays["test_predictions"]).sum() == record.headline.correct


@pytest.mark.parametrize("group", ARRAY_GROUPS)
def test_a_record_may_lack_a_whole_group_but_not_a_part_of_it(path: Path, group: tuple[str, ...]) -> None:
    with np.load(path.with_suffix(".npz")) as file:
        arrays = {name: file[name] for name in file.files}
    for names, message in ((group, ""), (group[1:], "come together or not at all")):
        np.savez(path.with_suffix(".npz"), **{name: array for name, array in arrays.items() if name not in names})
        edit(path, "artifacts", "arrays", "sha256", value=sha256_file(path.with_suffix(".npz")))
        if not message:
            assert not set(group) & set(read_arrays(read_record(path), path.parent))
            continue
        with pytest.raises(RecordError, match=message):
            read_arrays(read_record(path), path.parent)


@pytest.mark.parametrize("name", REQUIRED_ARRAYS)
def test_a_required_array_must_be_there(path: Path, name: str) -> None:
    with np.load(path.with_suffix(".npz")) as file:
        np.savez(path.with_suffix(".npz"), **{key: file[key] for key in file.files if key != name})
    edit(path, "artifacts", "arrays", "sha256", value=sha256_file(path.with_suffix(".npz")))
    with pytest.raises(RecordError, match=f"no array '{name}'"):
        read_arrays(read_record(path), path.parent)


def test_a_changed_sheet_of_thumbnails_is_refused(original: Path, path: Path) -> None:
    record = read_record(path)
    sheet = path.parent / record.artifacts["thumbnails"].name
    shutil.copy(original.parent / sheet.name, sheet)
    assert read_arrays(record, path.parent)["map_images"].shape == (200, 28, 28, 1)
    sheet.write_bytes(sheet.read_bytes() + b" ")
    with pytest.raises(RecordError, match="SHA-256"):
        read_arrays(record, path.parent)


def test_test_labels_must_be_those_of_the_digest(path: Path) -> None:
    edit(path, "data", "sha256", "test_labels", value="0" * 64)
    with pytest.raises(RecordError, match="test_labels"):
        read_arrays(read_record(path), path.parent)


def test_a_member_that_is_no_array_is_refused(path: Path) -> None:
    with zipfile.ZipFile(path.with_suffix(".npz"), "w") as archive:
        archive.writestr("test_labels.npy", b"garbage")
    edit(path, "artifacts", "arrays", "sha256", value=sha256_file(path.with_suffix(".npz")))
    with pytest.raises(RecordError, match="no array"):
        read_arrays(read_record(path), path.parent)


def spoil(path: Path, **changes: np.ndarray) -> Path:
    """Change arrays and put the new digest into the record, as a careful forger would."""
    with np.load(path.with_suffix(".npz")) as file:
        arrays = {name: file[name] for name in file.files} | changes
    np.savez(path.with_suffix(".npz"), **arrays)
    return edit(path, "artifacts", "arrays", "sha256", value=sha256_file(path.with_suffix(".npz")))


def test_altered_bytes_of_the_arrays_are_refused(path: Path) -> None:
    data = bytearray(path.with_suffix(".npz").read_bytes())
    data[len(data) // 2] ^= 1
    path.with_suffix(".npz").write_bytes(data)
    with pytest.raises(RecordError, match=r"run\.npz: its SHA-256"):
        read_arrays(read_record(path), path.parent)


ARRAY_EDITS = {  # name -> (changed arrays, part of the message)
    "predictions that do not count up": ({"test_predictions": np.zeros(200, np.uint16)}, "do not count up"),
    "labels cut short": ({"test_labels": np.zeros(3, np.uint16)}, "test_labels is (3,), expected (200,)"),
    "class too high": ({"test_labels": np.full(200, 10, np.uint16)}, "an entry that is not in [0, 10)"),
    "other type": ({"test_labels": np.zeros(200, np.int64)}, "test_labels is 1-d int64"),
    "unknown array": ({"weights": np.zeros(1)}, "unknown array 'weights'"),
    "map not finite": ({"map_points": np.full((200, 2), np.nan, np.float32)}, "not finite"),
    "map of other length": ({"map_points": np.zeros((1, 2), np.float32)}, "map_points is (1, 2)"),
    "index outside": ({"map_index": np.full(200, 200, np.int32)}, "map_index has an entry"),
    "negative index": ({"reconstruction_index": np.full(3, -1, np.int32)}, "reconstruction_index has an entry"),
    "neighbour beyond the map": ({"map_neighbours": np.full((200, 5), 200, np.uint16)}, "is not in [0, 200)"),
    "image twice on the map": ({"map_index": np.zeros(200, np.int32)}, "names an image twice"),
    "cosine above 1": ({"neighbour_cosine": np.full((6, 4), 2, np.float32)}, "not within [-1, 1]"),
    "other number of neighbours": ({"neighbour_labels": np.zeros((6, 3), np.uint16)},
                                   "neighbour_labels is (6, 3), expected (6, 4)"),
    "no coordinates": ({"map_points": np.zeros((200, 3), np.float32)}, "map_points is (200, 3), expected (200, 2)"),
    "images of other size": ({"reconstruction_inputs": np.zeros((3, 9, 9, 1), np.uint8)}, "reconstruction_inputs is"),
    "confidence above 1": ({"test_confidence": np.full(200, 1.5, np.float16)}, "test_confidence is not within [0, 1]"),
    "plane of other steps": ({"plane_images": np.zeros((4, 4, 28, 28, 1), np.uint8)}, "plane_images is (4, 4"),
    "pickled objects": ({"test_labels": np.array([{}] * 200)}, "pickle"),
}


@pytest.mark.parametrize("name", ARRAY_EDITS)
def test_arrays_that_do_not_fit_are_refused(path: Path, name: str) -> None:
    changes, message = ARRAY_EDITS[name]
    spoil(path, **changes)
    with pytest.raises(RecordError, match=re.escape(message)) as caught:
        read_arrays(read_record(path), path.parent)
    assert str(caught.value).startswith("run.npz: ")


def test_a_file_that_is_no_archive_is_refused_in_one_line(path: Path) -> None:
    for data in (b"", b"PK\x03\x04 and then nothing", b"\x93NUMPY\x01\x00v\x00{'descr': '<f4'"):
        path.with_suffix(".npz").write_bytes(data)
        edit(path, "artifacts", "arrays", "sha256", value=sha256_file(path.with_suffix(".npz")))
        with pytest.raises(RecordError, match=r"^run\.npz: not an array file"):
            read_arrays(read_record(path), path.parent)


def test_an_archive_that_grows_too_large_is_refused_before_it_is_unpacked(path: Path,
                                                                          monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("utils.records.arrays.MAX_ARRAY_BYTES", 100)
    monkeypatch.setattr("numpy.load", lambda *args, **kwargs: pytest.fail("it was unpacked"))
    with pytest.raises(RecordError, match="more than 100 bytes"):
        read_arrays(read_record(path), path.parent)
