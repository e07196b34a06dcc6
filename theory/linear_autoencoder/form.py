"""The form of the result in theory.json.  No torch here."""

from typing import Self

from pydantic import model_validator

from theory.fields import AtLeast0, Cosines
from utils.records.schema import Positive, Strict, require


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
    def _check(self) -> Self:
        lengths = {len(cosines) for cosines in (self.cosines, self.random_cosines, self.axis_cosines,
                                                self.other_seed_cosines, self.other_seed_axis_cosines)}
        require(len(lengths) == 1, "the lists of cosines have different lengths")
        return self
