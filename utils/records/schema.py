"""The result record: one strictly validated JSON file per run, written atomically.

    record = read_record(Path("results/1.2.3_mnist_simclr_seed0.json"))
    record.metrics["test/classifier_top1"].value

A record holds raw numbers only: accuracies are fractions in [0, 1], times are seconds, sizes are counts.  Numbers are
rounded where they are shown.  Next to `NAME.json` is `NAME.npz` with the arrays that the figures draw (arrays.py) and,
ignored by git, `NAME.safetensors` with the weights.

Reading trusts nothing.  Types, ranges, unknown and duplicate keys and non-finite numbers are checked field by field,
and then the fields against each other: an accuracy is correct / n, a confusion matrix sums to n, its diagonal to the
number of correct images.  A record edited by hand is therefore usually caught, although nothing here proves that the
run took place.
"""

import datetime
import hashlib
import json
import math
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from utils.errors import RunError
from utils.files import sha256_file, write_bytes

HEADLINE = "test/classifier_top1"
REQUIRED_METRICS = (HEADLINE, "test/linear_top1", "test/knn_top1")
UNFINISHED = ".unfinished"  # suffix of the folder that holds the checkpoints of a run in progress
MAX_RECORD_BYTES = 20_000_000  # enough for the confusion matrix of a thousand classes
TIME_FORMAT = "%Y-%m-%dT%H:%M:%SZ"  # UTC


class Score(NamedTuple):
    """The range of a score's values, whether it may cover a sample of the images or pairs, and what it measures."""

    lowest: float
    highest: float
    sampled: bool
    meaning: str


# Every score that a record may hold, by the part of its name after the split.  Accuracies end in _top1 and carry the
# number of correct images.
SCORES = {
    "classifier_top1": Score(0, 1, False, "accuracy of the classifier on the latent: the headline"),
    "learned_top1": Score(0, 1, False, "accuracy of the same classifier on the learned dimensions of a hybrid latent"),
    "linear_top1": Score(0, 1, False, "accuracy of a linear probe on the latent"),
    "knn_top1": Score(0, 1, False, "accuracy of the nearest training latents' vote"),
    "projection_linear_top1": Score(0, 1, False, "accuracy of a linear probe behind the projection head"),
    "reconstruction_mae": Score(0, 1, False, "mean absolute error of the reconstructed pixels, which lie in [0, 1]"),
    "effective_rank": Score(1, math.inf, False, "dimensions that the latent uses: exponential of the entropy of its "
                            "normalised singular values, centred (Roy and Vetterli 2007; RankMe, Garrido 2023, does "
                            "not centre)"),
    "alignment": Score(0, 4, True, "mean squared distance of two augmented views' normalised latents (Wang and Isola "
                       "2020)"),
    "uniformity": Score(-8, 0, True, "log of the mean of exp(-2 squared distance) over pairs of normalised latents "
                        "(Wang and Isola 2020)"),
    "tsne_agreement": Score(0, 1, True, "share of the 10 nearest points of the same class, t-SNE map of the latents"),
    "pca_agreement": Score(0, 1, True, "share of the 10 nearest points of the same class, PCA map of the latents"),
    "pixel_tsne_agreement": Score(0, 1, True, "share of the 10 nearest points of the same class, t-SNE map of raw "
                                  "pixels"),
    "pixel_pca_agreement": Score(0, 1, True, "share of the 10 nearest points of the same class, PCA map of raw pixels"),
    "interpolation_step_within": Score(1, math.inf, True, "largest over mean step between successive images decoded "
                                       "along a straight line in the latent, pairs of one class; 1 is even"),
    "interpolation_step_between": Score(1, math.inf, True, "the same for pairs of two classes"),
}


class RecordError(RunError):
    """A record, or its array file, that cannot be trusted.  The message names the file and the field, in one line."""


