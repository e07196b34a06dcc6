"""What a command prints: lines on stderr, numbers with their noun, and durations."""

import os
import select
import sys


def say(text: str) -> None:
    """Print one line on stderr and flush it."""
    print(text, file=sys.stderr, flush=True)


def discard_output_without_reader() -> bool:
    """If a stream's terminal or pipe is closed, discard what follows, so that printing raises no error, and say so."""
    closed = False
    for number in (1, 2) if hasattr(select, "poll") else ():  # Windows has no poll
        poller = select.poll()
        poller.register(number, 0)
        if poller.poll(0):  # an error or a hang-up; neither needs to be asked for
            os.dup2(os.open(os.devnull, os.O_WRONLY), number)
            closed = True
    return closed


def plural(number: int, noun: str) -> str:
    """(1, 'run') -> '1 run'; (2000, 'run') -> '2,000 runs'."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def duration_in_words(seconds: float) -> str:
    """A duration: '6.4 s', '12 min 34 s' or '1 h 02 min'."""
    if seconds < 59.95:  # 59.95 would round to 60.0
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
