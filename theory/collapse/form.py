"""The form of the result in theory.json.  No torch here."""

from typing import Self

from pydantic import model_validator

from theory.fields import Above0, AtLeast0
from utils.records.schema import Fraction, Positive, Strict, Text, require

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
    without: Text  # "" for the whole method

    @property
    def label(self) -> str:
        """'BYOL', 'BYOL without the predictor'."""
        return f"{self.method} without {self.without}" if self.without else self.method


class Collapse(Strict):
    steps: Positive
    width: Positive
    threshold: Above0
    untrained: Embedding
    rows: list[Variant]

    @model_validator(mode="after")
    def _check(self) -> Self:
        require(tuple(row.name for row in self.rows) == VARIANTS, f"the variants must be {', '.join(VARIANTS)}")
        return self

    def by_name(self, name: str) -> Variant:
        """One of VARIANTS."""
        return self.rows[VARIANTS.index(name)]