class Strict(BaseModel):
    """A JSON object with exact types and no unknown keys."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


Model = TypeVar("Model", bound=Strict)
Split = Literal["train", "val", "test"]
ArtifactName = Literal["arrays", "checkpoint", "thumbnails"]


def require(holds: bool, message: str) -> None:
    """Raise ValueError with this message unless the condition holds."""
    if not holds:
        raise ValueError(message)


def utc_now() -> str:
    """The time as records hold it: 2025-11-03T09:30:00Z."""
    return datetime.datetime.now(datetime.UTC).strftime(TIME_FORMAT)


def _check_time(text: str) -> str:
    datetime.datetime.strptime(text, TIME_FORMAT)  # ValueError for a 13th month
    return text


Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Count = Annotated[int, Field(ge=0, lt=2**63)]
Positive = Annotated[int, Field(ge=1, lt=2**63)]
Side = Annotated[int, Field(ge=1, le=4096)]  # of an image, pixels; the size of an encoder for it must not overflow
Seconds = Annotated[float, Field(ge=0.0, le=1e9)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Text = Annotated[str, Field(max_length=500)]
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,200}$")]
UTC = Annotated[str, Field(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$"),
                AfterValidator(_check_time)]


class Init(Strict):
    """The run whose encoder this one started from."""

    record: Text  # the name of its file
    task: Text
    dataset: Text
    method: Text
    labels: Fraction  # the largest fraction of labels that its encoder was trained with, in that run or an earlier one
    recipe_hash: Annotated[str, Field(pattern=r"^[0-9a-f]{8}$")]
    seed: Count
    sha256: Digest  # digest of its checkpoint


class Run(Strict):
    task: Text  # a key of training.tasks.TASKS
    dataset: Text  # a key of utils.images.datasets.DATASETS, or folder-NAME
    method: Text
    objective: Text  # the loss in the history, with its unit
    seed: Count
    argv: list[Annotated[str, Field(max_length=1000)]]
    started: UTC
    seconds: Seconds  # wall time of the whole run, training and scoring
    status: Literal["complete", "quick", "failed"]
    init: Init | None  # None: random weights
    resumed: Count  # times it was interrupted and resumed; seconds excludes the time in between


# fields of a recipe that the checks below compute with; a control has no epochs, and 1.2.2 no fine-tuning
FIELD_TYPES: dict[str, type] = {"method": str, "encoder": str, "latent_dim": int, "labels": float, "epochs": int,
                                "finetune": bool, "finetune_epochs": int}
OPTIONAL_FIELDS = ("epochs", "finetune", "finetune_epochs")


class RecipeFields(Strict):
    fields: dict[Text, bool | int | float | Text | list[int]]  # every hyper-parameter, by the name of its flag
    overridden: list[str]  # those given on the command line
    hash: Annotated[str, Field(pattern=r"^[0-9a-f]{8}$")]

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name, kind in FIELD_TYPES.items():
            require(name in self.fields or name in OPTIONAL_FIELDS, f"fields has no {name!r}")
            value = self.fields.get(name)
            require(value is None or type(value) is kind, f"fields.{name} is {value!r}, which is no {kind.__name__}")
        for name in self.overridden:
            require(name in self.fields, f"overridden names {name!r}, which is no field of the recipe")
        require(len(set(self.overridden)) == len(self.overridden), "overridden names a field twice")
        true = recipe_hash(self.fields)
        require(self.hash == true, f"hash is {self.hash}, but the fields hash to {true}")
        return self

    def number(self, name: str) -> float:
        """A number among FIELD_TYPES; 0 where the task does not have the field."""
        value = self.fields.get(name, 0)
        assert isinstance(value, int | float)  # checked above
        return value


class Derived(Strict):
    steps: Count  # optimiser steps of the history, without those of a decoder that is trained after it
    parameters: dict[Text, Count]  # by module: encoder, decoder, projection_head, ...
    training_flops: Annotated[float, Field(ge=0.0)]  # 2 x multiply-adds, forward and backward passes
    evaluation_flops: Annotated[float, Field(ge=0.0)]
    protocol: Positive  # version of the scoring, evaluation.scores.PROTOCOL; rows of a table never mix two


class Data(Strict):
    image_shape: Annotated[list[Side], Field(min_length=3, max_length=3)]  # C, H, W
    classes: Annotated[list[Text], Field(min_length=2, max_length=1000)]
    # images of each class in each split; labelled: training images whose labels were used, unless all were
    class_counts: dict[Literal["train", "val", "test", "labelled"], list[Count]]
    split_seed: Count
    sha256: dict[Literal["train_images", "train_labels", "test_images", "test_labels"], Digest]
    source: Text

    def size(self, split: Split) -> int:
        """Number of images in a split."""
        return sum(self.class_counts[split])

    @model_validator(mode="after")
    def _check(self) -> Self:
        for needed in ("train", "val", "test"):
            require(needed in self.class_counts, f"class_counts has no {needed!r}")
        classes = len(self.classes)
        for split, counts in self.class_counts.items():
            require(len(counts) == classes, f"class_counts.{split} has not one number for each of {classes} classes")
        train = self.class_counts["train"]
        pairs = zip(self.class_counts.get("labelled", train), train, strict=True)
        require(all(few <= all_ for few, all_ in pairs),
                "class_counts.labelled has more images of a class than class_counts.train")
        require(len(set(self.classes)) == classes, "classes names a class twice")
        require(len(self.sha256) == 4, "sha256 must name train_images, train_labels, test_images and test_labels")
        return self


class Selection(Strict):
    rule: Text  # in words; never uses the test set
    epoch: Count  # whose weights were scored; 0: nothing was trained


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
    split: Split
    protocol: Text  # how it was measured, in words


class Confusion(Strict):
    metric: Text  # the accuracy that it breaks down
    counts: list[list[Count]]  # row: true class, column: predicted class


class Artifact(Strict):
    name: FileName
    sha256: Digest


class Environment(Strict):
    version: Text  # of this project; empty for runs from before it had one
    python: Text
    torch: Text
    torchvision: Text
    numpy: Text
    platform: Text
    device: Text
    cpu: Text
    cpu_flags: list[Text]  # only those that matter for speed
    threads: Positive  # per process
    processes: Positive  # that trained together
    precision: Literal["float32", "bfloat16"]
    conv_gflops: dict[Literal["float32", "bfloat16"], Annotated[float, Field(ge=0.0)]]  # start-up measurement
    other_load: Annotated[float, Field(ge=0.0)] | None  # threads that other programs kept busy, mean; None: not known
    commit: Annotated[str, Field(pattern=r"^([0-9a-f]{40}|[0-9a-f]{64}|unknown)$")]
    dirty: bool | None  # whether tracked files differ from the commit; None without git


class Failure(Strict):
    reason: Text
    epoch: Count  # 0: nothing was trained
    step: Count


class Record(Strict):
    schema_version: Annotated[Literal[4], Field(alias="schema")]
    run: Run
    recipe: RecipeFields
    derived: Derived
    data: Data
    selection: Selection | None  # None in a failed run
    history: list[Epoch]
    metrics: dict[Text, Metric]
    confusion: Confusion | None
    artifacts: dict[ArtifactName, Artifact]
    environment: Environment
    failure: Failure | None = None

    @property
    def headline(self) -> Metric:
        """Test accuracy of the classifier on the latent.  KeyError in a failed run."""
        return self.metrics[HEADLINE]

    @model_validator(mode="before")
    @classmethod
    def _check_schema(cls, raw: Any) -> Any:
        older = raw.get("schema") if isinstance(raw, dict) and "run" in raw else None
        require(older not in (1, 2, 3), f"schema {older}, written by an older version; this version reads schema 4: "
                "run the record's command again, or read it with the version that wrote it")
        return raw

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name, metric in self.metrics.items():
            check_metric(name, metric, self.data)
        check_history(self)
        require(self.recipe.fields["method"] == self.run.method,
                f"run.method is {self.run.method!r}, but recipe.fields.method is not")
        if self.run.status == "failed":
            require(self.failure is not None, "run.status is 'failed' but failure is missing")
            require(not (self.metrics or self.artifacts or self.confusion or self.selection),
                    "a failed run has no metrics, confusion, artifacts or selection")
            return self
        require(self.failure is None, f"failure is given but run.status is {self.run.status!r}")
        for needed in REQUIRED_METRICS:
            require(needed in self.metrics, f"metrics has no {needed!r}")
        require("arrays" in self.artifacts, "artifacts has no 'arrays'")
        last = len(self.history)
        require(self.selection is not None and min(1, last) <= self.selection.epoch <= last,
                "selection.epoch is not an epoch of the history")
        check_recipe(self)
        check_confusion(self.confusion, self.metrics, self.data)
        return self


def check_recipe(record: Record) -> None:
    """ValueError where a finished run does not agree with its recipe."""
    number, epochs = record.recipe.number, len(record.history)
    require(epochs == number("epochs") + (number("finetune_epochs") if number("finetune") else 0),
            f"history has {epochs} epochs, but recipe.fields.epochs is {number('epochs')}")
    require(epochs > 0 or record.run.init is not None or record.run.task == "control",
            "history is empty, but the run is no control and started from no other")
    labelled = record.data.class_counts.get("labelled")
    require((labelled is not None) == (number("labels") < 1),
            "data.class_counts.labelled and recipe.fields.labels do not agree")
    require(labelled is None or all(labelled), "data.class_counts.labelled has a class without an image")
    rank = record.metrics.get("test/effective_rank")
    require(rank is None or rank.value <= number("latent_dim") * (1 + 1e-9),
            f"metrics.test/effective_rank.value is {rank and rank.value}, above recipe.fields.latent_dim")


def check_metric(name: str, metric: Metric, data: Data) -> None:
    """ValueError unless a metric's name, split, count and value are consistent."""
    split, _, rest = name.partition("/")
    require(split == metric.split, f"metrics.{name}.split is {metric.split!r}")
    base, _, class_name = rest.partition("/")
    require(base in SCORES, f"metrics.{name} names no score of this project")
    score = SCORES[base]
    expected = data.size(metric.split)
    if class_name:
        require(class_name in data.classes, f"metrics.{name} names no class of the data set")
        expected = data.class_counts[metric.split][data.classes.index(class_name)]
    require(metric.n == expected or score.sampled and metric.n < expected,
            f"metrics.{name}.n is {metric.n}, but the split has {expected} such images")
    require(score.lowest <= metric.value <= score.highest,
            f"metrics.{name}.value is {metric.value}, not within [{score.lowest}, {score.highest}]")
    require((metric.correct is not None) == base.endswith("_top1"),
            f"metrics.{name}.correct: accuracies (..._top1) and no others count correct images")
    if metric.correct is not None:
        require(metric.correct <= metric.n, f"metrics.{name}.correct is above n")
        true = metric.correct / metric.n
        require(metric.value == true, f"metrics.{name}.value is {metric.value}, but correct / n is {true}")


