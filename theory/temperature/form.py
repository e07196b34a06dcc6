"""The form of the result in theory.json.  No torch here."""

from typing import Annotated

from pydantic import Field

from theory.fields import Above0, AtLeast0
from utils.records.schema import Fraction, Positive, Strict


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
