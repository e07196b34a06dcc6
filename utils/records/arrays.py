"""The arrays next to a record, NAME.npz: what the report's figures draw, checked against the record."""

import hashlib
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from utils.files import sha256_file, write_atomically
from utils.records.schema import Artifact, Record, RecordError, require
from utils.records.thumbnails import read_thumbnails

MAX_ARRAY_BYTES = 200_000_000  # all arrays of a record together, unpacked


class ArraySpec(NamedTuple):
    """One array of a record: its type, its dimensions, what it holds, and for class and image numbers their limit.

    dims: sizes or their names.  N, H, W, C and classes are the record's; the other names stand for any size, the same
    in all arrays of a record.  below: every entry is in [0, below).
    """

    dtype: str
    dims: tuple[str | int, ...]
    meaning: str
    below: str = ""


# N test images, M of them on the maps, K of them reconstructed, P pairs of them interpolated in S steps, Q of them
# shown with their k nearest training images; A principal axes of the test latents, decoded at T steps
ARRAYS = {
    "test_labels": ArraySpec("uint16", ("N",), "true class of each test image, in the data set's order", "classes"),
    "test_predictions": ArraySpec("uint16", ("N",), "class that the headline classifier predicts for it", "classes"),
    "test_confidence": ArraySpec("float16", ("N",), "probability that it gives to that class"),
    "map_index": ArraySpec("int32", ("M",), "the test images on the 2-D maps", "N"),
    "map_points": ArraySpec("float32", ("M", 2), "their t-SNE coordinates, computed from the latents"),
    "map_pca": ArraySpec("float32", ("M", 2), "their first two principal components, computed from the latents"),
    "pixel_tsne": ArraySpec("float32", ("M", 2), "their t-SNE coordinates, computed from the raw pixels"),
    "pixel_pca": ArraySpec("float32", ("M", 2), "their first two principal components, computed from the raw pixels"),
    "map_neighbours": ArraySpec("uint16", ("M", "L"), "for each image on the maps, the positions in map_index of the "
                                "images nearest to it by cosine of the latents, nearest first", "M"),
    "map_images": ArraySpec("uint8", ("M", "H", "W", "C"), "those images; stored in the artifact thumbnails"),
    "reconstruction_index": ArraySpec("int32", ("K",), "the test images that are reconstructed: a third of them are "
                                      "the best by error, a third the median and a third the worst", "N"),
    "reconstruction_inputs": ArraySpec("uint8", ("K", "H", "W", "C"), "those images"),
    "reconstruction_outputs": ArraySpec("uint8", ("K", "H", "W", "C"), "the decoder's output for them"),
    "reconstruction_error": ArraySpec("float32", ("K",), "their mean absolute errors, in rising order"),
    "interpolation_index": ArraySpec("int32", ("P", 2), "pairs of test images; in the first half both are of one "
                                     "class, in the second of two", "N"),
    "interpolation_images": ArraySpec("uint8", ("P", "S", "H", "W", "C"), "decoded at even steps from one latent to "
                                      "the other"),
    "neighbour_index": ArraySpec("int32", ("Q",), "some test images, the same in every run", "N"),
    "neighbour_inputs": ArraySpec("uint8", ("Q", "H", "W", "C"), "those images"),
    "neighbour_images": ArraySpec("uint8", ("Q", "k", "H", "W", "C"), "their nearest training images by cosine of the "
                                  "latents"),
    "neighbour_labels": ArraySpec("uint16", ("Q", "k"), "the classes of those training images", "classes"),
    "neighbour_cosine": ArraySpec("float32", ("Q", "k"), "the cosines, in falling order"),
    "neighbour_outputs": ArraySpec("uint8", ("Q", "H", "W", "C"), "the decoder's output for neighbour_inputs, to "
                                   "compare runs"),
    "principal_share": ArraySpec("float32", ("A",), "share of the test latents' variance along their first principal "
                                 "axes"),
    "principal_steps": ArraySpec("float32", ("T",), "distances from the mean latent in standard deviations, rising"),
    "traversal_images": ArraySpec("uint8", ("A", "T", "H", "W", "C"), "decoded at those distances along each axis"),
    "plane_images": ArraySpec("uint8", ("T", "T", "H", "W", "C"), "decoded on the plane of the first two axes: the "
                              "second axis falls from row to row, the first rises from left to right"),
}
REQUIRED_ARRAYS = ("test_labels", "test_predictions", "map_index", "map_points", "map_pca", "pixel_tsne", "pixel_pca",
                   "map_neighbours", "neighbour_index", "neighbour_inputs", "neighbour_images", "neighbour_labels",
                   "neighbour_cosine")
# Arrays that a figure needs together.  A record may lack any of them: without a decoder there are no reconstructions,
# a test set of one image per class has no pairs, and the report leaves out what a record does not have.
ARRAY_GROUPS = (("reconstruction_index", "reconstruction_inputs", "reconstruction_outputs", "reconstruction_error"),
                ("interpolation_index", "interpolation_images"),
                ("principal_share", "principal_steps", "traversal_images", "plane_images"))


