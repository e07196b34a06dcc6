"""The form of the result in theory.json, strictly validated.  No torch here."""

from typing import Self

from pydantic import model_validator

from theory.fields import Above0, AtLeast0
from utils.records.schema import Fraction, Positive, Strict, Text

VARIANTS = ("simclr", "dcl", "positives_only", "moco", "moco_positives_only", "vicreg", "vicreg_no_variance",
            "vicreg_no_covariance", "byol", "byol_no_average", "byol_no_predictor", "byol_no_stop",
            "byol_no_batch_norm")


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
    def _check(self) -> Self:
        if tuple(row.name for row in self.rows) != VARIANTS:
            raise ValueError(f"the variants must be {', '.join(VARIANTS)}")
        return self
