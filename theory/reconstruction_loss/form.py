"""The form of the result in theory.json.  No torch here."""

from typing import Self

from pydantic import model_validator

from theory.fields import AtLeast0, Finite, Image, Series
from utils.records.schema import Count, Fraction, Positive, Strict, require


class ReconstructionLoss(Strict):
    sample: Positive
    sample_median: Finite
    sample_mean: Finite
    found_l1: Finite
    found_l2: Finite
    path_steps: list[Count]
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
    def _check(self) -> Self:
        require(len(self.path_steps) == len(self.path_l1) == len(self.path_l2), "the paths have different lengths")
        return self