def check_history(record: Record) -> None:
    """ValueError unless epochs are 1, 2, 3, ..., steps increase and seconds do not decrease."""
    step, seconds = 0, 0.0
    for i, row in enumerate(record.history, start=1):
        require(row.epoch == i, f"history[{i - 1}].epoch is {row.epoch}, expected {i}")
        require(row.step > step, f"history[{i - 1}].step is {row.step}, not above {step}")
        require(row.seconds >= seconds, f"history[{i - 1}].seconds is below that of the epoch before")
        step, seconds = row.step, row.seconds
    require(record.run.status == "failed" or step == record.derived.steps,
            f"history ends at step {step}, but derived.steps is {record.derived.steps}")
    require(seconds <= record.run.seconds, f"history ends after {seconds} s, but run.seconds is {record.run.seconds}")


def check_confusion(confusion: Confusion | None, metrics: dict[str, Metric], data: Data) -> None:
    """ValueError unless the matrix agrees with the headline, the per-class metrics and the test split."""
    if confusion is None:
        raise ValueError("confusion is missing")
    require(confusion.metric == HEADLINE, f"confusion.metric is {confusion.metric!r}, not {HEADLINE!r}")
    classes, correct = len(data.classes), metrics[HEADLINE].correct
    require([len(row) for row in confusion.counts] == [classes] * classes,
            f"confusion.counts must be {classes} x {classes}")
    rows = [sum(row) for row in confusion.counts]
    require(rows == data.class_counts["test"],
            f"confusion.counts rows sum to {rows}, not to the test split's class counts")
    diagonal = [confusion.counts[i][i] for i in range(classes)]
    require(sum(diagonal) == correct,
            f"confusion.counts has {sum(diagonal)} on its diagonal, but {HEADLINE} counts {correct} correct")
    for name, images, count in zip(data.classes, rows, diagonal, strict=True):
        metric = metrics.get(f"{HEADLINE}/{name}")
        require(metric is not None or images == 0, f"metrics has no {HEADLINE}/{name}")
        require(metric is None or metric.correct == count,
                f"metrics.{HEADLINE}/{name}.correct is {metric and metric.correct}, but the matrix has {count}")


