"""The class: the manifest (who submitted when, a class list) and the overrides, checked against the rubric.

Both are YAML; the manifest may also be a table (CSV), or the submission_metadata.yml of Gradescope's export.
"""

import csv
import difflib
import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo, available_timezones

from pydantic import Field, model_validator

from grading.rubric import Override, Rubric
from grading.strict_yaml import Moment, Where, read_text, read_yaml, validated
from grading.submission import Metadata, Opener, shown
from utils.errors import UsageError
from utils.records.schema import Strict, require

DAY, CHANGE = timedelta(days=1), timedelta(hours=2)  # clocks change by two hours at most
IMPLAUSIBLE = 200  # days between deadline and submission: probably another year
METADATA_BYTES = 200_000_000  # it holds every earlier submission's results, too
# lines of Gradescope's metadata other than the key of a submission, its submitters' names, and its time as utc or as is
NOT_ASKED = re.compile(r"^(?!submission_|  :submitters:|  - :name:|  :created_at:|    utc:).*$", re.MULTILINE)


class Submitted(Strict):
    """The manifest's entry for one student: the time of submission, or the number of days late; neither if absent.

    extension_days: days by which this student's deadline is later; name: shown in grades.csv.
    """

    submitted: Moment | None = None
    days_late: Annotated[int, Field(ge=-IMPLAUSIBLE, le=IMPLAUSIBLE)] | None = None
    extension_days: Annotated[int, Field(ge=0, le=365)] = 0
    name: Annotated[str, Field(max_length=200)] = ""

    @model_validator(mode="before")
    @classmethod
    def _from_gradescope(cls, entry: Any) -> Any:
        if not isinstance(entry, dict) or ":created_at" not in entry:
            return entry
        time, names = entry[":created_at"], [str(one.get(":name") or "") for one in entry.get(":submitters") or []
                                              if isinstance(one, dict)]
        return {"submitted": time.get("utc") if isinstance(time, dict) else time, "name": ", ".join(names)[:200]}

    @model_validator(mode="after")
    def _check(self) -> "Submitted":
        require(self.submitted is None or self.days_late is None, "needs either submitted or days_late, not both")
        return self

    def days(self, rubric: Rubric) -> int:
        """Days late by the clock of the rubric's time zone; a day that has begun counts.

        Without a time zone a day has 24 hours.  ValueError if that may be another number because the clocks changed in
        some time zone that the deadline's UTC offset fits (UTC fits all), and for a time that is probably a mistake.
        """
        submitted, deadline = self.submitted, rubric.deadline
        if submitted is None or deadline is None and rubric.late is None:  # then nothing depends on a time
            return max(0, (self.days_late or 0) - self.extension_days)
        if deadline is None:
            raise ValueError("submitted needs a deadline in the rubric")
        apart = submitted - deadline
        require(abs(apart // DAY) <= IMPLAUSIBLE, f"submitted is {abs(apart // DAY)} days "
                f"{'after' if apart > DAY else 'before'} the deadline; is the year right?")
        if submitted <= deadline:
            return 0

        def days(zone: ZoneInfo | None) -> int:
            late = apart
            if zone:
                late = submitted.astimezone(zone).replace(tzinfo=None) - deadline.astimezone(zone).replace(tzinfo=None)
            return max(0, math.ceil(late / DAY) - self.extension_days)

        found = days(rubric.timezone)
        if rubric.timezone or CHANGE < apart % DAY < DAY - CHANGE:
            return found
        for zone in map(ZoneInfo, sorted(available_timezones())):  # a deadline in UTC may be of any of them
            if deadline.utcoffset() in (deadline.astimezone(zone).utcoffset(), timedelta(0)) and days(zone) != found:
                raise ValueError(f"the clocks change in this week: the submission is {days(zone)} or {found} days "
                                 f"late; add the time zone to the rubric, for example timezone: {zone.key}")
        return found


@dataclass(frozen=True)
class Assignment:
    """The teacher's files.  days_late, names, overrides: by student, for those who have any.

    absent: students of the manifest without a submission; metadata: Gradescope's, if it was found and is the manifest.
    """

    rubric: Rubric
    days_late: dict[str, int] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    overrides: dict[str, dict[str, Override]] = field(default_factory=dict)
    absent: tuple[str, ...] = ()
    metadata: Path | None = None


def read_assignment(rubric_file: Path, manifest: Path | None, overrides_file: Path | None, students: list[str],
                    metadata: Metadata = None) -> Assignment:
    """Read the teacher's files and check them against each other and the students.

    metadata: Gradescope's, among the submissions; it is the manifest if no other is given.  Raises UsageError.
    """
    rubric, _ = read_yaml(rubric_file, Rubric)
    used, opened = (None, None) if manifest or not metadata else metadata
    manifest = manifest or used
    entries, where = read_manifest(manifest, opened)
    listed: dict[str, Submitted] = {}
    days: dict[str, int] = {}
    for key, entry in entries.items():
        student, entry = shown(key), entry or Submitted()
        try:
            require(student not in listed, "is listed twice")
            require(student not in students or entry.submitted is not None or entry.days_late is not None,
                    "needs either submitted or days_late; days_late: 0 means in time")
            listed[student], days[student] = entry, entry.days(rubric)
        except ValueError as error:
            raise UsageError(f"{where(key)}: {key}: {error}") from None
    # Gradescope's export has everybody whom its list names, unless somebody has taken folders out to grade a few
    absent = () if used else tuple(student for student in listed if student not in students)
    for student in students:
        if manifest and student not in listed:
            raise UsageError(f"{manifest}: no entry for {student}{nearest(student, absent)}; days_late: 0 means in "
                             "time")
    names = {student: entry.name for student, entry in listed.items()}
    return Assignment(rubric, days, names, read_overrides(overrides_file, rubric, [*students, *absent]), absent, used)


def nearest(name: str, names: Sequence[str]) -> str:
    """"; did you mean ...?" with the name that is most like it, whatever its case and leading zeros; or ""."""
    folded = {one.casefold().lstrip("0"): one for one in names}
    near = difflib.get_close_matches(name.casefold().lstrip("0"), folded, n=1)
    return f"; did you mean {folded[near[0]]}?" if near else ""


def read_manifest(path: Path | None, opened: Opener | None) -> tuple[dict[str, Submitted | None], Where]:
    """The manifest's entries by student, and their lines.  opened: opens it in an archive.  Raises UsageError."""
    if path is None:
        return {}, str
    if path.suffix.lower() in (".csv", ".tsv"):
        return read_table(path)
    text = read_text(path, METADATA_BYTES, opened)
    if ":created_at:" in text:
        text = NOT_ASKED.sub("", text)  # of megabytes, whose parsing takes minutes
    return read_yaml(path, dict[str, Submitted | None], text)


def read_table(path: Path) -> tuple[dict[str, Submitted | None], Where]:
    """A class list as spreadsheets save it, separated by commas, semicolons or tabs.

    The columns are student and the fields of Submitted.  Raises UsageError.
    """
    text, found, lines = read_text(path), dict[str, dict[str, str]](), dict[str, int]()
    rows = csv.DictReader(io.StringIO(text), delimiter=max(",;\t", key=text.partition("\n")[0].count), strict=True,
                          restkey="cells_beyond_the_last_column", restval="")

    def where(student: str, *_: str) -> str:
        return f"{path}, line {lines[student]}"

    try:
        names = [name.strip().lower().replace(" ", "_") for name in rows.fieldnames or ()]
        for name in filter(None, names):
            require(names.count(name) == 1, f"two columns are called {name}")
        rows.fieldnames = [name or f"column_{i}_without_a_name" for i, name in enumerate(names, start=1)]
        for row in rows:
            cells = {name: cell for name, value in row.items() if (cell := "".join(value).strip())}
            student = cells.pop("student", "")
            require(bool(student) or not cells, "nothing in a column student")
            require(student not in found, f"{student} is listed twice")
            if student:
                found[student], lines[student] = cells, rows.line_num
    except (csv.Error, ValueError) as error:
        raise UsageError(f"{path}, line {rows.line_num}: {error}") from None
    return validated(found, dict[str, Submitted | None], where), where


def read_overrides(path: Path | None, rubric: Rubric, students: list[str]) -> dict[str, dict[str, Override]]:
    """The teacher's decisions by student and criterion.  Raises UsageError."""
    if path is None:
        return {}
    most = {criterion.id: criterion.points for criterion in rubric.criteria}
    found: dict[str, dict[str, Override]] = {}
    entries, where = read_yaml(path, list[Override])
    for i, one in enumerate(entries):
        student = shown(one.student)
        own = found.setdefault(student, {})
        try:
            require(student in students, f"there is no submission of {one.student}{nearest(student, students)}")
            require(one.criterion in most, f"no criterion {one.criterion}; choose from {', '.join(most)}")
            require(one.points <= most[one.criterion], f"{one.points:g} points for {one.criterion} of {one.student}; "
                                                       f"the criterion has {most[one.criterion]:g}")
            require(one.criterion not in own, f"{one.criterion} of {one.student} was set above; keep one of the two")
        except ValueError as error:
            raise UsageError(f"{where(i)}: {error}") from None
        own[one.criterion] = one
    return found
