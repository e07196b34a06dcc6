"""The form of the result in theory.json.  No torch here."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from theory.fields import Finite
from utils.records.schema import Positive, Strict, Text, require

CORNERS = ("collapsed", "two opposite points", "uniform, views unrelated", "uniform, views alike")


class Uniformity(Strict):
    dimensions: Positive
    measured: Finite
    lowest: Finite

    @property
    def error(self) -> float:
        """Difference of the measurement from the closed form."""
        return abs(self.measured - self.lowest)


class Corner(Strict):
    name: Text
    alignment: Finite
    uniformity: Finite


class AlignmentUniformity(Strict):
    points: Positive
    rows: Annotated[list[Uniformity], Field(min_length=2, max_length=100)]
    corners: list[Corner]

    @model_validator(mode="after")
    def _check(self) -> Self:
        require(tuple(corner.name for corner in self.corners) == CORNERS, f"the corners must be {', '.join(CORNERS)}")
        return self
