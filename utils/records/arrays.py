"""The arrays beside a record, NAME.npz: what the report's figures draw, checked against the record."""

import hashlib
import zipfile
from pathlib import Path

import numpy as np

from utils.files import sha256_file, write_atomically
from utils.records.schema import Artifact, Record, RecordError

MAX_ARRAY_BYTES = 200_000_000  # of the arrays together, unpacked


# name -> (dtypes, dimensions, meaning); N test images, M of them on the maps, K of them reconstructed, P pairs of them
# interpolated in S steps, Q of them shown with their k nearest training images
ARRAYS = {
    "test_labels": (("uint16",), 1, "(N,) true class of each test image, in the data set's order"),
    "test_predictions": (("uint16",), 1, "(N,) class that the headline classifier predicts for it"),
    "map_index": (("int32",), 1, "(M,) which test images the 2-D maps show"),
    "map_points": (("float32",), 2, "(M, 2) their t-SNE coordinates, computed from the 128-d latents"),
    "map_pca": (("float32",), 2, "(M, 2) their first two principal components, of the 128-d latents"),
    "pixel_tsne": (("float32",), 2, "(M, 2) their t-SNE coordinates, computed from the raw pixels"),
    "pixel_pca": (("float32",), 2, "(M, 2) their first two principal components, of the raw pixels"),
    "map_neighbours": (("uint16",), 2, "(M, k) of each, the places in map_index of the others nearest by cosine of the "
                                       "latents, nearest first"),
    "map_images": (("uint8",), 4, "(M, H, W, C) those images themselves; kept in the artifact thumbnails"),
    "reconstruction_index": (("int32",), 1, "(K,) which test images are reconstructed: the best, the median and the "
                                            "worst by error, a third each"),
    "reconstruction_inputs": (("uint8",), 4, "(K, H, W, C) those images"),
    "reconstruction_outputs": (("uint8",), 4, "(K, H, W, C) what the decoder returns for them"),
    "reconstruction_error": (("float32",), 1, "(K,) their mean absolute errors, rising"),
    "interpolation_index": (("int32",), 2, "(P, 2) pairs of test images; the first half within a class, the second "
                                           "between classes"),
    "interpolation_images": (("uint8",), 5, "(P, S, H, W, C) decoded at even steps from one latent to the other"),
    "neighbour_index": (("int32",), 1, "(Q,) some test images"),
    "neighbour_inputs": (("uint8",), 4, "(Q, H, W, C) those images"),
    "neighbour_images": (("uint8",), 5, "(Q, k, H, W, C) their nearest training images by cosine of the latents"),
    "neighbour_labels": (("uint16",), 2, "(Q, k) the classes of those"),
    "neighbour_cosine": (("float32",), 2, "(Q, k) the cosines, falling"),
    "neighbour_outputs": (("uint8",), 4, "(Q, H, W, C) what the decoder returns for neighbour_inputs, which are the "
                                         "same for every run: methods side by side"),
}


REQUIRED_ARRAYS = ("test_labels", "test_predictions", "map_index", "map_points")


# arrays that come together or not at all; reconstruction_error and what follows came later than the first records
ARRAY_GROUPS = (("map_pca", "pixel_tsne", "pixel_pca", "map_neighbours"),
                ("reconstruction_index", "reconstruction_inputs", "reconstruction_outputs"),
                ("interpolation_index", "interpolation_images"),
                ("neighbour_index", "neighbour_inputs", "neighbour_images", "neighbour_labels", "neighbour_cosine"))


def read_arrays(record: Record, folder: Path) -> dict[str, np.ndarray]:
    """Arrays of a record (ARRAYS), checked against its digest and its counts.  Raises RecordError."""
    artifact = record.artifacts["arrays"]
    path = folder / artifact.name
    try:
        if path.exists() and not path.is_file():
            raise RecordError(f"{path.name}: is no regular file")
        if sha256_file(path) != artifact.sha256:
            raise RecordError(f"{path.name}: its SHA-256 is not the one in the record")
        with zipfile.ZipFile(path) as archive:  # before anything is unpacked: a few bytes can grow to gigabytes
            if sum(entry.file_size for entry in archive.infolist()) > MAX_ARRAY_BYTES:
                raise RecordError(f"{path.name}: its arrays take more than {MAX_ARRAY_BYTES} bytes")
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        if not all(isinstance(array, np.ndarray) for array in arrays.values()):  # numpy hands other members over as is
            raise ValueError("a member is no array")
    except RecordError:
        raise
    except OSError as error:
        raise RecordError(f"{path.name}: {error.strerror or 'cannot be read'}") from None
    except Exception as error:  # numpy and zipfile raise a dozen kinds on a malformed file, zlib.error among them
        raise RecordError(f"{path.name}: not an array file: {' '.join(str(error).split())}") from None
    for name, array in arrays.items():
        if name not in ARRAYS:
            raise RecordError(f"{path.name}: unknown array {name!r}")
        dtypes, dimensions, _ = ARRAYS[name]
        if array.dtype.name not in dtypes or array.ndim != dimensions:
            raise RecordError(f"{path.name}: {name} is {array.ndim}-d {array.dtype.name}, "
                              f"expected {dimensions}-d {' or '.join(dtypes)}")
    missing = [name for name in REQUIRED_ARRAYS if name not in arrays]
    if missing:
        raise RecordError(f"{path.name}: no array {missing[0]!r}")
    for group in ARRAY_GROUPS:
        if len(set(group) & set(arrays)) not in (0, len(group)):
            raise RecordError(f"{path.name}: {', '.join(group)} come together or not at all")
    _check_arrays(record, arrays, path.name)
    sheet = record.artifacts.get("thumbnails")
    if sheet and (folder / sheet.name).exists():  # a record without its sheet is still a record
        from utils.records.thumbnails import read_thumbnails  # here, since it imports this module

        arrays["map_images"] = read_thumbnails(folder / sheet.name, sheet.sha256, len(arrays["map_index"]),
                                               record.data.image_shape)
    return arrays


