"""One HTML file in which the trained models of a data set run: draw a digit and see what each latent makes of it.

    python _report_evaluation.py --playground playground.html

The page holds the weights of one record per task, some images with their latents, and the code that runs them
(network.js, page.js).  It fetches nothing.  docs/playground.md explains the design and its size.
"""

import codecs
import contextlib
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import torch
from markupsafe import Markup
from torch import Tensor

from evaluation.rescore import latents_of, load_classifier, load_decoder
from models.saved import load_encoder, load_saved
from playground.export import Store, classifier_layers, decoder_layers, encoder_layers
from report import show
from report.drawing import PALETTE
from report.load import Loaded, Rejected, load_results
from report.render import TEMPLATES
from report.summary import dataset_name, task_name, with_status
from training.tasks import TASKS
from utils.errors import RunError
from utils.files import write_file
from utils.images.datasets import Dataset, load_dataset

FOLDER = Path(__file__).parent
PLAYED = ("mnist", "digits")  # in order of preference: grey images of things that can be drawn
TASKS_PLAYED = ("1.2.1", "1.2.2", "1.2.3")
TRAINING_IMAGES, TEST_IMAGES = 2000, 800  # at most; with a latent per task, half a kilobyte per image
AXES = 8  # principal axes of a latent that has a decoder


def write_playground(results_dir: Path, data_dir: Path, path: Path,
                     dataset: str | None = None) -> tuple[int, list[Rejected]]:
    """Write the page.  Returns the number of runs that it contains, and the files that are not valid records.

    dataset: one of PLAYED; None: the one with weights for most tasks.  Raises RunError if none has any.
    """
    loaded, rejected = load_results(results_dir)
    runs = choose(loaded, results_dir, (dataset,) if dataset else PLAYED)
    write_file(path, build_page(runs, results_dir, load_dataset(runs[0].record.run.dataset, data_dir)))
    return len(runs), rejected


def choose(loaded: list[Loaded], folder: Path, datasets: tuple[str, ...]) -> list[Loaded]:
    """One run per task, from the data set with weights for most tasks.  RunError if there are no weights."""
    found = {dataset: [run for task in TASKS_PLAYED if (run := best(loaded, folder, dataset, task))]
             for dataset in datasets}
    dataset = max(found, key=lambda name: len(found[name]))  # the first of equals
    if not found[dataset]:
        raise RunError(f"{folder}: no weights (.safetensors) next to a complete record of {' or '.join(datasets)} that "
                       "the page can run; `python _main.py --task all --dataset digits` trains some")
    return found[dataset]


def best(loaded: list[Loaded], folder: Path, dataset: str, task: str) -> Loaded | None:
    """The best run of a task with weights: prefers the default method and recipe, then the lowest seed."""
    default = TASKS[task].default_methods

    def order(run: Loaded) -> tuple:
        fields = run.record.recipe.fields
        return (run.record.run.init is not None, fields["method"] not in default, len(run.record.recipe.overridden),
                run.record.run.seed, run.name)

    for run in sorted(with_status(loaded, "complete"), key=order):
        if (run.record.run.dataset, run.record.run.task) == (dataset, task):
            with contextlib.suppress(RunError):  # its weights are not shipped, or not the record's
                if encoder_layers(load_encoder(folder / run.name), Store()):
                    return run
    return None


