"""The form of the result in theory.json, strictly validated.  No torch here."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from utils.records.schema import Fraction, Positive, Strict


class Probe(Strict):
    features: Literal["pixels", "before the head", "after the head"]
    class_accuracy: Fraction
    turn_accuracy: Fraction


Probes = Annotated[list[Probe], Field(min_length=3, max_length=3)]


class ProjectionHead(Strict):
    width: Positive
    steps: Positive
    turns: Positive
    test_images: Positive
    untrained: Probes
    trained: Probes

    @model_validator(mode="after")
    def _check(self) -> Self:
        for rows in (self.untrained, self.trained):
            if [row.features for row in rows] != ["pixels", "before the head", "after the head"]:
                raise ValueError("the features must be pixels, before the head and after the head")
        return self
