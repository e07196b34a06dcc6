"""The schema of theory.json: what each experiment measured, read as strictly as a record.  No torch here.

    results = read_theory(Path("results/theory.json"))
    results.experiments.linear_autoencoder.cosines
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from theory.alignment_uniformity.result import AlignmentUniformity
from theory.collapse.result import Collapse
from theory.linear_autoencoder.result import LinearAutoencoder
from theory.mutual_information.result import MutualInformation
from theory.projection_head.result import ProjectionHead
from theory.reconstruction_loss.result import ReconstructionLoss
from theory.temperature.result import Temperature
from theory.variance_directions.result import VarianceDirections
from utils.records.schema import UTC, Count, Environment, Seconds, Strict, Text, read_strictly


class Experiments(Strict):
    linear_autoencoder: LinearAutoencoder
    reconstruction_loss: ReconstructionLoss
    variance_directions: VarianceDirections
    mutual_information: MutualInformation
    temperature: Temperature
    alignment_uniformity: AlignmentUniformity
    projection_head: ProjectionHead
    collapse: Collapse


QUESTIONS = tuple(Experiments.model_fields)  # in the chapter's order; each is also the folder's name


class TheoryResults(Strict):
    schema_version: Annotated[Literal[3], Field(alias="schema")]
    seed: Count
    started: UTC
    seconds: dict[Text, Seconds]  # by experiment; processor time, because other work on the machine hardly changes it
    environment: Environment
    libraries: dict[Text, Text]  # versions of scikit-learn and SciPy, which the environment does not contain
    experiments: Experiments


def read_theory(path: Path) -> TheoryResults | None:
    """theory.json, or None if it does not exist.  Raises RecordError, in one line, if it is invalid."""
    return read_strictly(path, TheoryResults) if path.exists() or path.is_symlink() else None
