"""The form of theory.json: what each experiment measured.  Reading trusts nothing, as with the records; no torch here.

    results = read_theory(Path("results/theory.json"))
    results.experiments.linear_autoencoder.cosines
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from utils.records.schema import UTC, Count, Environment, Fraction, Positive, Seconds, Strict, Text, read_strictly

CORNERS = ("collapsed", "two opposite points", "uniform, views unrelated", "uniform, views alike")
VARIANTS = ("simclr", "dcl", "positives_only", "moco", "moco_positives_only", "vicreg", "vicreg_no_variance",
            "vicreg_no_covariance", "byol", "byol_no_average", "byol_no_predictor", "byol_no_stop",
            "byol_no_batch_norm")

Finite = Annotated[float, Field(ge=-1e6, le=1e6)]
AtLeast0 = Annotated[float, Field(ge=0, le=1e6)]
Above0 = Annotated[float, Field(ge=1e-6, le=1e6)]
Cosines = Annotated[list[Fraction], Field(min_length=2, max_length=64)]
Series = Annotated[list[Finite], Field(min_length=2, max_length=1000)]
Image = Annotated[list[Finite], Field(min_length=64, max_length=64)]  # 8 x 8


def same_length(model: Strict, *names: str) -> None:
    """ValueError unless these lists are equally long."""
    lengths = {name: len(getattr(model, name)) for name in names}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"lists of different lengths: {lengths}")


class LinearAutoencoder(Strict):
    images: Positive
    pixels: Positive
    latent: Positive
    steps: Positive
    cosines: Cosines  # of the principal angles to PCA's subspace
    random_cosines: Cosines
    axis_cosines: Cosines  # of each decoder column with the PCA axis nearest to it
    other_seed_cosines: Cosines  # of the principal angles between two trainings
    other_seed_axis_cosines: Cosines
    autoencoder_error: AtLeast0  # mean squared pixel error
    pca_error: AtLeast0
    random_error: AtLeast0

    @model_validator(mode="after")
    def _check(self) -> "LinearAutoencoder":
        same_length(self, "cosines", "random_cosines", "axis_cosines", "other_seed_cosines", "other_seed_axis_cosines")
        return self


class ReconstructionLoss(Strict):
    sample: Positive
    sample_median: Finite
    sample_mean: Finite
    found_l1: Finite
    found_l2: Finite
    path_steps: Annotated[list[Count], Field(min_length=2, max_length=1000)]
    path_l1: Series
    path_l2: Series
    images: Positive
    image_l1: Image  # best constant image by gradient descent
    image_l2: Image
    l1_image_to_median: AtLeast0  # largest difference of a pixel
    l2_image_to_mean: AtLeast0
    blank_median: Fraction  # share of blank pixels
    blank_mean: Fraction
    l1_of_median: AtLeast0  # mean absolute error of the pixelwise median, and so on
    l1_of_mean: AtLeast0
    l2_of_median: AtLeast0
    l2_of_mean: AtLeast0

    @model_validator(mode="after")
    def _check(self) -> "ReconstructionLoss":
        same_length(self, "path_steps", "path_l1", "path_l2")
        return self


class Directions(Strict):
    directions: Positive
    variance: Annotated[list[AtLeast0], Field(min_length=1, max_length=64)]
    top_missed: list[Fraction]  # share of the squared deviation that the first j directions lose, test images
    top_accuracy: list[Fraction]
    top_white_missed: list[Fraction]  # the same after whitening, training images
    bottom_missed: list[Fraction]  # the others, without the first j
    bottom_accuracy: list[Fraction]
    bottom_white_missed: list[Fraction]


class VarianceDirections(Strict):
    splits: Annotated[list[Positive], Field(min_length=2, max_length=64)]
    pixels: Positive
    patterns: Positive  # background patterns
    chance: Fraction  # share of the largest class
    digits: Directions
    backgrounds: Directions

    @model_validator(mode="after")
    def _check(self) -> "VarianceDirections":
        for part in (self.digits, self.backgrounds):
            lengths = {len(getattr(part, f"{side}_{what}")) for side in ("top", "bottom")
                       for what in ("missed", "accuracy", "white_missed")}
            if lengths != {len(self.splits)}:
                raise ValueError("not one number for each split")
            if len(part.variance) != part.directions or part.directions <= max(self.splits):
                raise ValueError("variance has not one number for each direction, or a split leaves none")
        if self.patterns not in self.splits:
            raise ValueError("the number of background patterns is no split")
        return self


class GaussianBound(Strict):
    information: Above0  # nats, as all of these
    n: Positive
    bound: Finite  # log N - loss
    standard_error: AtLeast0
    ceiling: AtLeast0  # log N


class SphereBound(Strict):
    information: Above0
    temperature: Above0
    n: Positive
    bound: Finite  # log N - loss
    estimate: Finite  # log(2N - 1) - loss
    standard_error: AtLeast0
    ceiling: AtLeast0  # log(2N - 1)


class BitBound(Strict):
    information: Above0
    n: Positive
    bound: Finite
    estimate: Finite


class MutualInformation(Strict):
    dimensions: Positive
    anchors: Positive
    gaussian: Annotated[list[GaussianBound], Field(min_length=2, max_length=200)]
    sphere: Annotated[list[SphereBound], Field(min_length=2, max_length=200)]
    one_bit: Annotated[list[BitBound], Field(min_length=2, max_length=200)]


class Sharing(Strict):
    temperature: Above0
    nearest: Fraction  # share of the negatives' gradient on the nearest one
    hardest_tenth: Fraction
    effective_negatives: Above0
    gradient_error: AtLeast0  # closed form against autograd, relative


class Temperature(Strict):
    images: Positive
    negatives: Positive
    hardest: Fraction
    rows: Annotated[list[Sharing], Field(min_length=2, max_length=100)]
    same_class_hardest: Fraction
    same_class_all: Fraction


class Uniformity(Strict):
    dimensions: Positive
    measured: Finite
    lowest: Finite


class Corner(Strict):
    name: Text
    alignment: Finite
    uniformity: Finite


class AlignmentUniformity(Strict):
    points: Positive
    rows: Annotated[list[Uniformity], Field(min_length=2, max_length=100)]
    corners: list[Corner]

    @model_validator(mode="after")
    def _check(self) -> "AlignmentUniformity":
        if tuple(corner.name for corner in self.corners) != CORNERS:
            raise ValueError(f"the corners must be {', '.join(CORNERS)}")
        return self


class Probe(Strict):
    features: Literal["pixels", "before the head", "after the head"]
    class_accuracy: Fraction
    turn_accuracy: Fraction


Probes = Annotated[list[Probe], Field(min_length=3, max_length=3)]


class ProjectionHead(Strict):
    width: Positive
    steps: Positive
    turns: Positive
    test_images: Positive
    untrained: Probes
    trained: Probes

    @model_validator(mode="after")
    def _check(self) -> "ProjectionHead":
        for rows in (self.untrained, self.trained):
            if [row.features for row in rows] != ["pixels", "before the head", "after the head"]:
                raise ValueError("the features must be pixels, before the head and after the head")
        return self


class Embedding(Strict):
    spread: AtLeast0
    rank_about_origin: AtLeast0
    rank_about_mean: AtLeast0
    linear_accuracy: Fraction


class Variant(Embedding):
    name: Text
    method: Text
    without: Text


class Collapse(Strict):
    steps: Positive
    width: Positive
    threshold: Above0
    untrained: Embedding
    rows: list[Variant]

    @model_validator(mode="after")
    def _check(self) -> "Collapse":
        if tuple(row.name for row in self.rows) != VARIANTS:
            raise ValueError(f"the variants must be {', '.join(VARIANTS)}")
        return self


class Experiments(Strict):
    linear_autoencoder: LinearAutoencoder
    reconstruction_loss: ReconstructionLoss
    variance_directions: VarianceDirections
    mutual_information: MutualInformation
    temperature: Temperature
    alignment_uniformity: AlignmentUniformity
    projection_head: ProjectionHead
    collapse: Collapse


class TheoryResults(Strict):
    schema_version: Annotated[Literal[1], Field(alias="schema")]
    seed: Count
    started: UTC
    seconds: dict[Text, Seconds]  # processor time, by experiment: wall time says more of the machine's other work
    environment: Environment
    libraries: dict[Text, Text]  # versions of scikit-learn and SciPy, which the environment does not name
    experiments: Experiments


def read_theory(path: Path) -> TheoryResults | None:
    """theory.json, or None where there is none.  Raises RecordError, in one line, where it cannot be believed."""
    return read_strictly(path, TheoryResults) if path.exists() or path.is_symlink() else None
