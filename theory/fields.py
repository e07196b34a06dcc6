"""Value ranges that the forms of the experiments' results share.  No torch here."""

from typing import Annotated

from pydantic import Field

from utils.records.schema import Fraction

Finite = Annotated[float, Field(ge=-1e6, le=1e6)]
AtLeast0 = Annotated[float, Field(ge=0, le=1e6)]
Above0 = Annotated[float, Field(ge=1e-6, le=1e6)]
Cosines = Annotated[list[Fraction], Field(min_length=2, max_length=64)]
Series = Annotated[list[Finite], Field(min_length=2, max_length=1000)]
Image = Annotated[list[Finite], Field(min_length=64, max_length=64)]  # 8 x 8
