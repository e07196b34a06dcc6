"""The form of the result in theory.json.  No torch here."""

from typing import Self

from pydantic import model_validator

from utils.records.schema import Fraction, Positive, Strict, Text, require

FEATURES = ("pixels", "before the head", "after the head")


class Probe(Strict):
    features: Text
    class_accuracy: Fraction
    turn_accuracy: Fraction


class ProjectionHead(Strict):
    width: Positive
    steps: Positive
    turns: Positive
    test_images: Positive
    untrained: list[Probe]
    trained: list[Probe]

    @model_validator(mode="after")
    def _check(self) -> Self:
        for rows in (self.untrained, self.trained):
            require(tuple(row.features for row in rows) == FEATURES, f"the features must be {', '.join(FEATURES)}")
        return self
