"""Types of fields that the results of several experiments share.  No torch here."""

from collections.abc import Iterable
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, Field

from utils.records.schema import require

Entry = TypeVar("Entry")

Finite = Annotated[float, Field(ge=-1e6, le=1e6)]
AtLeast0 = Annotated[float, Field(ge=0, le=1e6)]
Above0 = Annotated[float, Field(ge=1e-6, le=1e6)]
Image = Annotated[list[Finite], Field(min_length=64, max_length=64)]  # 8 x 8
Rows = Annotated[list[Entry], Field(min_length=2, max_length=200)]


def named(names: Iterable[str | int], field: str = "name") -> AfterValidator:
    """For a list of rows: the values of their `field` must be these names, in this order."""
    def check(rows: list[Any]) -> list[Any]:
        require([getattr(row, field) for row in rows] == list(names), f"the rows must be {', '.join(map(str, names))}")
        return rows

    return AfterValidator(check)