def labels_digest(labels: np.ndarray, classes: int) -> str:
    """SHA-256 of (N,) labels in the smallest unsigned type that holds them, as data.sha256 has it."""
    return hashlib.sha256(labels.astype(np.min_scalar_type(classes - 1)).tobytes()).hexdigest()


def _check_arrays(record: Record, arrays: dict[str, np.ndarray], name: str) -> None:
    """RecordError unless the per-image predictions count up to the record's confusion matrix and indices fit."""
    classes, n = len(record.data.classes), record.data.size("test")
    labels, predictions = arrays["test_labels"], arrays["test_predictions"]
    if len(labels) != n or len(predictions) != n:
        raise RecordError(f"{name}: not one label and one prediction for each of {n} test images")
    if max(labels.max(), predictions.max()) >= classes:
        raise RecordError(f"{name}: a class above {classes - 1}")
    if record.run.status == "complete" and labels_digest(labels, classes) != record.data.sha256["test_labels"]:
        raise RecordError(f"{name}: test_labels are not those of the record's data.sha256")
    counts = np.zeros((classes, classes), np.int64)
    np.add.at(counts, (labels, predictions), 1)
    if record.confusion is None or counts.tolist() != record.confusion.counts:
        raise RecordError(f"{name}: the predictions do not count up to the record's confusion matrix")
    _check_shapes(record, arrays, name)
    for key, array in arrays.items():
        if array.dtype == np.float32 and not np.isfinite(array).all():
            raise RecordError(f"{name}: {key} is not finite")
    if "neighbour_cosine" in arrays and np.abs(arrays["neighbour_cosine"]).max(initial=0) > 1.001:
        raise RecordError(f"{name}: neighbour_cosine is not within [-1, 1]")
    limits = {"map_index": n, "reconstruction_index": n, "interpolation_index": n, "neighbour_index": n,
              "neighbour_labels": classes, "map_neighbours": len(arrays["map_index"])}
    for key, limit in limits.items():
        index = arrays.get(key, np.zeros(0, np.int32))
        if index.size and not 0 <= index.min() <= index.max() < limit:
            raise RecordError(f"{name}: {key} has an entry that is not in [0, {limit})")
    if len(set(arrays["map_index"].tolist())) < len(arrays["map_index"]):
        raise RecordError(f"{name}: map_index names an image twice")


def _check_shapes(record: Record, arrays: dict[str, np.ndarray], name: str) -> None:
    """RecordError unless arrays that belong together have sizes that fit."""
    channels, height, width = record.data.image_shape
    image = (height, width, channels)

    def size(key: str, axis: int = 0) -> int:
        return arrays[key].shape[axis] if key in arrays else 0

    shown, pairs, asked, nearest = (size("map_index"), size("interpolation_index"), size("neighbour_index"),
                                    size("neighbour_labels", 1))
    expected = {
        **dict.fromkeys(("map_points", "map_pca", "pixel_tsne", "pixel_pca"), (shown, 2)),
        "map_neighbours": (shown, size("map_neighbours", 1)),
        "map_images": (shown, *image),
        "reconstruction_inputs": (size("reconstruction_index"), *image),
        "reconstruction_outputs": (size("reconstruction_index"), *image),
        "reconstruction_error": (size("reconstruction_index"),),
        "interpolation_index": (pairs, 2),
        "interpolation_images": (pairs, size("interpolation_images", 1), *image),
        "neighbour_inputs": (asked, *image),
        "neighbour_outputs": (asked, *image),
        "neighbour_images": (asked, nearest, *image),
        "neighbour_labels": (asked, nearest),
        "neighbour_cosine": (asked, nearest),
    }
    for key, shape in expected.items():
        if key in arrays and arrays[key].shape != shape:
            raise RecordError(f"{name}: {key} is {arrays[key].shape}, expected {shape}")


def write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> Artifact:
    """Write an .npz of ARRAYS and return its name and digest."""
    write_atomically(path, lambda file: np.savez_compressed(file, **arrays))
    return Artifact(name=path.name, sha256=sha256_file(path))
