"""The form of the result in theory.json, strictly validated.  No torch here."""

from typing import Annotated

from pydantic import Field

from theory.fields import Above0, AtLeast0, Finite
from utils.records.schema import Positive, Strict


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