def recipe_hash(fields: dict[str, Any]) -> str:
    """First 8 hex digits of the SHA-256 of the fields' canonical JSON."""
    return hashlib.sha256(json.dumps(fields, sort_keys=True, allow_nan=False).encode()).hexdigest()[:8]


def setting_hash(fields: dict[str, Any]) -> str:
    """recipe_hash of the fields in use: without --finetune its epochs and learning rate do not count."""
    idle = () if fields.get("finetune") else ("finetune_epochs", "finetune_learning_rate")
    return recipe_hash({name: value for name, value in fields.items() if name not in idle})


def read_record(path: Path) -> Record:
    """Read and check one record.  Raises RecordError, in one line that names the file and the field."""
    return read_strictly(path, Record)


def checkpoint_file(path: Path, record: Record) -> Path:
    """The weights next to a record.  Raises RecordError where it has none, or they are not those that it names."""
    artifact = record.artifacts.get("checkpoint")
    if artifact is None:
        raise RecordError(f"{path}: this run has no checkpoint")
    checkpoint = path.parent / artifact.name
    if not checkpoint.is_file():
        run = record.run
        raise RecordError(f"{checkpoint}: no such file: if you moved the record, move its weights, too; if they are "
                          f"not shipped, train the run again (--task {run.task} --dataset {run.dataset} --method "
                          f"{run.method} --seed {run.seed} and the flags of its recipe) and name the new record "
                          f"({path.stem}_run2.json)")
    if sha256_file(checkpoint) != artifact.sha256:
        raise RecordError(f"{checkpoint}: its SHA-256 is not the one in the record")
    return checkpoint


