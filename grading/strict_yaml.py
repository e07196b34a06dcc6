"""Read the teacher's files strictly: every error names the file, the line, the field and the likely meaning.

YAML's own types are not used, because 010 would be 8 there, 1:30 would be 90, and no would be false.  Every value is
text, and the type of the field that it is for decides what it means.
"""

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_origin

import yaml
from pydantic import AwareDatetime, BeforeValidator, TypeAdapter, ValidationError

from grading.submission import Opener, why
from utils.errors import UsageError

MAX_BYTES = 1_000_000
TIME = "2026-12-01T23:59:00+01:00"  # an example of one
PLAIN = {"extra_forbidden": "there is no such field", "missing": "is missing"}  # for a kind of pydantic's errors
# numbers recognised in a value that is refused; not 1,000, which has two meanings
NUMBERS = {"int_parsing": r"[-+]?\d+", "float_parsing": r"[-+]?\d+(?:[.,]\d{1,2})?"}
Where = Callable[..., str]  # file and line of the value that these keys and indices lead to
Shape = TypeVar("Shape")


def as_time(value: Any) -> str:
    """The time as ISO 8601 writes it.  ValueError for a number, which pydantic would read as seconds since 1970."""
    text = re.sub(r"\s*(Z|UTC|[-+]\d\d:?\d\d)$", r"\1", value).replace("UTC", "Z") if isinstance(value, str) else ""
    if not re.match(r"20\d\d-\d\d-\d\d([Tt ]|$)", text):
        guess = re.fullmatch(r"(20\d\d)\W?([01]\d)\W?([0-3]\d)", text)
        raise ValueError(f"should be a time, for example {'-'.join(guess.groups()) + TIME[10:] if guess else TIME}")
    return text


Moment = Annotated[AwareDatetime, BeforeValidator(as_time)]


class TextLoader(yaml.BaseLoader):
    """Builds texts, lists and dicts with unique keys; an empty value is None."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        found = super().construct_mapping(node, deep)
        if len(found) < len(node.value):
            keys = [key.value for key, _ in node.value]
            twice = next(i for i, key in enumerate(keys) if key in keys[:i])
            raise yaml.constructor.ConstructorError(None, None, f"duplicate key {keys[twice]}",
                                                    node.value[twice][0].start_mark)
        return found


TextLoader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile("(~|null|)$"), ["~", "n", ""])
TextLoader.add_constructor("tag:yaml.org,2002:null", lambda *_: None)


def read_text(path: Path, most: int = MAX_BYTES, opened: Opener | None = None) -> str:
    """A UTF-8 file of at most `most` bytes, with or without a byte order mark.

    opened: opens it, if it is inside an archive.  Raises UsageError.
    """
    try:
        with opened() if opened else path.open("rb") as file:
            data = file.read(most + 1)
        text = data.decode("utf-8-sig") if len(data) <= most else ""
    except Exception as error:  # zipfile raises many kinds
        reason = "not UTF-8 text; save it as UTF-8" if isinstance(error, UnicodeDecodeError) else why(error)
        raise UsageError(f"{path}: cannot be read: {reason}") from None
    if len(data) > most:
        raise UsageError(f"{path}: larger than {most} bytes")
    return io.StringIO(text, newline=None).getvalue()  # lines end with \n


def read_yaml(path: Path, shape: type[Shape], text: str | None = None) -> tuple[Shape, Where]:
    """The file validated as `shape`, a pydantic model or a list or dict of one, and the lines of its values.

    text: of the file, if not all of it.  Raises UsageError.
    """
    try:
        loader = TextLoader(read_text(path) if text is None else text)
        root = loader.get_single_node()
        value = loader.construct_document(root) if root else None
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or " ".join(str(error).split())
        raise UsageError(f"{path}{f', line {mark.line + 1}' if mark else ''}: invalid YAML: {problem}") from None
    empty = get_origin(shape)  # list or dict; a model has fields that are required

    def where(*place: str | int) -> str:
        return f"{path}, line {line_of(root, place)}"

    return validated(empty() if root is None and empty else value, shape, where), where


def line_of(node: yaml.Node | None, place: tuple[str | int, ...]) -> int:
    """Line of a value below `node`, or of the last one on the way to it that exists."""
    line = 1
    for part in place:
        if isinstance(node, yaml.MappingNode):
            found = next((pair for pair in node.value if pair[0].value == part), None)
        else:
            items = node.value if isinstance(node, yaml.SequenceNode) else []
            found = (items[part], items[part]) if items and isinstance(part, int) else None
        if found is None:
            break
        line, node = found[0].start_mark.line + 1, found[1]
    return line


def validated(value: Any, shape: type[Shape], where: Where) -> Shape:
    """Texts as `shape`.  UsageError for the first that does not fit.  where: names the file and line of a value."""
    try:
        return TypeAdapter(shape).validate_python(value, strict=False)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(str(part + 1) if isinstance(part, int) else part for part in first["loc"]) or "the file"
        message = PLAIN.get(first["type"]) or first["msg"].removeprefix("Value error, ").removeprefix("Input ")
        message = message.split(", unable")[0]
        raise UsageError(f"{where(*first['loc'])}: {field}: {message}{meant(first)}") from None


def meant(error: Any) -> str:
    """What the teacher probably meant by a value of the wrong type, or "".  error: one of pydantic's."""
    if error["type"].startswith(("datetime", "timezone")):
        return f", for example {TIME}"
    if error["type"] == "zoneinfo_str":
        return "; write one that this system has, such as Europe/Berlin"
    if error["type"] in NUMBERS and (number := re.fullmatch(rf"({NUMBERS[error['type']]})\s*%?", error["input"])):
        return f"; write {number[1].replace(',', '.')} without other signs"
    return ""
