"""The form of the result in theory.json.  No torch here."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from utils.records.schema import Fraction, Positive, Strict, require


class Part(Strict):
    missed: Fraction  # share of the test images' squared deviation that a projection on these directions loses
    accuracy: Fraction


class Split(Strict):
    first: Positive  # j
    leading: Part  # the first j principal directions
    others: Part


class Directions(Strict):
    directions: Positive
    splits: Annotated[list[Split], Field(min_length=2, max_length=64)]

    def at(self, first: int) -> Split:
        """The split after so many directions."""
        return next(split for split in self.splits if split.first == first)

    @property
    def most_even(self) -> Split:
        """The split whose parts miss the most similar shares."""
        return min(self.splits, key=lambda split: abs(split.leading.missed - split.others.missed))


class VarianceDirections(Strict):
    patterns: Positive  # background patterns
    chance: Fraction  # share of the largest class
    digits: Directions
    backgrounds: Directions

    @model_validator(mode="after")
    def _check(self) -> Self:
        for part in (self.digits, self.backgrounds):
            splits = [split.first for split in part.splits]
            require(self.patterns in splits, "the number of background patterns is no split")
            require(max(splits) < part.directions, "a split leaves no other directions")
        return self