def read_strictly(path: Path, model: type[Model]) -> Model:
    """A JSON file as a strict model.  Raises RecordError, in one line that names the file and the field."""
    try:
        require(path.is_file() or not (path.exists() or path.is_symlink()), "is no regular file")
        require(path.stat().st_size <= MAX_RECORD_BYTES,
                f"larger than the {MAX_RECORD_BYTES} bytes that a record may have")
        raw = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_no_duplicates,
                         parse_constant=lambda name: require(False, f"{name} is not a number that a record may hold"))
        return model.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        message = first["msg"].removeprefix("Value error, ")
        raise RecordError(f"{path.name}: {where}{': ' if where else ''}{message}{more}") from None
    except RecursionError:
        raise RecordError(f"{path.name}: nested too deeply to be a record") from None
    except OSError as error:
        raise RecordError(f"{path.name}: {error.strerror}") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise RecordError(f"{path.name}: is not a JSON file, or a damaged one ({error})") from None
    except ValueError as error:  # one of the above, or a number of thousands of digits
        raise RecordError(f"{path.name}: {' '.join(str(error).split())}") from None


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    seen: dict[str, Any] = {}
    for key, value in pairs:
        require(key not in seen, f"key {key!r} occurs twice")
        seen[key] = value
    return seen


def write_record(record: Record, path: Path) -> None:
    """Write a record as indented JSON, atomically."""
    text = json.dumps(record.model_dump(by_alias=True), indent=1, allow_nan=False) + "\n"
    write_bytes(path, text.encode())