def build_page(runs: list[Loaded], folder: Path, data: Dataset) -> bytes:
    """The page as UTF-16: browsers give its byte order mark precedence over any other declared encoding."""
    store, index = Store(), runs[0].arrays["map_index"]
    runs = [run for run in runs if np.array_equal(run.arrays["map_index"], index)]
    train = data.subset(min(TRAINING_IMAGES, len(data.train_index))).train_index
    shown = np.arange(len(index))[:: -(-len(index) // TEST_IMAGES)]  # positions on the maps
    images = torch.from_numpy(np.ascontiguousarray(data.train_images[train]))
    test = torch.from_numpy(np.ascontiguousarray(data.test_images[index[shown]]))
    labels = torch.from_numpy(data.train_labels[train])
    ink, box = pen(images)
    facts: dict[str, Any] = {
        "shape": list(images.shape[1:]), "classes": list(data.classes), "colours": PALETTE, "pen": ink, "box": box,
        "train": {"count": len(train), "images": store.put(images), "labels": store.put(labels.byte())},
        "test": {"images": store.put(test), "labels": store.put(data.test_labels[index[shown]].astype(np.uint8)),
                 "numbers": index[shown].tolist(), "places": shown.tolist()},
        "labels": store.put(data.test_labels[index].astype(np.uint8)),
        "pixels": {"distance": class_distance(images.flatten(1) / 255, labels)},
        "models": [model(run, folder, store, images, labels, test, shown) for run in runs]}
    text, facts["packed"] = store.text()
    facts["sizes"] = store.sizes
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(FOLDER), autoescape=True, trim_blocks=True,
                                     lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    code = {path.name: Markup(path.read_text(encoding="utf-8")) for path in (
        FOLDER / "network.js", FOLDER / "page.js", TEMPLATES / "theme.css", FOLDER / "page.css")}
    page = environment.get_template("page.html.j2").render(
        facts=facts, data=Markup(text), code=code, dataset=dataset_name(data.name), rows=[about(run) for run in runs])
    return codecs.BOM_UTF16_LE + page.encode("utf-16-le")


def model(run: Loaded, folder: Path, store: Store, images: Tensor, labels: Tensor, test: Tensor,
          shown: np.ndarray) -> dict[str, Any]:
    """What page.js needs of one run.  images, test: (N, H, W, C) uint8; shown: places of the latter on the map."""
    saved = load_saved(folder / run.name)
    encoder, classifier = saved.encoder, load_classifier(saved)
    z = latents_of(encoder, images)
    has_decoder = isinstance(run.record.recipe.fields.get("decoder_widths"), list)
    decoder = decoder_layers(load_decoder(saved), store) if has_decoder else None
    return {"title": task_name(run.record.run.task), "encoder": encoder_layers(encoder, store),
            "classifier": classifier_layers(classifier, store), "decoder": decoder,
            "axes": axes(z, store) if decoder else None, "distance": class_distance(z, labels),
            "mean": store.put(z.mean(0)), "deviation": store.put(z.std(0)),
            "train": store.put(in_bytes(z)), "test": store.put(in_bytes(latents_of(encoder, test))),
            "points": store.put(run.arrays["map_points"]),
            "predicted": store.put(run.arrays["test_predictions"][run.arrays["map_index"][shown]].astype(np.uint8))}


def in_bytes(z: Tensor) -> np.ndarray:
    """(N, D) -> (N, D) int8: each row divided by its largest entry, which keeps its direction; for cosines only."""
    return (z / z.abs().amax(1, keepdim=True).clamp(min=1e-30) * 127).round().to(torch.int8).numpy()


def class_distance(x: Tensor, labels: Tensor) -> float:
    """Mean Euclidean distance between the means of two classes.  x: (N, D); labels: (N,)."""
    return torch.pdist(torch.stack([x[labels == label].mean(0) for label in labels.unique()])).mean().item()


def axes(z: Tensor, store: Store) -> dict[str, Any]:
    """Principal axes of latents (N, D), scaled to one standard deviation each, and their shares of the variance."""
    _, singular, directions = torch.linalg.svd(z - z.mean(0), full_matrices=False)
    return {"vectors": store.put(directions[:AXES] * (singular[:AXES, None] / len(z) ** 0.5)),
            "shares": (singular.square() / singular.square().sum())[:AXES].tolist()}


def pen(images: Tensor) -> tuple[float, int]:
    """Width of the strokes and the longer side of the digits in (N, H, W, 1) images, both in pixels.

    A stroke of width w and length L has area w L and two edges of length L; the image's total variation measures edges.
    """
    x = images[..., 0] / 255
    down, right = torch.diff(x, dim=1)[:, :, :-1], torch.diff(x, dim=2)[:, :-1]
    inked = x > 0.1
    sides = torch.stack([inked.any(axis).sum(1) for axis in (1, 2)]).amax(0)  # a digit's ink has no gaps
    return (2 * x.sum() / (down.square() + right.square()).sqrt().sum()).item(), int(sides.median())


def about(run: Loaded) -> dict[str, str]:
    """The row of a run in the page's table."""
    record = run.record
    fields = record.recipe.fields
    return {"task": task_name(record.run.task), "method": show.plain(record.run.method), "record": show.plain(run.name),
            "encoder": f"{fields['encoder']} {show.field(fields['widths'])}", "seed": str(record.run.seed),
            "commit": record.environment.commit[:12] + (" with changes" if record.environment.dirty else ""),
            "accuracy": f"{show.percent(record.headline.value)} % ({show.correct(record.headline)})"}

