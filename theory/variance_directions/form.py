"""The form of the result in theory.json, strictly validated.  No torch here."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from theory.fields import AtLeast0
from utils.records.schema import Fraction, Positive, Strict


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
    def _check(self) -> Self:
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
