"""Numbers to strings, once.  The HTML, the PDF and the README show what these functions return and round nothing."""

MINUS = "\N{MINUS SIGN}"
DASH = "\N{EN DASH}"
NOTHING = DASH  # stands where there is no number


def plain(text: str) -> str:
    """Text of a record, fit to be shown: what does not print (control and direction characters) as its escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def shorten(text: str, length: int) -> str:
    """At most `length` characters, with an ellipsis where the middle was cut: long names often differ at their end."""
    if len(text) <= length:
        return text
    tail = (length - 1) // 3
    return text[: length - 1 - tail].rstrip() + "\N{HORIZONTAL ELLIPSIS}" + text[len(text) - tail:].lstrip()


def percent(fraction: float | None) -> str:
    """0.75314 -> '75.31'; the unit stands in the column's head."""
    return NOTHING if fraction is None else f"{100 * fraction:.2f}"


def interval(low: float, high: float) -> str:
    """(0.7445, 0.7615) -> '74.45-76.15', with an en dash."""
    return f"{percent(low)}{DASH}{percent(high)}"


def points(difference: float | None) -> str:
    """Difference of two fractions in percentage points, always with its sign."""
    if difference is None:
        return NOTHING
    size = f"{100 * abs(difference):.2f}"
    if float(size) == 0:
        return "0.00"
    return ("+" if difference > 0 else MINUS) + size


def count(number: int) -> str:
    """12345 -> '12,345'."""
    return f"{number:,}"


def significant(value: float) -> str:
    """Four significant digits, for losses and errors."""
    return f"{value:#.4g}".replace("-", MINUS).rstrip(".")


def minutes(seconds: float) -> str:
    """Seconds to minutes with one decimal."""
    return f"{seconds / 60:.1f}"


def duration(seconds: float) -> str:
    """'6.4 s', '12 min 34 s' or '1 h 02 min'."""
    if seconds < 59.95:  # what rounds to 60.0 is a minute
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


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
    if isinstance(value, list):
        return ",".join(str(item) for item in value)
    return plain(str(value))


def timestamp(utc: str) -> str:
    """'2025-11-03T09:30:00Z' -> '2025-11-03 09:30 UTC'."""
    return f"{utc[:10]} {utc[11:16]} UTC"


def listing(names: list[str]) -> str:
    """'a', 'a and b' or 'a, b and c'."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def plural(number: int, noun: str) -> str:
    """(1, 'run') -> '1 run'; (2, 'run') -> '2 runs'."""
    return f"{count(number)} {noun}{'' if number == 1 else 's'}"


def measure(value: float | None) -> str:
    """Four significant digits; a dash where there is no number."""
    return NOTHING if value is None else significant(value)


def signed(value: float | None) -> str:
    """Difference of two errors, always with its sign: '+0.0013'; a dash where there is no number."""
    if value is None:
        return NOTHING
    size = f"{abs(value):.4f}"
    return size if float(size) == 0 else ("+" if value > 0 else MINUS) + size


def probability(p: float) -> str:
    """'0.0123'; three digits and a power of ten below 0.001; what a float cannot hold as '<1e-300'."""
    if p < 1e-300:
        return "<1e-300"
    return f"{p:.4f}" if p >= 0.001 else f"{p:.2e}".replace("-", MINUS)
