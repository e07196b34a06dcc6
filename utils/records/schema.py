"""The result record: one strictly validated JSON file a run, written atomically.

    record = read_record(Path("results/1.2.3_cifar10_simclr_seed0.json"))
    record.metrics["test/classifier_top1"].value

A record holds raw numbers only: accuracies are fractions in [0, 1], times are seconds, sizes are counts.  Rounding
happens where a number is shown.  Beside `NAME.json` lies `NAME.npz`, the arrays that the figures draw (ARRAYS below),
and, ignored by git, `NAME.safetensors` with the weights.

Reading trusts nothing.  Types, ranges, unknown and duplicate keys and non-finite numbers are checked field by field,
and then the fields against each other: an accuracy is correct / n, a confusion matrix sums to n, its diagonal to the
correct ones.  A record that was edited by hand is therefore usually caught, although nothing here proves that the run
took place.
"""

import datetime
import hashlib
import json
import math
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from utils.files import write_atomically

HEADLINE = "test/classifier_top1"
UNFINISHED = ".unfinished"  # ends the name of the folder where a run that is under way has its checkpoints
MAX_RECORD_BYTES = 20_000_000  # the confusion matrix of a thousand classes fits

# Every score that a record may hold, by the part of its name after the split: (lowest, highest, sampled, meaning).
# Accuracies end in _top1 and carry the number of correct images; sampled: of some images or pairs, not of all.
SCORES = {
    "classifier_top1": (0, 1, False, "accuracy of the classifier on the latent: the headline"),
    "linear_top1": (0, 1, False, "accuracy of a linear probe on the latent"),
    "knn_top1": (0, 1, False, "accuracy of the nearest training latents' vote"),
    "projection_linear_top1": (0, 1, False, "accuracy of a linear probe behind the projection head"),
    "reconstruction_mae": (0, 1, False, "mean absolute error of the reconstructed pixels, which lie in [0, 1]"),
    "effective_rank": (1, math.inf, False, "dimensions that the latent uses: exponential of the entropy of its "
                                           "normalised singular values, centred (Roy and Vetterli 2007; RankMe, "
                                           "Garrido 2023, does not centre)"),
    "alignment": (0, 4, True, "mean squared distance of two augmented views' normalised latents (Wang and Isola 2020)"),
    "uniformity": (-8, 0, True, "log of the mean of exp(-2 squared distance) over pairs of normalised latents (Wang and"
                                " Isola 2020)"),
    "tsne_agreement": (0, 1, True, "share of the 10 nearest points of the same class, t-SNE map of the latents"),
    "pca_agreement": (0, 1, True, "share of the 10 nearest points of the same class, PCA map of the latents"),
    "pixel_tsne_agreement": (0, 1, True, "share of the 10 nearest points of the same class, t-SNE map of raw pixels"),
    "pixel_pca_agreement": (0, 1, True, "share of the 10 nearest points of the same class, PCA map of raw pixels"),
    "interpolation_step_within": (1, math.inf, True, "largest over mean step between successive images decoded along "
                                                     "a straight line in the latent, pairs of one class; 1 is even"),
    "interpolation_step_between": (1, math.inf, True, "the same for pairs of two classes"),
}


class RecordError(ValueError):
    """A record, or its array file, that cannot be believed.  The message names the file and the field, in one line."""


def _a_moment(text: str) -> str:
    datetime.datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ")  # ValueError for a 13th month
    return text


class Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Count = Annotated[int, Field(ge=0, lt=2**63)]
Positive = Annotated[int, Field(ge=1, lt=2**63)]
Seconds = Annotated[float, Field(ge=0.0, le=1e9)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Text = Annotated[str, Field(max_length=500)]
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,200}$")]
UTC = Annotated[str, Field(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$"),
                AfterValidator(_a_moment)]


class Init(Strict):
    """The run whose encoder this one started from."""

    record: Text  # its file's name
    task: Text
    dataset: Text
    method: Text
    labels: Fraction  # the largest fraction of labels that its encoder was trained with, in that run or before it
    recipe_hash: Annotated[str, Field(pattern=r"^[0-9a-f]{8}$")]
    seed: Count
    sha256: Digest  # of its checkpoint


class Run(Strict):
    task: Text  # a key of training.tasks.TASKS
    dataset: Text  # a key of utils.images.datasets.DATASETS, or folder-NAME
    method: Text
    objective: Text  # what the loss in the history is, with its unit
    seed: Count
    argv: list[Annotated[str, Field(max_length=1000)]]
    started: UTC
    seconds: Seconds  # wall time of the whole run, training and scoring
    status: Literal["complete", "quick", "failed"]
    init: Init | None = None  # None: random weights
    resumed: Count = 0  # times it was interrupted and went on; seconds counts none of the time between

    @model_validator(mode="after")
    def _check(self) -> "Run":
        check_argv(self)
        return self


class RecipeFields(Strict):
    fields: dict[Text, bool | int | float | Text | list[int]]  # every hyper-parameter, by its flag's name
    overridden: list[str]  # those given on the command line
    hash: Annotated[str, Field(pattern=r"^[0-9a-f]{8}$")]

    @model_validator(mode="after")
    def _check(self) -> "RecipeFields":
        unknown = sorted(set(self.overridden) - set(self.fields))
        if unknown:
            raise ValueError(f"overridden names {unknown[0]!r}, which is no field of the recipe")
        if len(set(self.overridden)) < len(self.overridden):
            raise ValueError("overridden names a field twice")
        if self.hash != recipe_hash(self.fields):
            raise ValueError(f"hash is {self.hash}, but the fields hash to {recipe_hash(self.fields)}")
        return self


class Derived(Strict):
    steps: Count  # optimiser steps done
    parameters: dict[Text, Count]  # by module: encoder, decoder, projection_head, ...
    training_flops: Annotated[float, Field(ge=0.0)]  # 2 x multiply-adds, backward counted as twice forward
    evaluation_flops: Annotated[float, Field(ge=0.0)]


class Data(Strict):
    image_shape: Annotated[list[Positive], Field(min_length=3, max_length=3)]  # C, H, W
    classes: Annotated[list[Text], Field(min_length=2, max_length=1000)]
    # images of each class in each split; labelled: those of train whose labels were used, where not all were
    class_counts: dict[Literal["train", "val", "test", "labelled"], list[Count]]
    split_seed: Count
    sha256: dict[Literal["train_images", "train_labels", "test_images", "test_labels"], Digest]
    source: Text

    def size(self, split: str) -> int:
        """Number of images in a split."""
        return sum(self.class_counts[split])

    @model_validator(mode="after")
    def _check(self) -> "Data":
        for split in ("train", "val", "test"):
            if split not in self.class_counts:
                raise ValueError(f"class_counts has no {split!r}")
        for split in self.class_counts:
            if len(self.class_counts[split]) != len(self.classes):
                raise ValueError(f"class_counts.{split} has not one number for each of {len(self.classes)} classes")
        labelled = self.class_counts.get("labelled", self.class_counts["train"])
        if any(few > all_ for few, all_ in zip(labelled, self.class_counts["train"], strict=True)):
            raise ValueError("class_counts.labelled has more images of a class than class_counts.train")
        if len(set(self.classes)) < len(self.classes):
            raise ValueError("classes names a class twice")
        if len(self.sha256) != 4:
            raise ValueError("sha256 must name train_images, train_labels, test_images and test_labels")
        return self


class Selection(Strict):
    rule: Text  # in words; the test set takes no part in it
    epoch: Count  # the epoch whose weights were scored; 0: none was trained


class Epoch(Strict):
    epoch: Positive
    step: Positive  # optimiser steps done by the end of this epoch
    lr: Annotated[float, Field(ge=0.0)]  # learning rate at the end of this epoch
    train_loss: float  # mean over the epoch's steps, in train mode, on augmented images
    val_loss: float  # after the epoch, on the validation split
    train_accuracy: Fraction | None = None
    val_accuracy: Fraction | None = None
    seconds: Seconds  # since training started


class Metric(Strict):
    value: float
    n: Positive  # images counted
    correct: Count | None = None  # for an accuracy: value is exactly correct / n
    split: Literal["train", "val", "test"]
    protocol: Text  # how it was measured, in words


class Confusion(Strict):
    metric: Text  # the accuracy that it splits up
    counts: list[list[Count]]  # row: true class, column: predicted class


class Artifact(Strict):
    name: FileName
    sha256: Digest


class Environment(Strict):
    python: Text
    torch: Text
    torchvision: Text
    numpy: Text
    platform: Text
    device: Text
    cpu: Text
    cpu_flags: list[Text]  # of those that matter for speed
    threads: Positive  # of each process
    processes: Positive = 1  # that trained together
    precision: Literal["float32", "bfloat16"]
    conv_gflops: dict[Literal["float32", "bfloat16"], Annotated[float, Field(ge=0.0)]]  # start-up measurement
    commit: Annotated[str, Field(pattern=r"^([0-9a-f]{40}|unknown)$")]
    dirty: bool | None  # tracked files differ from the commit; None where there is no git


class Failure(Strict):
    reason: Text
    epoch: Positive
    step: Positive


class Record(Strict):
    schema_version: Annotated[Literal[1], Field(alias="schema")]
    run: Run
    recipe: RecipeFields
    derived: Derived
    data: Data
    selection: Selection | None  # None in a failed run
    history: list[Epoch]
    metrics: dict[Text, Metric]
    confusion: Confusion | None
    artifacts: dict[Literal["arrays", "checkpoint", "thumbnails"], Artifact]
    environment: Environment
    failure: Failure | None = None

    @property
    def headline(self) -> Metric:
        """Test accuracy of the classifier on the 128-d latent.  KeyError in a failed run."""
        return self.metrics[HEADLINE]

    @model_validator(mode="after")
    def _check(self) -> "Record":
        for name, metric in self.metrics.items():
            check_metric(name, metric, self.data)
        check_history(self)
        if self.recipe.fields.get("method", self.run.method) != self.run.method:
            raise ValueError(f"run.method is {self.run.method!r}, but recipe.fields.method is not")
        if self.run.status == "failed":
            if self.failure is None:
                raise ValueError("run.status is 'failed' but failure is missing")
            if self.metrics or self.artifacts or self.confusion or self.selection:
                raise ValueError("a failed run has no metrics, confusion, artifacts or selection")
            return self
        if self.failure is not None:
            raise ValueError(f"failure is given but run.status is {self.run.status!r}")
        for needed in (HEADLINE, "test/linear_top1", "test/knn_top1"):
            if needed not in self.metrics:
                raise ValueError(f"metrics has no {needed!r}")
        if self.confusion is None:
            raise ValueError("confusion is missing")
        if "arrays" not in self.artifacts:
            raise ValueError("artifacts has no 'arrays'")
        if self.selection is None or not (self.selection.epoch in {row.epoch for row in self.history}
                                          or self.selection.epoch == len(self.history) == 0):
            raise ValueError("selection.epoch is not an epoch of the history")
        check_recipe(self)
        check_confusion(self.confusion, self.metrics, self.data)
        return self


def check_recipe(record: Record) -> None:
    """ValueError where a finished run does not agree with its recipe.  Records of early runs lack some fields."""
    fields, epochs = record.recipe.fields, len(record.history)
    if "epochs" in fields and epochs != fields["epochs"] + (fields["finetune_epochs"] if fields.get("finetune") else 0):
        raise ValueError(f"history has {epochs} epochs, but recipe.fields.epochs is {fields['epochs']}")
    if epochs == 0 and record.run.init is None and record.run.task != "control":
        raise ValueError("history is empty, but the run is no control and started from no other")
    labelled = record.data.class_counts.get("labelled")
    if (labelled is not None) != (fields.get("labels", 1.0) < 1):
        raise ValueError("data.class_counts.labelled and recipe.fields.labels do not agree")
    if labelled is not None and not all(labelled):
        raise ValueError("data.class_counts.labelled has a class without an image")
    rank = record.metrics.get("test/effective_rank")
    if rank is not None and rank.value > fields.get("latent_dim", math.inf) * (1 + 1e-9):
        raise ValueError(f"metrics.test/effective_rank.value is {rank.value}, above recipe.fields.latent_dim")


def check_argv(run: Run) -> None:
    """ValueError where the command line asked for another task, data set, seed or kind of run."""
    for flag, value in (("--task", run.task), ("--dataset", run.dataset)):
        given = flag_words(run.argv, flag)
        if given and given[-1] not in (value, "all") and not given[-1].startswith("folder:"):
            raise ValueError(f"run.argv has {flag} {given[-1]}, but the record is of {value}")
    methods = flag_words(run.argv, "--method")
    if methods and run.method not in methods and "all" not in methods:
        raise ValueError(f"run.argv has --method {' '.join(methods)}, but the record is of {run.method}")
    if run.seed not in (as_int(word) for word in flag_words(run.argv, "--seed") or ["0"]):
        raise ValueError(f"run.seed is {run.seed}, which run.argv does not ask for")
    if "--quick" in run.argv and run.status == "complete":
        raise ValueError("run.argv has --quick, but run.status is 'complete'")
    if bool(flag_words(run.argv, "--init")) != (run.init is not None):
        raise ValueError("run.argv and run.init do not agree on whether the encoder came from another run")


def as_int(word: str) -> int | None:
    """The number as the command line reads it (007 and 1_000 included), or None."""
    try:
        return int(word)
    except ValueError:
        return None


def flag_words(argv: list[str], flag: str) -> list[str]:
    """The words that follow a flag's last occurrence, up to the next flag; [] where it does not occur."""
    words: list[str] = []
    current = ""
    for word in argv:
        if word.startswith("--"):
            current, _, value = word.partition("=")
            if current == flag:
                words = [value] if value else []
        elif current == flag:
            words.append(word)
    return words


def check_metric(name: str, metric: Metric, data: Data) -> None:
    """ValueError unless a metric's name, split, count and value belong together."""
    split, _, rest = name.partition("/")
    if split != metric.split:
        raise ValueError(f"metrics.{name}.split is {metric.split!r}")
    base, _, class_name = rest.partition("/")
    if base not in SCORES:
        raise ValueError(f"metrics.{name} names no score of this project")
    lowest, highest, sampled, _ = SCORES[base]
    expected = data.size(split)
    if class_name:
        if class_name not in data.classes:
            raise ValueError(f"metrics.{name} names no class of the data set")
        expected = data.class_counts[split][data.classes.index(class_name)]
    if metric.n != expected and not (sampled and metric.n < expected):
        raise ValueError(f"metrics.{name}.n is {metric.n}, but the split has {expected} such images")
    if not lowest <= metric.value <= highest:
        raise ValueError(f"metrics.{name}.value is {metric.value}, not within [{lowest}, {highest}]")
    if base.endswith("_top1"):
        if metric.correct is None or metric.correct > metric.n:
            raise ValueError(f"metrics.{name}.correct must be a count from 0 to n")
        if metric.value != metric.correct / metric.n:
            raise ValueError(f"metrics.{name}.value is {metric.value}, but correct / n is {metric.correct / metric.n}")
    elif metric.correct is not None:
        raise ValueError(f"metrics.{name}.correct is given, but only accuracies (..._top1) count correct images")


def check_history(record: Record) -> None:
    """ValueError unless epochs are 1, 2, 3, ... and steps and seconds do not run backwards."""
    step, seconds = 0, 0.0
    for i, row in enumerate(record.history, start=1):
        if row.epoch != i:
            raise ValueError(f"history[{i - 1}].epoch is {row.epoch}, expected {i}")
        if row.step <= step:
            raise ValueError(f"history[{i - 1}].step is {row.step}, not above {step}")
        if row.seconds < seconds:
            raise ValueError(f"history[{i - 1}].seconds runs backwards")
        step, seconds = row.step, row.seconds
    if record.run.status != "failed" and step != record.derived.steps:
        raise ValueError(f"history ends at step {step}, but derived.steps is {record.derived.steps}")
    if seconds > record.run.seconds:
        raise ValueError(f"history ends after {seconds} s, but run.seconds is {record.run.seconds}")


def check_confusion(confusion: Confusion, metrics: dict[str, Metric], data: Data) -> None:
    """ValueError unless the matrix agrees with its metric, with the per-class metrics and with the split."""
    if confusion.metric != HEADLINE:
        raise ValueError(f"confusion.metric is {confusion.metric!r}, not {HEADLINE!r}")
    metric, classes = metrics[confusion.metric], len(data.classes)
    if len(confusion.counts) != classes or any(len(row) != classes for row in confusion.counts):
        raise ValueError(f"confusion.counts must be {classes} x {classes}")
    rows = [sum(row) for row in confusion.counts]
    if rows != data.class_counts[metric.split]:
        raise ValueError(f"confusion.counts rows sum to {rows}, not to the {metric.split} split's class counts")
    diagonal = [confusion.counts[i][i] for i in range(classes)]
    if sum(diagonal) != metric.correct:
        raise ValueError(f"confusion.counts has {sum(diagonal)} on its diagonal, but {confusion.metric} counts "
                         f"{metric.correct} correct")
    for name, correct in zip(data.classes, diagonal, strict=True):
        per_class = metrics.get(f"{confusion.metric}/{name}")
        if per_class is None and data.class_counts[metric.split][data.classes.index(name)]:
            raise ValueError(f"metrics has no {confusion.metric}/{name!s}")
        if per_class is not None and per_class.correct != correct:
            raise ValueError(f"metrics.{confusion.metric}/{name}.correct is {per_class.correct}, but the matrix has "
                             f"{correct}")


def recipe_hash(fields: dict[str, Any]) -> str:
    """First 8 hex digits of the SHA-256 of the fields' canonical JSON."""
    return hashlib.sha256(json.dumps(fields, sort_keys=True, allow_nan=False).encode()).hexdigest()[:8]


def setting_hash(fields: dict[str, Any]) -> str:
    """recipe_hash of the fields that had a part: without --finetune its settings have none, whatever they were."""
    idle = () if fields.get("finetune") else ("finetune_epochs", "finetune_learning_rate")
    return recipe_hash({name: value for name, value in fields.items() if name not in idle})


def read_record(path: Path) -> Record:
    """Read and check one record.  Raises RecordError, in one line that names the file and the field."""
    return read_strictly(path, Record)


def read_strictly(path: Path, model: type[Strict]) -> Any:
    """A JSON file as a strict model.  Raises RecordError, in one line that names the file and the field."""
    try:
        if (path.exists() or path.is_symlink()) and not path.is_file():
            raise RecordError(f"{path.name}: is no regular file")
        if path.stat().st_size > MAX_RECORD_BYTES:
            raise RecordError(f"{path.name}: larger than {MAX_RECORD_BYTES} bytes, which no record is")
        raw = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_no_duplicates,
                         parse_constant=_no_constant)
        return model.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "record"
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        message = first["msg"].removeprefix("Value error, ")
        raise RecordError(f"{path.name}: {field}: {message}{more}") from None
    except RecursionError:
        raise RecordError(f"{path.name}: nested too deeply to be a record") from None
    except RecordError:
        raise
    except OSError as error:
        raise RecordError(f"{path.name}: {error.strerror}") from None
    except ValueError as error:  # no JSON, no UTF-8, a number with thousands of digits
        raise RecordError(f"{path.name}: {' '.join(str(error).split())}") from None


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    seen: dict[str, Any] = {}
    for key, value in pairs:
        if key in seen:
            raise ValueError(f"key {key!r} stands twice")
        seen[key] = value
    return seen


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number a record may hold")


def write_record(record: Record, path: Path) -> None:
    """Write a record as indented JSON, atomically."""
    text = json.dumps(record.model_dump(by_alias=True), indent=1, allow_nan=False) + "\n"
    write_atomically(path, lambda file: file.write(text.encode()))
