"""Read the teacher's YAML files strictly: every error names the file, the line, the field and the likely meaning."""

import re
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_origin

import yaml
from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field, TypeAdapter, ValidationError

from utils.errors import UsageError

MAX_BYTES, MAX_NODES = 1_000_000, 100_000  # nested aliases expand a small file into a huge one
YEARS = range(2000, 2100)
NUMBER = re.compile(r"[-+]?(0|[1-9]\d*)(\.\d*)?([eE][-+]?\d+)?|[-+]?\.\d+|[-+]?\.(inf|nan)", re.IGNORECASE)
Place = tuple[str | int, ...]  # keys and indices that lead to a value
Shape = TypeVar("Shape")


def as_time(value: Any) -> Any:
    """ValueError for what is no date with dashes: pydantic would read a number as seconds since 1970."""
    text = str(value)
    if not isinstance(value, datetime) and not re.match(r"\d{4}-\d\d?-\d\d?([Tt ]|$)", text):
        guess = re.fullmatch(r"(20\d\d)\W?([01]\d)\W?([0-3]\d)", text)
        day = "-".join(guess.groups()) if guess else "2026-12-01"
        raise ValueError(f"should be a time, for example {day}T23:59:00+01:00")
    return value


def in_this_century(value: datetime) -> datetime:
    if value.year not in YEARS:
        raise ValueError(f"is in the year {value.year}")
    return value


Moment = Annotated[AwareDatetime, Field(strict=False), BeforeValidator(as_time), AfterValidator(in_this_century)]


def read_text(path: Path, most: int = MAX_BYTES) -> str:
    """A UTF-8 file of at most `most` bytes, with or without a byte order mark.  Raises UsageError."""
    try:
        if path.stat().st_size > most:
            raise UsageError(f"{path}: larger than {most} bytes")
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or 'not UTF-8 text'}") from None


def read_yaml(path: Path, shape: type[Shape], lines: dict[Place, int] | None = None) -> Shape:
    """The file validated as `shape`: a pydantic model, or a list or dict of one.  Raises UsageError.

    lines: gains the line of every value, for errors that are found later.
    """
    text = read_text(path)
    lines = {} if lines is None else lines
    try:
        root = yaml.compose(text, yaml.SafeLoader)
        empty = get_origin(shape)  # list or dict; a model has fields that are required
        value = plain_value(root, (), lines, str(path)) if root else empty() if empty else None
    except UsageError:
        raise
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise UsageError(f"{path}, line {line}: invalid YAML: {error.problem}") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise UsageError(f"{path}: invalid YAML: {' '.join(str(error).split())}") from None
    try:
        return TypeAdapter(shape).validate_python(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = tuple(part for part in first["loc"] if not str(part).startswith(("function-", "tagged", "nullable")))
        known = next((place[:n] for n in range(len(place), -1, -1) if place[:n] in lines), ())
        field = ".".join(str(part + 1) if isinstance(part, int) else part for part in place) or "the file"
        message = first["msg"].removeprefix("Value error, ").replace("Input should", "should")
        raise UsageError(f"{path}, line {lines.get(known, 1)}: {field}: {message}{meant(first)}") from None


def meant(error: Any) -> str:
    """What the teacher probably meant by a value of the wrong type, or "".  error: one of pydantic's."""
    kind, value = error["type"], error["input"]
    if kind == "string_type" and value is not None:
        return "; put it in quotes"
    if kind == "timezone_aware":
        return ", for example 2026-12-01T23:59:00+01:00"
    number = re.fullmatch(r"([-+]?)0*(\d+)(?:([.,])(\d+))?\s*%?", value) if isinstance(value, str) else None
    if kind in ("float_type", "int_type") and number:
        return f"; write {number[1]}{number[2]}{f'.{number[4]}' if number[3] else ''} without quotes or other signs"
    return ""


def plain_value(node: yaml.Node, place: Place, lines: dict[Place, int], name: str) -> Any:
    """The node as built-in types; records every field's line in `lines`.  UsageError for a duplicate key.

    place: where the node is in the file; name: of the file.
    """
    lines[place] = node.start_mark.line + 1
    if len(lines) > MAX_NODES:
        raise UsageError(f"{name}: more than {MAX_NODES} values")
    if isinstance(node, yaml.SequenceNode):
        return [plain_value(item, (*place, i), lines, name) for i, item in enumerate(node.value)]
    if not isinstance(node, yaml.MappingNode):
        return scalar(node, f"{name}, line {lines[place]}")
    found: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key = str(key_node.value) if isinstance(key_node, yaml.ScalarNode) else ""
        line = key_node.start_mark.line + 1
        if not key or key in found:
            raise UsageError(f"{name}, line {line}: {f'duplicate key {key}' if key else 'a key must be a word'}")
        found[key] = plain_value(value_node, (*place, key), lines, name)
        lines[(*place, key)] = line
    return found


def scalar(node: yaml.Node, where: str) -> Any:
    """A single value.  UsageError where YAML 1.1 reads something else than a person does: no, 010, 1:30, 1_000."""
    text = str(node.value)
    try:
        value = yaml.SafeLoader("").construct_object(node)
    except (ValueError, LookupError, AttributeError, yaml.YAMLError):
        raise UsageError(f"{where}: {text[:80]!r} is not a valid value") from None
    if isinstance(value, bool) and text.lower() not in ("true", "false"):
        raise UsageError(f"{where}: {text} means {str(value).lower()} in YAML; write {str(value).lower()}, or "
                         f"'{text}' in quotes if it is a name")
    if isinstance(value, int | float) and not isinstance(value, bool) and not NUMBER.fullmatch(text):
        likely = text.replace("_", "").lstrip("0") or "0"
        raise UsageError(f"{where}: {text} means {value} in YAML; write {likely if likely.isdecimal() else 'a number'}"
                         f", or '{text}' in quotes if it is a name")
    return value
