"""Read the teacher's YAML files strictly: every error names the file, the line and the field."""

from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import AwareDatetime, BeforeValidator, Field, TypeAdapter, ValidationError

from utils.errors import UsageError

MAX_BYTES, MAX_NODES = 1_000_000, 100_000  # nested aliases expand a small file into a huge one
Place = tuple[str | int, ...]  # keys and indices that lead to a value
Shape = TypeVar("Shape")


def not_a_number(value: Any) -> Any:
    """ValueError for a bare number, which pydantic would read as seconds since 1970."""
    if isinstance(value, int | float):
        raise ValueError("should be a time, for example 2026-12-01T23:59:00+01:00")
    return value


Moment = Annotated[AwareDatetime, Field(strict=False), BeforeValidator(not_a_number)]


def read_yaml(path: Path, shape: type[Shape]) -> Shape:
    """The file validated as `shape`: a pydantic model, or a list or dict of one.  Raises UsageError."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UsageError(f"{path}: larger than {MAX_BYTES} bytes")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or 'not UTF-8 text'}") from None
    lines: dict[Place, int] = {}
    try:
        root = yaml.compose(text, yaml.SafeLoader)
        value = plain_value(root, (), lines, str(path)) if root else None
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
        place = tuple(part for part in first["loc"] if not str(part).startswith(("function-", "tagged")))
        known = next((place[:n] for n in range(len(place), -1, -1) if place[:n] in lines), ())
        field = ".".join(str(part + 1) if isinstance(part, int) else part for part in place) or "the file"
        message = first["msg"].removeprefix("Value error, ").replace("Input should be", "should be")
        raise UsageError(f"{path}, line {lines.get(known, 1)}: {field}: {message}") from None


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
        try:
            return yaml.SafeLoader("").construct_object(node)
        except (ValueError, LookupError, AttributeError, yaml.YAMLError):
            raise UsageError(f"{name}, line {lines[place]}: {str(node.value)[:80]!r} is not a valid value") from None
    found: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key = str(key_node.value) if isinstance(key_node, yaml.ScalarNode) else ""
        line = key_node.start_mark.line + 1
        if not key or key in found:
            raise UsageError(f"{name}, line {line}: {f'duplicate key {key}' if key else 'a key must be a word'}")
        found[key] = plain_value(value_node, (*place, key), lines, name)
        lines[(*place, key)] = line
    return found
