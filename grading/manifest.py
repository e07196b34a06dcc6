"""The class: the manifest (who submitted when, a class list) and the overrides, both YAML, checked against the rubric.

The manifest may also be the submission_metadata.yml of Gradescope's export.
"""

import math
import re
import zoneinfo
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from grading.rubric import Override, Rubric
from grading.strict_yaml import Moment, Place, read_text, read_yaml
from grading.submission import METADATA, shown
from utils.errors import UsageError
from utils.records.schema import Strict

DAY = timedelta(days=1)
IMPLAUSIBLE = 200  # days between deadline and submission: probably another year
METADATA_BYTES = 200_000_000  # it holds every earlier submission's results, too
# of a submission, of its submitters, and its time: on the key's line or on the next, as utc
GRADESCOPE = re.compile(r"^(?P<key>submission_\w+):\s*$|^ {2}- :name: (?P<name>.*)$|"
                        r"^ {2}:created_at: (?:!.*\n {4}utc: (?:&\w+ )?)?(?P<time>\d.*)$", re.MULTILINE)


class Submitted(Strict):
    """The manifest's entry for one student: the time of submission, or the number of days late; neither if absent.

    extension_days: days by which this student's deadline is later; name: shown in grades.csv.
    """

    submitted: Moment | None = None
    days_late: Annotated[int, Field(ge=-36500, le=36500)] | None = None
    extension_days: Annotated[int, Field(ge=0, le=365)] = 0
    name: Annotated[str, Field(max_length=200)] = ""

    @model_validator(mode="after")
    def _check(self) -> "Submitted":
        if self.submitted is not None and self.days_late is not None:
            raise ValueError("needs either submitted or days_late, not both")
        return self

    def days(self, rubric: Rubric) -> int:
        """Days late; a day that has begun counts.  Raises ValueError."""
        if self.submitted is None:
            return max(0, (self.days_late or 0) - self.extension_days)
        if rubric.deadline is None:
            raise ValueError("submitted needs a deadline in the rubric")
        apart = (self.submitted - rubric.deadline) // DAY
        if abs(apart) > IMPLAUSIBLE:
            raise ValueError(f"submitted is {abs(apart)} days {'after' if apart > 0 else 'before'} the deadline; is "
                             "the year right?")
        return days_after(self.submitted, rubric.deadline, self.extension_days, rubric.timezone)


def days_after(submitted: datetime, deadline: datetime, extension: int, timezone: str | None) -> int:
    """Days begun after the deadline and the extension, by the clock of a time zone.

    Without a time zone a day has 24 hours.  ValueError if that may be another number because the clocks changed in
    some time zone that the deadline's UTC offset fits.
    """
    if submitted <= deadline:
        return 0

    def days(zone: zoneinfo.ZoneInfo | None) -> int:
        late = submitted - deadline
        if zone:
            late = submitted.astimezone(zone).replace(tzinfo=None) - deadline.astimezone(zone).replace(tzinfo=None)
        return max(0, math.ceil(late / DAY) - extension)

    if timezone:
        return days(zoneinfo.ZoneInfo(timezone))
    found = days(None)
    into_a_day = (submitted - deadline) % DAY
    if timedelta(hours=2) < into_a_day < DAY - timedelta(hours=2):  # clocks change by two hours at most
        return found
    for zone in map(zoneinfo.ZoneInfo, sorted(zoneinfo.available_timezones())):
        if deadline.astimezone(zone).utcoffset() == deadline.utcoffset() and days(zone) != found:
            raise ValueError(f"the clocks change in this week: the submission is {days(zone)} or {found} days late; "
                             f"add the time zone to the rubric, for example timezone: {zone.key}")
    return found


@dataclass(frozen=True)
class Assignment:
    """The teacher's files.  days_late, names, overrides: by student, for those who have any.

    absent: students of the manifest without a submission.
    """

    rubric: Rubric
    days_late: dict[str, int] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    overrides: dict[str, list[Override]] = field(default_factory=dict)
    absent: tuple[str, ...] = ()


