"""The schema of theory.json: what each experiment measured, read as strictly as a record.  No torch here.

    results = read_theory(Path("results/theory.json"))
    results.experiments.linear_autoencoder.cosines
"""

from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, create_model

from utils.records.schema import UTC, Count, Environment, Seconds, Strict, Text, read_strictly

QUESTIONS = ("linear_autoencoder", "reconstruction_loss", "variance_directions", "mutual_information", "temperature",
             "alignment_uniformity", "projection_head", "collapse")  # folders, in the chapter's order
RESULTS: dict[str, Any] = {name: import_module(f"theory.{name}.result").Result for name in QUESTIONS}
Experiments = create_model("Experiments", __base__=Strict, **RESULTS)


class TheoryResults(Strict):
    schema_version: Annotated[Literal[3], Field(alias="schema")]
    seed: Count
    started: UTC
    seconds: dict[Text, Seconds]  # by experiment; processor time, because other work on the machine hardly changes it
    environment: Environment
    libraries: dict[Text, Text]  # versions of scikit-learn and SciPy, which the environment does not contain
    experiments: Experiments  # type: ignore[valid-type]  # made from the names above


def read_theory(path: Path) -> TheoryResults | None:
    """theory.json, or None if it does not exist.  Raises RecordError, in one line, if it is invalid."""
    return read_strictly(path, TheoryResults) if path.exists() or path.is_symlink() else None
