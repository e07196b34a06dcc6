"""What the tests of the report share: an HTML parser, the PDF's text, and the expected rows from the raw JSON."""

import functools
import json
import math
import re
import shutil
import statistics
import subprocess
from fractions import Fraction
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import numpy as np
from pypdf import PdfReader

from report.load import THEORY, Loaded, load_results
from report.page_content import make_page
from report.render import build_html, build_pdf
from report.summary import summarise
from utils.files import sha256_file
from utils.records.schema import read_record

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "_report_evaluation.py"

class Reader(HTMLParser):
    """Collects an HTML page's tables by caption, its tags with attributes, and its text; checks the nesting."""

    VOID = {"meta", "br", "img", "link", "input", "hr"}

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tables: dict[str, list[list[str]]] = {}
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.open: list[str] = []
        self.caption = ""
        self.rows: list[list[str]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "table":
            self.caption, self.rows = "", []
        elif tag == "tr":
            self.rows.append([])
        elif tag in ("th", "td"):
            self.rows[-1].append("")

    def handle_startendtag(self, tag: str, attrs: list) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        if tag == "table":
            self.tables[re.sub(r"^\s*Table \d+\.\s*", "", self.caption)] = self.rows

    def handle_data(self, data: str) -> None:
        data = data.replace("\N{NO-BREAK SPACE}", " ")
        self.text.append(data)
        if "caption" in self.open:
            self.caption += data
        elif {"th", "td"} & set(self.open):
            self.rows[-1][-1] += data


def committed() -> list[Loaded]:
    """The repository's records, without their arrays except for the predictions and their truth.

    They are those that git lists, where it is there: a run may be adding others at this moment.
    """
    listed = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-z", "results"], capture_output=True, text=True,
                            check=False).stdout if shutil.which("git") else ""
    tracked = {ROOT / name for name in listed.split("\0") if name}
    paths = [path for path in sorted((ROOT / "results").rglob("*.json")) if path != ROOT / "results" / THEORY
             and (not tracked or path in tracked)]
    found = []
    for path, record in ((path, read_record(path)) for path in paths):
        with np.load(path.parent / record.artifacts["arrays"].name) as arrays:
            known = {name: arrays[name] for name in ("test_predictions", "test_labels")}
        found.append(Loaded(path.relative_to(ROOT / "results").as_posix(), sha256_file(path), record, known))
    return found


def render(folder: Path) -> tuple[str, bytes]:
    """HTML and PDF of a folder of records."""
    loaded, rejected = load_results(folder)
    content = make_page(summarise(loaded), rejected)
    return build_html(*content).decode(), build_pdf(*content)


@functools.cache  # a large page takes a second
def parse(html: str) -> Reader:
    """The page, parsed."""
    return Reader(html)


def squeeze(text: str) -> str:
    """Text without spaces, breaks and hyphens, which a PDF does not keep."""
    return re.sub(r"[\s\u200b\xad-]", "", text)


def table_of(html: str, begin: str) -> list[list[str]]:
    """Rows, head included, of the one table whose caption begins like this."""
    found = [rows for caption, rows in parse(html).tables.items() if caption.startswith(begin)]
    assert len(found) == 1, begin
    return found[0]


READ: dict[bytes, tuple[str, list[tuple[float, str, str]]]] = {}  # reading a PDF takes seconds


def read_pdf(pdf: bytes) -> tuple[str, list[tuple[float, str, str]]]:
    """Text of all pages, and of every piece of it: its size in points, its font, the text."""
    if pdf in READ:
        return READ[pdf]
    found = []

    def visit(text: str, cm: list, tm: list, font: dict | None, size: float) -> None:
        if text.strip():
            width = math.hypot(tm[0] * cm[0] + tm[1] * cm[2], tm[0] * cm[1] + tm[1] * cm[3])
            found.append((float(size * width), str((font or {}).get("/BaseFont", "")), text))

    text = "\n".join(page.extract_text(visitor_text=visit) for page in PdfReader(BytesIO(pdf)).pages)
    READ[pdf] = text, found
    return READ[pdf]


def pdf_text(pdf: bytes) -> str:
    """Text of all pages."""
    return read_pdf(pdf)[0]


def letters(pdf: bytes) -> list[tuple[float, str, str]]:
    """Size in points, font and text of every piece of text."""
    return read_pdf(pdf)[1]


def headline(html: str) -> list[list[str]]:
    """Rows of the headline table, each with its data set in front."""
    return headline_of(parse(html))


def headline_of(reader: Reader) -> list[list[str]]:
    """The same for a page that was parsed already."""
    rows = next(rows for caption, rows in reader.tables.items() if caption.startswith("Test accuracy"))
    dataset, found = "", []
    for cells in rows[1:]:
        if len(cells) == 1:
            dataset = cells[0]
        else:
            found.append([dataset, *cells])
    return found


SPOILT = {"edited", "lost", "notes", "older", "hasty", *(f"broken{i}" for i in range(4))}


def raw_runs(folder: Path) -> list[tuple[Path, dict]]:
    """Path and raw JSON of each run that must count, by seed."""
    found = [(path, json.loads(path.read_text())) for path in sorted(folder.rglob("*.json")) if path.stem not in SPOILT]
    return sorted(found, key=lambda entry: entry[1]["run"]["seed"])


def changed(raw: dict) -> str:
    """What the report must call a run's changes; no encoder of these records has today's default recipe."""
    fields = [f"{name}={str(raw['recipe']['fields'][name]).lower()}" for name in raw["recipe"]["overridden"]]
    init = raw["run"]["init"]
    return ", ".join(([f"from {init['task']} {init['method']} recipe {init['recipe_hash']}"] if init else []) + fields)


CONTROLS = {"random": "frozen random encoder", "pca": "PCA of pixels"}


def expected_rows(folder: Path) -> dict[tuple[str, str, str, str], list[dict]]:
    """Raw JSON of the runs that must count, by (data set, task, method, changes).  Shares no code with the report."""
    groups: dict[tuple[str, str, str, str], list[dict]] = {}
    for _, raw in raw_runs(folder):
        run = raw["run"]
        key = (run["dataset"], run["task"], CONTROLS.get(run["method"], run["method"]), changed(raw))
        groups.setdefault(key, []).append(raw)
    return groups


def close(shown: str, exact: float, digits: int = 2) -> bool:
    """Whether a shown number is the exact one, rounded."""
    assert re.fullmatch(rf"[+\u2212]?\d+\.\d{{{digits}}}", shown), shown
    return abs(float(shown.replace("\u2212", "-")) - exact) <= 0.5 * 10**-digits + 1e-9


NAMES = {"MNIST": "mnist", "CIFAR-10": "cifar10", "Digits (embedded toy set, 8x8 pixels)": "digits"}


def slow_mcnemar(b: int, c: int) -> Fraction:
    """The two-sided exact p-value in whole numbers: twice the smaller tail of fair coins, at most 1."""
    tail = sum(Fraction(math.comb(b + c, k), 2 ** (b + c)) for k in range(min(b, c) + 1))
    return min(Fraction(1), 2 * tail)


def wilson_by_bisection(p: float, n: int) -> tuple[float, float]:
    """The two proportions whose normal approximation has p just at its 95 % limit: |p - q| = z sqrt(q (1 - q) / n)."""
    z = statistics.NormalDist().inv_cdf(0.975)

    def solve(inside: float, outside: float) -> float:
        for _ in range(100):
            q = (inside + outside) / 2
            inside, outside = (q, outside) if abs(p - q) <= z * math.sqrt(q * (1 - q) / n) else (inside, q)
        return inside

    return solve(p, 0.0), solve(p, 1.0)