def read_assignment(rubric_file: Path, manifest: Path | None, overrides_file: Path | None,
                    students: list[str]) -> Assignment:
    """Read the teacher's files and check them against each other and the students.  Raises UsageError."""
    lines: dict[Place, int] = {}
    rubric = read_yaml(rubric_file, Rubric)
    listed: dict[str, Submitted] = {}
    days: dict[str, int] = {}
    for key, entry in (read_manifest(manifest, lines) if manifest else {}).items():
        student = shown(key)
        listed[student] = entry or Submitted()
        try:
            days[student] = listed[student].days(rubric)
        except ValueError as error:
            raise UsageError(f"{manifest}, line {lines.get((key,), 1)}: {key}: {error}") from None
        if student in students and listed[student].submitted is listed[student].days_late is None:
            raise UsageError(f"{manifest}, line {lines.get((key,), 1)}: {key}: needs either submitted or days_late; "
                             "{days_late: 0} means in time")
    absent = tuple(student for student in listed if student not in students)
    for student in students:
        if manifest and student not in listed:
            raise UsageError(f"{manifest}: no entry for {student}; {{days_late: 0}} means in time"
                             + (f". Entries without a submission: {', '.join(absent[:20])}" if absent else ""))
    names = {student: entry.name for student, entry in listed.items()}
    return Assignment(rubric, days, names, read_overrides(overrides_file, rubric, {*students, *absent}), absent)


def read_manifest(path: Path, lines: dict[Place, int]) -> dict[str, Submitted | None]:
    """The manifest's entries by student; `lines` gains their lines.  Raises UsageError."""
    if path.name != METADATA:
        return read_yaml(path, dict[str, Submitted | None], lines)
    text, entries, key = read_text(path, METADATA_BYTES), dict[str, dict[str, list[str]]](), ""
    for match in GRADESCOPE.finditer(text):  # not as YAML: it has tags of Ruby, and parsing megabytes takes minutes
        if match["key"]:
            key = match["key"]
            entries[key] = {"name": [], "time": []}
            lines[(key,)] = text.count("\n", 0, match.start()) + 1
        elif key:
            part = "name" if match["name"] else "time"
            entries[key][part].append((match[part] or "").strip(" '\""))
    found: dict[str, Submitted | None] = {}
    for key, entry in entries.items():
        try:
            time = re.sub(r"^(\S+)[T ]([\d:]+)\S* *(Z|UTC|[-+]\d\d:?\d\d)$", r"\1T\2\3", entry["time"][0])
            found[key] = Submitted(submitted=datetime.fromisoformat(time.replace("UTC", "Z")),
                                   name=", ".join(entry["name"])[:200])
        except (IndexError, ValueError):
            raise UsageError(f"{path}, line {lines[(key,)]}: {key} has no :created_at: that is a time") from None
    if not found:
        raise UsageError(f"{path}: lists no submission as Gradescope's export does")
    return found


def read_overrides(path: Path | None, rubric: Rubric, students: set[str]) -> dict[str, list[Override]]:
    """The teacher's decisions by student.  Raises UsageError."""
    lines: dict[Place, int] = {}
    most = {criterion.id: criterion.points for criterion in rubric.criteria}
    found: dict[str, list[Override]] = {}
    for i, one in enumerate(read_yaml(path, list[Override], lines) if path else []):
        where, student = f"{path}, line {lines[(i,)]}", shown(one.student)
        if student not in students:
            raise UsageError(f"{where}: there is no submission of {one.student}")
        if one.criterion not in most:
            raise UsageError(f"{where}: no criterion {one.criterion}; choose from {', '.join(most)}")
        if one.points > most[one.criterion]:
            raise UsageError(f"{where}: {one.points:g} points for {one.criterion} of {one.student}; "
                             f"the criterion has {most[one.criterion]:g}")
        found.setdefault(student, []).append(one)
    return found