def read_arrays(record: Record, folder: Path) -> dict[str, np.ndarray]:
    """Arrays of a record (ARRAYS), checked against its digest and its counts.  Raises RecordError."""
    artifact, sheet = record.artifacts["arrays"], record.artifacts.get("thumbnails")
    path = folder / artifact.name
    try:
        require(path.is_file() or not path.exists(), "is no regular file")
        require(sha256_file(path) == artifact.sha256, "its SHA-256 is not the one in the record")
        arrays = _unpack(path)
        _check_arrays(record, arrays)
    except OSError as error:
        raise RecordError(f"{path.name}: {error.strerror or 'cannot be read'}") from None
    except ValueError as error:
        raise RecordError(f"{path.name}: {error}") from None
    if sheet and (folder / sheet.name).exists():  # a record without its sheet is still a record
        arrays["map_images"] = read_thumbnails(folder / sheet.name, sheet.sha256, len(arrays["map_index"]),
                                               record.data.image_shape)
    return arrays


def _unpack(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz.  Raises OSError and, for whatever else is wrong with the file, ValueError."""
    try:
        with zipfile.ZipFile(path) as archive:  # before anything is unpacked: a few bytes can grow to gigabytes
            size = sum(entry.file_size for entry in archive.infolist())
        require(size <= MAX_ARRAY_BYTES, f"its arrays take more than {MAX_ARRAY_BYTES} bytes")
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        # numpy returns other members as bytes
        require(all(isinstance(array, np.ndarray) for array in arrays.values()), "a member is no array")
        return arrays
    except OSError:
        raise
    except Exception as error:  # numpy and zipfile raise a dozen kinds on a malformed file, zlib.error among them
        raise ValueError(f"not an array file: {' '.join(str(error).split())}") from None


def labels_digest(labels: np.ndarray, classes: int) -> str:
    """SHA-256 of (N,) labels in the smallest unsigned type that holds them, as in data.sha256."""
    return hashlib.sha256(labels.astype(np.min_scalar_type(classes - 1)).tobytes()).hexdigest()


def _check_arrays(record: Record, arrays: dict[str, np.ndarray]) -> None:
    """ValueError unless every array is as in ARRAYS and the predictions give the record's confusion matrix."""
    for name in arrays:
        require(name in ARRAYS, f"unknown array {name!r}")
    for name in REQUIRED_ARRAYS:
        require(name in arrays, f"no array {name!r}")
    for group in ARRAY_GROUPS:
        require(len(set(group) & set(arrays)) in (0, len(group)), f"{', '.join(group)} come together or not at all")
    channels, height, width = record.data.image_shape
    classes = len(record.data.classes)
    sizes = {"N": record.data.size("test"), "H": height, "W": width, "C": channels, "classes": classes}
    for name, spec in ARRAYS.items():
        if name in arrays:
            _check_array(name, arrays[name], spec, sizes)
    shown = arrays["map_index"]
    require(np.abs(arrays["neighbour_cosine"]).max(initial=0) <= 1.001, "neighbour_cosine is not within [-1, 1]")
    confidence = arrays.get("test_confidence", np.ones(1))
    require(0 <= confidence.min() <= confidence.max() <= 1, "test_confidence is not within [0, 1]")
    require(len(np.unique(shown)) == len(shown), "map_index names an image twice")
    labels = arrays["test_labels"]
    require(record.run.status != "complete" or labels_digest(labels, classes) == record.data.sha256["test_labels"],
            "test_labels are not those of the record's data.sha256")
    counts = np.zeros((classes, classes), np.int64)
    np.add.at(counts, (labels, arrays["test_predictions"]), 1)
    require(record.confusion is not None and counts.tolist() == record.confusion.counts,
            "the predictions do not count up to the record's confusion matrix")


def _check_array(name: str, array: np.ndarray, spec: ArraySpec, sizes: dict[str, int]) -> None:
    """ValueError unless the array is as specified.  sizes: of the names in dims; gains those that occur first here."""
    require(array.dtype.name == spec.dtype and array.ndim == len(spec.dims),
            f"{name} is {array.ndim}-d {array.dtype.name}, expected {len(spec.dims)}-d {spec.dtype}")
    expected = tuple(sizes.setdefault(dim, size) if isinstance(dim, str) else dim
                     for dim, size in zip(spec.dims, array.shape, strict=True))
    require(array.shape == expected, f"{name} is {array.shape}, expected {expected}")
    if spec.below and array.size:
        limit = sizes[spec.below]
        require(0 <= array.min() <= array.max() < limit, f"{name} has an entry that is not in [0, {limit})")
    require(bool(np.isfinite(array).all()), f"{name} is not finite")


def write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> Artifact:
    """Write an .npz of ARRAYS and return its name and digest."""
    write_atomically(path, lambda file: np.savez_compressed(file, **arrays))  # type: ignore[arg-type]  # stub: a bool
    return Artifact(name=path.name, sha256=sha256_file(path))
