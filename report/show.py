"""Numbers to strings, once.  The HTML, the PDF and the README show what these functions return and round nothing."""

from collections import Counter

from utils.console import plural as plural  # templates and rooms take all words from here
from utils.records.schema import Metric

MINUS = "\N{MINUS SIGN}"
DASH = "\N{EN DASH}"
NOTHING = DASH  # shown where there is no number
UNLIKE, ON_TEST = "\N{DAGGER}", "\N{DOUBLE DAGGER}"  # marks at the seeds of a row
MARKS = {UNLIKE: "The seeds ran on different machines, thread counts or number formats, which adds to their spread.",
         ON_TEST: "Part of the recipe was chosen on these test images, so the accuracy may be too high."}


def plain(text: str) -> str:
    """Text of a record with each character that does not print (control, direction) as its escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def shorten(text: str, length: int) -> str:
    """At most `length` characters, with an ellipsis where the middle was cut: long names often differ at their end."""
    if len(text) <= length:
        return text
    tail = (length - 1) // 3
    return text[: length - 1 - tail].rstrip() + "\N{HORIZONTAL ELLIPSIS}" + text[len(text) - tail:].lstrip()


def distinct(names: list[str], length: int) -> list[str]:
    """Names shortened to `length` characters that all differ: where two become the same, their positions are added."""
    short = [shorten(name, length) for name in names]
    again = Counter(short)
    found = [cut if again[cut] == 1 else f"{shorten(name, length - 1 - len(str(i)))} {i}"
             for i, (name, cut) in enumerate(zip(names, short, strict=True))]
    return found if len(set(found)) == len(names) else [f"number {i}" for i in range(len(names))]


def percent(fraction: float | None) -> str:
    """0.75314 -> '75.31'; the unit is in the column's head."""
    return NOTHING if fraction is None else f"{100 * fraction:.2f}"


def interval(low: float, high: float) -> str:
    """(0.7445, 0.7615) -> '74.45-76.15', with an en dash."""
    return f"{percent(low)}{DASH}{percent(high)}"


def points(difference: float | None) -> str:
    """Difference of two fractions in percentage points, with its sign: 0.0123 -> '+1.23'."""
    return NOTHING if difference is None else signed(100 * difference, 2)


def signed(value: float, digits: int) -> str:
    """A difference with its sign: '+0.0013'."""
    size = f"{abs(value):.{digits}f}"
    return size if float(size) == 0 else ("+" if value > 0 else MINUS) + size


def count(number: int) -> str:
    """12345 -> '12,345'."""
    return f"{number:,}"


def correct(metric: Metric) -> str:
    """An accuracy's counts: '7,531 of 10,000'."""
    assert metric.correct is not None, "every accuracy of a valid record counts its correct images"
    return f"{count(metric.correct)} of {count(metric.n)}"


def significant(value: float | None) -> str:
    """Four significant digits, for losses and errors."""
    return NOTHING if value is None else f"{value:#.4g}".replace("-", MINUS).rstrip(".")


def minutes(seconds: float | None) -> str:
    """Seconds to minutes with one decimal."""
    return NOTHING if seconds is None else f"{seconds / 60:.1f}"


def flops(number: float) -> str:
    """Floating-point operations with a decimal prefix: 3.21e15 -> '3.21 PFLOP'."""
    for limit, prefix in ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M")):
        if number >= limit:
            return f"{number / limit:.2f} {prefix}FLOP"
    return f"{number:.0f} FLOP"


def field(value: object) -> str:
    """A hyper-parameter as a flag would take it: 0.001, true, 64,256,256."""
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(str, value)) if isinstance(value, list) else plain(str(value))


def timestamp(utc: str) -> str:
    """'2025-11-03T09:30:00Z' -> '2025-11-03 09:30 UTC'."""
    return f"{utc[:10]} {utc[11:16]} UTC"


def listing(names: list[str]) -> str:
    """'a', 'a and b' or 'a, b and c'."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def probability(p: float) -> str:
    """'0.0123'; three digits and a power of ten below 0.001; below the smallest float '<1e-300'."""
    if p < 1e-300:
        return "<1e-300"
    return f"{p:.4f}" if p >= 0.001 else f"{p:.2e}".replace("-", MINUS)
