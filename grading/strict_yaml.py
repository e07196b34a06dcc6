"""YAML as a teacher writes it, read strictly: a mistake is told with the file, the line and the field."""

from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, TypeAdapter, ValidationError

from utils.errors import UsageError

MAX_BYTES, MAX_NODES = 1_000_000, 100_000  # aliases of aliases can make much of little
Shape = TypeVar("Shape")


def not_bool(value: Any) -> Any:
    """YAML's yes and on are no numbers."""
    if isinstance(value, bool):
        raise ValueError("should be a number, not yes or no")
    return value


def moment(value: Any) -> Any:
    """A bare number is no time, although seconds since 1970 would be one."""
    if isinstance(value, int | float):
        raise ValueError("should be a time, as 2026-12-01T23:59:00+01:00")
    return value


NotBool, Moment = BeforeValidator(not_bool), Annotated[datetime, BeforeValidator(moment)]


class Strict(BaseModel):
    """No unknown fields, nothing changes afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def read_yaml(path: Path, shape: type[Shape]) -> Shape:
    """The file as `shape`, a pydantic model or a type of such.  UsageError where it cannot be."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UsageError(f"{path}: is larger than {MAX_BYTES} bytes")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no UTF-8 text"
        raise UsageError(f"{path}: cannot be read: {reason}") from None
    lines: dict[tuple, int] = {}
    try:
        root = yaml.compose(text, yaml.SafeLoader)
        value = plain_value(root, (), lines, str(path)) if root else None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise UsageError(f"{path}, line {line}: no valid YAML: {error.problem}") from None
    except UsageError:
        raise
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise UsageError(f"{path}: no valid YAML: {' '.join(str(error).split())}") from None
    try:
        return TypeAdapter(shape).validate_python(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = tuple(part for part in first["loc"] if not str(part).startswith(("function-", "tagged")))
        known = next((place[:n] for n in range(len(place), -1, -1) if place[:n] in lines), ())
        field = ".".join(str(part + 1) if isinstance(part, int) else str(part) for part in place) or "the file"
        words = first["msg"].removeprefix("Value error, ").replace("Input should be", "should be")
        raise UsageError(f"{path}, line {lines.get(known, 1)}: {field}: {words}") from None


def plain_value(node: yaml.Node, place: tuple, lines: dict[tuple, int], name: str) -> Any:
    """A node as Python's own types; notes the line of every field.  UsageError for a key that stands twice."""
    lines[place] = node.start_mark.line + 1
    if len(lines) > MAX_NODES:
        raise UsageError(f"{name}: has more than {MAX_NODES} values")
    if isinstance(node, yaml.SequenceNode):
        return [plain_value(item, (*place, i), lines, name) for i, item in enumerate(node.value)]
    if not isinstance(node, yaml.MappingNode):
        try:
            return yaml.SafeLoader("").construct_object(node)
        except (ValueError, LookupError, AttributeError, yaml.YAMLError):
            raise UsageError(f"{name}, line {lines[place]}: {str(node.value)[:80]!r} is no valid value") from None
    found: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key = str(key_node.value) if isinstance(key_node, yaml.ScalarNode) else ""
        line = key_node.start_mark.line + 1
        if not key:
            raise UsageError(f"{name}, line {line}: a key must be a word")
        if key in found:
            raise UsageError(f"{name}, line {line}: {key} stands twice")
        found[key] = plain_value(value_node, (*place, key), lines, name)
        lines[(*place, key)] = line
    return found
