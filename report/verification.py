"""Verification as the report shows it: each record's claim next to what its checkpoint scores (grading/verify.py)."""

from dataclasses import dataclass
from typing import Any

from report import show
from report.load import LONGEST_REASON, Loaded
from report.tables import table

TOLERANCE = 5 / 10_000  # of the test images: another processor may round differently


@dataclass(frozen=True)
class Verdict:
    """A claim and what scoring its checkpoint gave, in test images.

    claimed, verified: correct ones, of n; otherwise: images that the checkpoint classifies differently from the record.
    Where nothing could be scored, the last two are None and reason says why.
    """

    claimed: int
    n: int
    verified: int | None = None
    otherwise: int | None = None
    reason: str = ""

    @property
    def stands(self) -> bool:
        """Whether the claim holds: the counts agree within TOLERANCE."""
        return self.verified is not None and agree(self.claimed, self.verified, self.n)


def agree(claimed: int, verified: int, n: int) -> bool:
    """Whether two counts of correct images, of n, agree within TOLERANCE."""
    return abs(verified - claimed) <= TOLERANCE * n


def verdict_in_words(verdict: Verdict) -> str:
    """One sentence for one record."""
    if verdict.verified is None:
        return f"not verified: {show.shorten(show.plain(verdict.reason), LONGEST_REASON)}"
    if verdict.stands:
        return f"verified; {show.plural(verdict.otherwise, 'image')} classified differently" if verdict.otherwise \
            else "verified"
    return (f"the claim does not hold: the checkpoint classifies {show.count(verdict.verified)} of "
            f"{show.count(verdict.n)} test images correctly, not {show.count(verdict.claimed)}")


def verification_table(verdicts: list[tuple[Loaded, Verdict]]) -> dict[str, Any]:
    """Claimed and verified accuracy side by side; claims that do not hold come first."""
    order = sorted(verdicts, key=lambda pair: (pair[1].stands, pair[1].verified is None, pair[0].name))
    rows = [[show.plain(run.name), show.percent(verdict.claimed / verdict.n),
             show.NOTHING if verdict.verified is None else show.percent(verdict.verified / verdict.n),
             show.NOTHING if verdict.otherwise is None else show.count(verdict.otherwise), verdict_in_words(verdict)]
            for run, verdict in order]
    return table("Verification: the checkpoint of each complete record that has one was scored again on this machine's "
                 f"own test images. A claim holds if the correct images agree within {10_000 * TOLERANCE:g} in 10,000.",
                 ["File", "Claimed %", "Verified %", "Images classified differently", "Verdict"], rows,
                 right=[1, 2, 3], code=[0])


def verification_sentence(verdicts: list[tuple[Loaded, Verdict]]) -> str:
    """For the report's abstract."""
    verified = sum(verdict.stands for _, verdict in verdicts)
    unknown = sum(verdict.verified is None for _, verdict in verdicts)
    counts = {"verified by scoring the checkpoint again": verified,
              "with a claim that does not hold": len(verdicts) - verified - unknown,
              "that could not be scored": unknown}
    found = [f"{show.plural(count, 'record')} {what}" for what, count in counts.items() if count]
    return f"Verification: {show.listing(found) or 'there is no complete record'}."
