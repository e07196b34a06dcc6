"""The form of the result in theory.json.  No torch here."""

from typing import Annotated

from pydantic import Field

from theory.fields import Above0, AtLeast0, Finite
from utils.records.schema import Positive, Strict


class Bound(Strict):
    information: Above0  # nats, as all of these
    n: Positive
    bound: Finite  # log N - loss


class GaussianBound(Bound):
    standard_error: AtLeast0
    ceiling: AtLeast0  # log N

    @property
    def exceeded(self) -> bool:
        """Whether the information is more than three standard errors below its bound."""
        return self.bound > self.information + 3 * self.standard_error


class BitBound(Bound):
    estimate: Finite  # log(2N - 1) - loss

    @property
    def excess(self) -> float:
        """Nats by which the estimate is above the information."""
        return self.estimate - self.information


class SphereBound(BitBound):
    temperature: Above0
    standard_error: AtLeast0
    ceiling: AtLeast0  # log(2N - 1)


class MutualInformation(Strict):
    dimensions: Positive
    anchors: Positive
    gaussian: Annotated[list[GaussianBound], Field(min_length=2, max_length=200)]
    sphere: Annotated[list[SphereBound], Field(min_length=2, max_length=200)]
    one_bit: Annotated[list[BitBound], Field(min_length=2, max_length=200)]
