"""Valid synthetic records with their arrays, for the tests and for looking at the report without training anything.

    python -m tests.factory results-demo       # writes a varied set of records into that folder

The numbers are random, not measured; only their structure is that of a real run.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from utils.records.arrays import labels_digest, write_arrays
from utils.records.schema import HEADLINE, SCORES, Artifact, Confusion, Record, read_record, recipe_hash, write_record
from utils.records.thumbnails import write_thumbnails

DIGITS = [str(i) for i in range(10)]
OBJECTS = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
SHAPES = {"mnist": [1, 28, 28], "cifar10": [3, 32, 32], "digits": [1, 8, 8]}
OBJECTIVES = {"1.2.1": "mean absolute pixel error (L1)", "1.2.2": "cross-entropy in nats",
              "1.2.3": "NT-Xent in nats", "rotation": "cross-entropy of four angles in nats"}
# runs of the fixture `honest`, by task
HONEST = {"1.2.1": "1.2.1_digits_plain_seed0", "1.2.2": "1.2.2_digits_joint_seed0",
          "1.2.3": "1.2.3_digits_simclr_seed0"}


def draw_predictions(rng: np.random.Generator, classes: int, n: int, accuracy: float) -> tuple[np.ndarray, np.ndarray]:
    """Labels and predictions, (n,) each, round(accuracy * n) correct; errors prefer a few other classes."""
    labels = np.sort(np.random.default_rng(n).integers(0, classes, n)).astype(np.uint16)  # the same for every seed
    labels[:classes] = np.arange(classes)  # every class occurs
    predictions = labels.copy()
    wrong = rng.permutation(n)[: n - round(accuracy * n)]
    step = rng.choice([1, 2, classes - 2 or 1, classes - 1], len(wrong), p=[0.2, 0.5, 0.2, 0.1])
    predictions[wrong] = (labels[wrong] + np.where(step % classes == 0, 1, step)) % classes
    return labels, predictions


def draw_arrays(rng: np.random.Generator, shape: list[int], classes: int, n: int, accuracy: float,
                reconstructions: int) -> dict[str, np.ndarray]:
    """Arrays as in utils.records.arrays.ARRAYS."""
    labels, predictions = draw_predictions(rng, classes, n, accuracy)
    confidence = np.where(labels == predictions, rng.uniform(0.6, 1, n), rng.uniform(0.3, 0.9, n))
    index = np.sort(np.random.default_rng(n).permutation(n)[:1500]).astype(np.int32)  # the same for every seed
    angle = 2 * np.pi * predictions[index] / classes
    centres = np.stack([np.cos(angle), np.sin(angle)], axis=1) * (30 + 9 * (predictions[index] % 3))[:, None]
    points = centres + rng.normal(0, 4 + 7 * (1 - accuracy), (len(index), 2))
    arrays = {"test_labels": labels, "test_predictions": predictions, "map_index": index,
              "test_confidence": confidence.astype(np.float16), "map_points": points.astype(np.float32)}
    arrays |= {key: (points[:, ::sign] + rng.normal(0, spread, points.shape)).astype(np.float32)
               for key, sign, spread in (("map_pca", -1, 12), ("pixel_tsne", 1, 25), ("pixel_pca", -1, 40))}
    arrays["map_neighbours"] = ((np.arange(len(index))[:, None] + 1 + np.arange(5)) % len(index)).astype(np.uint16)
    channels, height, width = shape
    image = (height, width, channels)
    arrays |= {"neighbour_index": rng.permutation(n)[:6].astype(np.int32),
               "neighbour_inputs": rng.integers(0, 256, (6, *image), dtype=np.uint8),
               "neighbour_images": rng.integers(0, 256, (6, 4, *image), dtype=np.uint8),
               "neighbour_labels": rng.integers(0, classes, (6, 4)).astype(np.uint16),
               "neighbour_cosine": np.sort(rng.uniform(0.5, 1, (6, 4)))[:, ::-1].astype(np.float32)}
    if reconstructions:
        y, x = np.mgrid[0:height, 0:width] / max(height, width)
        waves = rng.uniform(1, 9, (reconstructions, channels, 2, 1, 1))
        images = 127 + 120 * np.sin(waves[:, :, 0] * x + waves[:, :, 1] * y * (1 + x))  # (K, C, H, W)
        images = images.transpose(0, 2, 3, 1)
        noise = rng.normal(0, 14, images.shape)
        arrays["reconstruction_index"] = rng.permutation(n)[:reconstructions].astype(np.int32)
        arrays["reconstruction_inputs"] = np.clip(images + noise, 0, 255).astype(np.uint8)
        arrays["reconstruction_outputs"] = np.clip(images * 0.9 + 12, 0, 255).astype(np.uint8)
        arrays["reconstruction_error"] = np.sort(rng.uniform(0.01, 0.2, reconstructions)).astype(np.float32)
        arrays["neighbour_outputs"] = np.clip(arrays["neighbour_inputs"] * 0.8 + 20, 0, 255).astype(np.uint8)
        arrays["interpolation_index"] = rng.integers(0, n, (4, 2)).astype(np.int32)
        mix = np.linspace(0, 1, 7)[:, None, None, None]
        ends = images[rng.integers(0, reconstructions, (4, 2))]  # (4, 2, H, W, C)
        arrays["interpolation_images"] = (ends[:, :1] * (1 - mix) + ends[:, 1:] * mix).clip(0, 255).astype(np.uint8)
        arrays |= {"principal_share": np.array([0.3, 0.2, 0.1], np.float32),
                   "principal_steps": np.linspace(-2, 2, 5, dtype=np.float32),
                   "traversal_images": rng.integers(0, 256, (3, 5, *image), dtype=np.uint8),
                   "plane_images": rng.integers(0, 256, (5, 5, *image), dtype=np.uint8)}
    return arrays


def draw_thumbnails(labels: np.ndarray, shape: list[int]) -> np.ndarray:
    """(M, H, W, C) uint8 images of waves, the same for every seed: the class sets the direction, chance the phase."""
    channels, height, width = shape
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    phase = np.random.default_rng(len(labels)).uniform(0, 2 * np.pi, (len(labels), channels, 1, 1))
    angle = labels[:, None, None, None] * 0.6
    waves = np.sin(9 * (np.cos(angle) * x + np.sin(angle) * y) + phase)  # (M, C, H, W)
    return (127 + 64 * np.round(waves)).transpose(0, 2, 3, 1).astype(np.uint8)


SHEETS: dict[tuple[str, bytes, tuple[int, ...]], tuple[Artifact, bytes]] = {}  # most records share one


def put_thumbnails(folder: Path, dataset: str, labels: np.ndarray, shape: list[int]) -> Artifact:
    """The sheet of draw_thumbnails in the folder.  It is encoded once, which takes longer than the rest of a record."""
    key = dataset, labels.tobytes(), tuple(shape)
    if key not in SHEETS:
        artifact = write_thumbnails(folder, dataset, draw_thumbnails(labels, shape))
        SHEETS[key] = artifact, (folder / artifact.name).read_bytes()
    artifact, data = SHEETS[key]
    (folder / artifact.name).write_bytes(data)
    return artifact


def draw_history(rng: np.random.Generator, epochs: int, task: str, seconds: float) -> list[dict[str, Any]]:
    """History rows with falling losses; accuracies where the task has them."""
    rows = []
    for epoch in range(1, epochs + 1):
        fall = np.exp(-3 * epoch / epochs)
        row = {"epoch": epoch, "step": 45 * epoch, "lr": 1e-3 * (1 + np.cos(np.pi * epoch / epochs)) / 2,
               "train_loss": 0.08 + 1.9 * fall + rng.normal(0, 0.01), "val_loss": 0.11 + 1.7 * fall,
               "seconds": seconds * 0.8 * epoch / epochs, "train_accuracy": None, "val_accuracy": None}
        if task in ("1.2.2", "rotation"):
            row |= {"train_accuracy": 0.95 - 0.6 * fall, "val_accuracy": 0.92 - 0.55 * fall}
        rows.append({key: float(value) if isinstance(value, np.floating) else value for key, value in row.items()})
    return rows


def accuracy_metric(correct: int, n: int, split: str, protocol: str) -> dict[str, Any]:
    return {"value": correct / n, "n": n, "correct": correct, "split": split, "protocol": protocol}


def make_metrics(task: str, labels: np.ndarray, predictions: np.ndarray, classes: list[str], validation: int,
                 reconstructions: int) -> dict[str, Any]:
    """All metrics of one run, with the per-class accuracies of the headline."""
    n, correct = len(labels), int((labels == predictions).sum())
    how = "classifier trained jointly with the encoder" if task == "1.2.2" else "MLP, 2 x 1024, on the frozen latent"
    metrics = {HEADLINE: accuracy_metric(correct, n, "test", how),
               "test/linear_top1": accuracy_metric(int(correct * 0.93), n, "test", "logistic regression, frozen"),
               "test/knn_top1": accuracy_metric(int(correct * 0.9), n, "test", "k = 20, cosine, frozen latent"),
               "val/classifier_top1": accuracy_metric(int(0.9 * validation), validation, "val", how)}
    for i, name in enumerate(classes):
        mine = labels == i
        right = int((predictions[mine] == i).sum())
        metrics[f"{HEADLINE}/{name}"] = accuracy_metric(right, int(mine.sum()), "test", how)
    others = {"effective_rank": 47.31, "alignment": 0.3127, "uniformity": -2.914, "tsne_agreement": 0.8317,
              "pca_agreement": 0.4113, "pixel_tsne_agreement": 0.7219, "pixel_pca_agreement": 0.3371}
    if reconstructions:
        others |= {"reconstruction_mae": 0.0523, "interpolation_step_within": 1.214,
                   "interpolation_step_between": 1.377}
        for split, images in (("train", 450 * len(classes)), ("val", validation)):
            metrics[f"{split}/reconstruction_mae"] = {"value": 0.0511, "n": images, "correct": None, "split": split,
                                                      "protocol": "mean absolute error of pixels in [0, 1]"}
    for score, value in others.items():
        metrics[f"test/{score}"] = {"value": value, "n": n, "correct": None, "split": "test",
                                    "protocol": SCORES[score].meaning}
    if task == "1.2.3":
        metrics["test/projection_linear_top1"] = accuracy_metric(int(correct * 0.85), n, "test", "behind the head")
    return metrics


def make_environment(device: str) -> dict[str, Any]:
    return {"version": "1.0.0", "python": "3.11.9", "torch": "2.14.1", "torchvision": "0.29.1", "numpy": "2.4.6",
            "platform": "Linux-6.1-x86_64", "device": device, "cpu": "AMD EPYC 9R14", "cpu_flags": ["avx512_bf16"],
            "threads": 2, "processes": 1, "precision": "bfloat16", "conv_gflops": {"float32": 183.4, "bfloat16": 402.7},
            "other_load": None, "commit": "0123456789abcdef0123456789abcdef01234567", "dirty": False}


def make_record(folder: Path, task: str = "1.2.3", dataset: str = "cifar10", method: str = "simclr", seed: int = 0, *,
                accuracy: float = 0.75, status: str = "complete", epochs: int = 12, n: int = 1000,
                classes: list[str] | None = None, fields: dict[str, Any] | None = None, reconstructions: int = 0,
                started: str = "2025-11-03T09:30:00Z", seconds: float = 754.2, name: str | None = None,
                argv: list[str] | None = None, source: str = "torchvision", device: str = "cpu",
                objective: str | None = None, failure: str = "loss is not finite",
                init: dict[str, Any] | None = None) -> Path:
    """Write one valid record (and its .npz) and return the JSON's path.

    fields: overridden recipe fields; epochs 0: nothing was trained, as in a control; init: the record's run.init.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng([seed, len(dataset), sum(map(ord, task + method))])
    classes = classes or (OBJECTS if dataset == "cifar10" else DIGITS)
    recipe = {"method": method, "epochs": epochs, "batch_size": 500, "learning_rate": 0.001, "latent_dim": 128,
              "encoder": "conv", "widths": [64, 256, 256], "flip": dataset == "cifar10", "schedule": "cosine",
              "labels": 1.0, "subset": 0, "finetune": False,
              "finetune_epochs": 4} | (fields or {})
    rows = epochs + (recipe["finetune_epochs"] if recipe["finetune"] else 0)
    name = name or f"{task}_{dataset}_{method}_seed{seed}" + (f"_{recipe_hash(recipe)}" if fields else "")
    shape = SHAPES.get(dataset, [3, 32, 32])
    arrays = draw_arrays(rng, shape, len(classes), n, accuracy, reconstructions)
    labels, predictions = arrays["test_labels"], arrays["test_predictions"]
    counts = np.zeros((len(classes), len(classes)), np.int64)
    np.add.at(counts, (labels, predictions), 1)
    validation = [50] * len(classes)
    raw: dict[str, Any] = {
        "schema": 4,
        "run": {"task": task, "dataset": dataset, "method": method,
                "objective": objective or OBJECTIVES.get(task, "loss"),
                "seed": seed, "started": started, "seconds": seconds, "status": status, "init": init,
                "resumed": 0,
                "argv": argv or ["_main.py", "--task", task, "--dataset", dataset, "--seed", str(seed),
                                 *(["--init", f"results/{init['record']}"] if init else [])]},
        "recipe": {"fields": recipe, "overridden": sorted(fields or {}), "hash": recipe_hash(recipe)},
        "derived": {"steps": 45 * rows, "parameters": {"encoder": 1_234_567, "projection_head": 49_408},
                    "training_flops": 3.21e15, "evaluation_flops": 4.5e12, "protocol": 3},
        "data": {"image_shape": shape, "classes": classes, "split_seed": 0, "source": source,
                 "class_counts": {"train": [450] * len(classes), "val": validation,
                                  "test": np.bincount(labels, minlength=len(classes)).tolist(),
                                  **({} if recipe["labels"] == 1 else
                                     {"labelled": [max(1, round(450 * recipe["labels"]))] * len(classes)})},
                 "sha256": {"train_images": "0" * 64, "train_labels": "1" * 64, "test_images": "2" * 64,
                            "test_labels": labels_digest(labels, len(classes))}},
        "selection": {"rule": "lowest validation loss", "epoch": max(min(1, rows), rows - 1)},
        "history": draw_history(rng, rows, task, seconds),
        "metrics": make_metrics(task, labels, predictions, classes, sum(validation), reconstructions),
        "confusion": {"metric": HEADLINE, "counts": counts.tolist()}, "artifacts": {},
        "environment": make_environment(device), "failure": None}
    if status == "failed":
        raw |= {"selection": None, "metrics": {}, "confusion": None, "history": raw["history"][: epochs // 2],
                "failure": {"reason": failure, "epoch": epochs // 2 + 1, "step": 45 * (epochs // 2) + 7}}
    else:
        sheet = put_thumbnails(folder, "".join(filter(str.isalnum, dataset)), labels[arrays["map_index"]], shape)
        artifact = write_arrays(folder / f"{name}.npz", arrays)
        raw["artifacts"] = {"arrays": artifact.model_dump(), "thumbnails": sheet.model_dump()}
        assert Confusion.model_validate(raw["confusion"])
    path = folder / f"{name}.json"
    write_record(Record.model_validate(raw), path)
    return path


def edit(path: Path, *keys: str | int, value: Any) -> Path:
    """Set raw[keys[0]][keys[1]]... = value in the JSON of a record, as an editor by hand would."""
    raw = json.loads(path.read_text(encoding="utf-8"))
    target = raw
    for key in keys[:-1]:
        target = target[key]
    target[keys[-1]] = value
    path.write_text(json.dumps(raw), encoding="utf-8")
    return path


def make_demo(folder: Path, n: int = 10_000) -> None:
    """Several tasks, data sets and seeds; long names, quick, failed, rejected and repeated records."""
    accuracies = {("1.2.1", "mnist"): 0.981, ("1.2.2", "mnist"): 0.9932, ("1.2.3", "mnist"): 0.976,
                  ("1.2.1", "cifar10"): 0.588, ("1.2.2", "cifar10"): 0.918, ("rotation", "cifar10"): 0.643}
    methods = {"1.2.1": "plain", "1.2.2": "joint", "1.2.3": "simclr", "rotation": "rotnet"}
    for (task, dataset), accuracy in accuracies.items():
        for seed in range(1 if task == "rotation" else 3):
            make_record(folder, task, dataset, methods[task], seed, accuracy=accuracy + 0.0013 * seed, n=n,
                        reconstructions=16 if task == "1.2.1" else 0, seconds=900 + 31.7 * seed)
    for method, accuracy in (("dcl", 0.977), ("vicreg", 0.972), ("byol", 0.974), ("moco", 0.969)):
        make_record(folder, "1.2.3", "mnist", method, 0, accuracy=accuracy, n=n, seconds=800)
    for method, accuracy in (("denoising", 0.982), ("masked", 0.984)):
        make_record(folder, "1.2.1", "mnist", method, 0, accuracy=accuracy, n=n, seconds=800, reconstructions=18)
    for dataset, low, high in (("mnist", 0.91, 0.965), ("cifar10", 0.41, 0.52)):
        make_record(folder, "control", dataset, "random", 0, accuracy=low, n=n, seconds=61, epochs=0)
        make_record(folder, "control", dataset, "pca", 0, accuracy=high, n=n, seconds=61, epochs=0)
    init = {"record": "1.2.3_mnist_simclr_seed0.json", "task": "1.2.3", "dataset": "mnist", "labels": 0.0,
            "method": "simclr", "seed": 0,
            "recipe_hash": read_record(folder / "1.2.3_mnist_simclr_seed0.json").recipe.hash, "sha256": "4" * 64}
    for share, gap in ((0.01, 0.06), (0.1, 0.02), (0.5, 0.006), (1.0, 0.0)):
        labels = {"labels": share} if share < 1 else {}
        if labels:
            make_record(folder, "1.2.2", "mnist", "joint", 0, accuracy=0.993 - 2 * gap, n=n, fields=labels)
            make_record(folder, "control", "mnist", "random", 0, accuracy=0.91 - 2 * gap, n=n, fields=labels, epochs=0)
            make_record(folder, "1.2.3", "mnist", "simclr", 0, accuracy=0.976 - gap, n=n, epochs=0, init=init,
                        fields=labels | {"epochs": 0})
        make_record(folder, "1.2.3", "mnist", "simclr", 0, accuracy=0.99 - gap, n=n, epochs=0, init=init,
                    fields=labels | {"epochs": 0, "finetune": True})
    make_record(folder, "1.2.1", "mnist", "plain", 0, accuracy=0.985, n=n, init=init, reconstructions=18,
                name="1.2.1_mnist_plain_seed0_from-1.2.3-simclr")
    make_record(folder, "1.2.3", "cifar10", "simclr", 0, accuracy=0.71, n=n, fields={"encoder": "resnet18"})
    make_record(folder, "1.2.1", "cifar10", "plain", 0, accuracy=0.55, n=n, fields={"epochs": 3, "learning_rate": 0.01},
                epochs=3, reconstructions=16, seconds=204.5)
    make_record(folder, "1.2.2", "digits", "joint", 0, accuracy=0.97, n=360, seconds=6.4)
    make_record(folder, "1.2.2", "folder-garden", "joint", 0, accuracy=0.7, n=800, seconds=64,
                classes=[f"a rather long flower name, number {i}" for i in range(14)])
    make_record(folder, "1.2.3", "cifar10", "simclr", 0, status="quick", n=500, epochs=1, name="1.2.3_cifar10_quick")
    make_record(folder, "1.2.3", "cifar10", "simclr", 1, status="failed", failure="training loss is not finite")
    make_record(folder, "1.2.1", "mnist", "plain", 0, n=n, accuracy=0.979, name="1.2.1_mnist_older",
                started="2025-10-01T08:00:00Z", reconstructions=16)
    edit(make_record(folder, "1.2.3", "cifar10", "simclr", 7, n=500, name="edited"), "metrics", HEADLINE, "value",
         value=0.99)
    make_record(folder, "1.2.3", "cifar10", "simclr", 8, n=500, name="lost").with_suffix(".npz").unlink()


if __name__ == "__main__":
    make_demo(Path(sys.argv[1]))
