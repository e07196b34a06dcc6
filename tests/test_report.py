"""The report: every number is derived anew from the JSON by other code; no text of a record can break the page."""

import base64
import functools
import hashlib
import json
import math
import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from fractions import Fraction
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from markupsafe import Markup
from PIL import Image
from pypdf import PdfReader
from scipy.stats import binomtest

import _report_evaluation
from report import charts, equations, page_content, pictures, prose, show, stats, summary
from report.load import check_known as CHECK_KNOWN
from report.load import load_results
from report.render import build_html, build_pdf, share_images, write_readme
from tests.factory import edit, make_record
from utils.command_line import exit_code
from utils.records.arrays import write_arrays
from utils.records.schema import HEADLINE, read_record

SCRIPT = Path(__file__).parent.parent / "_report_evaluation.py"


class Reader(HTMLParser):
    """Collects an HTML page's tables by caption, its attributes, its text and its nesting errors."""

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
            self.tables[self.caption] = self.rows

    def handle_data(self, data: str) -> None:
        self.text.append(data)
        if "caption" in self.open:
            self.caption += data
        elif {"th", "td"} & set(self.open):
            self.rows[-1][-1] += data


def render(folder: Path) -> tuple[str, bytes]:
    """HTML and PDF of a folder of records."""
    content, drawings = page_content.make_page(*load_results(folder))
    return build_html(content, drawings).decode(), build_pdf(content, drawings)


def squeeze(text: str) -> str:
    """Text without spaces and breaks, which a PDF does not keep."""
    return re.sub(r"[\s\u200b\xad-]", "", text)


def table_of(html: str, begin: str) -> list[list[str]]:
    """Rows, head included, of the one table whose caption begins so."""
    found = [rows for caption, rows in Reader(html).tables.items() if caption.startswith(begin)]
    assert len(found) == 1, begin
    return found[0]


@functools.cache  # reading a PDF takes seconds
def pdf_text(pdf: bytes) -> str:
    """Text of all pages."""
    return "\n".join(one.extract_text() for one in PdfReader(BytesIO(pdf)).pages)


def headline(html: str) -> list[list[str]]:
    """Rows of the headline table, each with its data set in front."""
    return headline_of(Reader(html))


def headline_of(reader: Reader) -> list[list[str]]:
    """The same of a page that was read already."""
    rows = next(rows for caption, rows in reader.tables.items() if caption.startswith("Test accuracy"))
    dataset, found = "", []
    for cells in rows[1:]:
        if len(cells) == 1:
            dataset = cells[0]
        else:
            found.append([dataset, *cells])
    return found


@pytest.fixture(scope="session", autouse=True)
def no_pinned_data() -> Iterator[None]:
    """Synthetic records carry the names of real data sets, but not their images."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("report.load.check_known", lambda record, name: None)
        yield


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seeds, methods, controls, variations, the toy set, and each thing that must not count."""
    path = tmp_path_factory.mktemp("results")
    for seed in range(3):
        make_record(path, "1.2.1", "mnist", "plain", seed, accuracy=0.981 + 0.003 * seed, n=400,
                    seconds=60.0 * seed + 7, reconstructions=4)
    for seed in range(2):
        make_record(path, "1.2.2", "cifar10", "joint", seed, accuracy=0.8025 - 0.02 * seed, n=400)
    make_record(path / "later", "1.2.3", "mnist", "simclr", 3, accuracy=0.96, n=400)
    make_record(path, "1.2.2", "mnist", "joint", 0, accuracy=1.0, n=400)
    make_record(path, "1.2.1", "cifar10", "plain", 0, accuracy=0.51, n=400)
    make_record(path, "1.2.3", "cifar10", "simclr", 0, accuracy=0.6, n=400, fields={"epochs": 2}, epochs=2)
    make_record(path, "1.2.2", "digits", "joint", 0, accuracy=0.97, n=300)
    make_record(path, "1.2.1", "mnist", "masked", 0, accuracy=0.97, n=400, reconstructions=7)
    make_record(path, "1.2.3", "mnist", "dcl", 3, accuracy=0.9, n=400)
    for method, accuracy in (("random", 0.71), ("pca", 0.82)):
        make_record(path, "control", "mnist", method, 0, accuracy=accuracy, n=400, epochs=0)
    origin = read_record(path / "later" / "1.2.3_mnist_simclr_seed3.json")
    init = {"record": "1.2.3_mnist_simclr_seed3.json", "task": "1.2.3", "dataset": "mnist", "labels": 0.0,
            "method": "simclr", "seed": 3,
            "recipe_hash": origin.recipe.hash, "sha256": "4" * 64}
    for share in (0.01, 0.1):
        make_record(path, "1.2.2", "mnist", "joint", 0, accuracy=0.6 + share, n=400, fields={"labels": share})
        for tuned in (False, True):
            make_record(path, "1.2.3", "mnist", "simclr", 0, accuracy=0.8 + share + tuned / 50, n=400, init=init,
                        epochs=0, fields={"labels": share, "epochs": 0} | ({"finetune": True} if tuned else {}))
    make_record(path, "1.2.1", "mnist", "plain", 0, accuracy=0.93, n=400, init=init, name="shared")
    make_record(path, "rotation", "cifar10", "rotnet", 0, accuracy=0.62, n=400)
    make_record(path, "1.2.2", "mnist", "joint", 5, accuracy=0.1, n=400, status="quick", name="hasty")
    for i in range(4):
        make_record(path, "1.2.2", "mnist", "joint", i, status="failed", name=f"broken{i}", failure="loss became NaN")
    make_record(path, "1.2.1", "mnist", "plain", 0, accuracy=0.2, n=400, name="older", started="2025-01-01T00:00:00Z")
    edit(make_record(path, "1.2.1", "mnist", "plain", 8, n=400, name="edited"), "metrics", HEADLINE, "value",
         value=0.99)
    make_record(path, "1.2.1", "mnist", "plain", 9, n=400, name="lost").with_suffix(".npz").unlink()
    (path / "notes.json").write_text("[1, 2]")
    return path


@pytest.fixture(scope="session")
def report(folder: Path) -> tuple[str, bytes, float, dict]:
    """HTML, PDF, the seconds that they took, and the page that both were filled from."""
    start = time.perf_counter()
    content, drawings = page_content.make_page(*load_results(folder))
    html, pdf = build_html(content, drawings).decode(), build_pdf(content, drawings)
    return html, pdf, time.perf_counter() - start, content


SPOILT = {"edited", "lost", "notes", "older", "hasty", *(f"broken{i}" for i in range(4))}


def raw_runs(folder: Path) -> list[tuple[Path, dict]]:
    """Path and raw JSON of each run that must count, by seed."""
    found = [(path, json.loads(path.read_text())) for path in sorted(folder.rglob("*.json")) if path.stem not in SPOILT]
    return sorted(found, key=lambda entry: entry[1]["run"]["seed"])


def changed(raw: dict) -> str:
    """What the report must call a run's changes."""
    fields = [f"{name}={str(raw['recipe']['fields'][name]).lower()}" for name in raw["recipe"]["overridden"]]
    init = raw["run"]["init"]
    return ", ".join(([f"from {init['task']} {init['method']}"] if init else []) + fields)


CONTROLS = {"random": "frozen random encoder", "pca": "PCA"}


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


def check_cells(runs: list[dict], cells: list[str]) -> None:
    """Accuracy, SD (n), interval, linear, kNN, minutes and seeds of one row, from the raw JSON."""
    accuracy, deviation, interval, linear, knn, minutes, seeds = cells
    values = [run["metrics"][HEADLINE]["correct"] / run["metrics"][HEADLINE]["n"] for run in runs]
    n, mean = runs[0]["metrics"][HEADLINE]["n"], statistics.fmean(values)
    assert close(accuracy, 100 * mean)
    spread, count = re.fullmatch(r"(.+) \((\d+)\)", deviation).groups()
    assert int(count) == len(runs)
    assert spread == "–" if len(runs) == 1 else close(spread, 100 * statistics.stdev(values))
    low, high = wilson_by_bisection(mean, n)
    assert close(interval.split("–")[0], 100 * low) and close(interval.split("–")[1], 100 * high)
    assert close(linear, 100 * statistics.fmean(run["metrics"]["test/linear_top1"]["value"] for run in runs))
    assert close(knn, 100 * statistics.fmean(run["metrics"]["test/knn_top1"]["value"] for run in runs))
    assert close(minutes, statistics.fmean(run["run"]["seconds"] for run in runs) / 60, digits=1)
    assert seeds == ", ".join(str(seed) for seed in sorted(run["run"]["seed"] for run in runs))


def test_every_headline_number_and_every_variation_follows_from_the_json(folder: Path, report: tuple) -> None:
    groups = expected_rows(folder)
    for dataset, task, method, *cells in headline(report[0]):
        if method.startswith("missing"):
            continue
        task = task.split()[0]
        runs = groups.pop((NAMES[dataset], task, method, ""))
        accuracy, deviation, interval, reference, difference, *others = cells
        check_cells(runs, [accuracy, deviation, interval, *others])
        known = summary.REFERENCE.get((task, NAMES[dataset]))
        if known is None:
            assert reference == difference == "–"
        else:
            mean = statistics.fmean(run["metrics"][HEADLINE]["value"] for run in runs)
            assert close(reference, 100 * known) and close(difference, 100 * (mean - known))
    assert len(groups) == 8
    for dataset, task, method, changes, *cells in table_of(report[0], "Variations")[1:]:
        check_cells(groups.pop((NAMES[dataset], task.split()[0], method, changes)), cells)
    assert groups == {}


SCORES = {"Linear %": "test/linear_top1", "kNN %": "test/knn_top1", "Effective rank (of 128)": "test/effective_rank",
          "Linear, behind the projection head %": "test/projection_linear_top1",
          "Alignment (low is close)": "test/alignment", "Uniformity (low is even)": "test/uniformity",
          "Agreement %: t-SNE, latents": "test/tsne_agreement", "Agreement %: t-SNE, pixels":
          "test/pixel_tsne_agreement", "Agreement %: PCA, latents": "test/pca_agreement",
          "Agreement %: PCA, pixels": "test/pixel_pca_agreement", "Reconstruction MAE, train":
          "train/reconstruction_mae", "Reconstruction MAE, validation": "val/reconstruction_mae",
          "Reconstruction MAE, test": "test/reconstruction_mae", "Step ratio of paths, within a class":
          "test/interpolation_step_within", "Step ratio of paths, between classes": "test/interpolation_step_between"}


@pytest.mark.parametrize(("caption", "task", "dataset", "methods"), [
    ("1.2.1 autoencoding: methods side by side on MNIST", "1.2.1", "mnist", ["plain", "masked"]),
    ("1.2.2 classification-guided: methods side by side on MNIST", "1.2.2", "mnist", ["joint"]),
    ("1.2.3 contrastive: methods side by side on MNIST", "1.2.3", "mnist", ["simclr", "dcl"]),
    ("Control: methods side by side on MNIST", "control", "mnist", []),
])
def test_methods_side_by_side(folder: Path, report: tuple, caption: str, task: str, dataset: str,
                              methods: list[str]) -> None:
    head, *lines = table_of(report[0], caption)
    assert head[1:] == [*methods, "control: frozen random encoder", "control: PCA"]
    groups, seen = expected_rows(folder), set()
    columns = [groups[dataset, "control" if name.startswith("control") else task, name.removeprefix("control: "), ""]
               for name in head[1:]]
    for what, *cells in lines:
        for runs, cell in zip(columns, cells, strict=True):
            if what in SCORES:
                seen.add(SCORES[what])
                values = [run["metrics"].get(SCORES[what], {}).get("value") for run in runs]
                if None in values:
                    assert cell == "–"
                elif what.endswith("%") or "%:" in what:
                    assert close(cell, 100 * statistics.fmean(values))
                else:
                    assert float(cell.replace("\u2212", "-")) == pytest.approx(statistics.fmean(values), rel=1e-3)
    present = {name for runs in columns for run in runs for name in run["metrics"] if name in SCORES.values()}
    assert seen == present


def slow_mcnemar(b: int, c: int) -> Fraction:
    """The two-sided exact p-value in whole numbers: twice the smaller tail of fair coins, at most 1."""
    tail = sum(Fraction(math.comb(b + c, k), 2 ** (b + c)) for k in range(min(b, c) + 1))
    return min(Fraction(1), 2 * tail)


@pytest.mark.parametrize(("b", "c"), [(0, 0), (0, 1), (1, 0), (5, 5), (3, 14), (40, 21), (0, 30), (300, 412), (900, 2)])
def test_mcnemar_agrees_with_whole_numbers(b: int, c: int) -> None:
    assert stats.mcnemar(b, c) == pytest.approx(float(slow_mcnemar(b, c)), rel=1e-9)
    assert stats.mcnemar(b, c) == stats.mcnemar(c, b)


def test_holm_by_its_definition() -> None:
    """A pair is rejected at level a just where its adjusted value is at most a, by Holm's own stepping down."""
    values = [0.01, 0.04, 0.03, 0.005, 0.5, 0.01]
    adjusted = stats.holm(values)
    for level in (0.004, 0.03, 0.05, 0.0501, 0.09, 0.2, 0.9):
        rejected: set[int] = set()
        for step, i in enumerate(sorted(range(6), key=lambda i: values[i])):
            if values[i] > level / (6 - step):
                break
            rejected.add(i)
        assert {i for i in range(6) if adjusted[i] <= level} == rejected
    assert stats.holm([]) == []


def test_mcnemar_tables_follow_from_the_predictions(folder: Path, report: tuple) -> None:
    right: dict[tuple, list[bool]] = {}
    for path, raw in raw_runs(folder):
        if not changed(raw) and raw["run"]["dataset"] == "mnist":
            with np.load(path.with_suffix(".npz")) as file:
                hits = [int(a) == int(b) for a, b in zip(file["test_labels"], file["test_predictions"], strict=True)]
            run = raw["run"]
            colon = ":" if run["task"] == "control" else ""
            name = f"{run['task']}{colon} {CONTROLS.get(run['method'], run['method'])}"
            right[name, run["seed"]] = hits
    names = [name for name, _ in right]
    expected = {}
    for i, (a, seed) in enumerate(right):
        for b, other in list(right)[i + 1:]:
            lower = any((a, s) in right and (b, s) in right for s in range(seed))
            if a != b and seed == other and not lower:
                x, y = right[a, seed], right[b, seed]
                only = sum(p and not q for p, q in zip(x, y, strict=True)), sum(q and not p for p, q in
                                                                             zip(x, y, strict=True))
                expected[frozenset((a, b))] = (a, seed, *only)
    rows = table_of(report[0], "McNemar's test on MNIST")[1:]
    assert len(rows) == len(expected) and {row[0] for row in rows} <= set(names)
    ranked = sorted(float(slow_mcnemar(*entry[2:])) for entry in expected.values())
    for a, b, seed, only_a, only_b, p, corrected in rows:
        first, expected_seed, *only = expected.pop(frozenset((a, b)))
        assert int(seed) == expected_seed
        assert [int(only_a), int(only_b)] == (only if first == a else only[::-1])
        exact = float(slow_mcnemar(*only))
        assert float(p.replace("\u2212", "-")) == pytest.approx(exact, rel=6e-3, abs=6e-5)
        holm = max(min(1, (len(ranked) - k) * value) for k, value in enumerate(ranked) if value <= exact)
        assert float(corrected.replace("\u2212", "-")) == pytest.approx(holm, rel=6e-3, abs=6e-5)


def test_label_fractions_follow_from_the_json(folder: Path, report: tuple) -> None:
    rows = table_of(report[0], "Accuracy against label fraction on MNIST")[1:]
    shown: dict[str, list[tuple[float, float]]] = {}
    for name, share, images, accuracy, *_ in rows:
        shown.setdefault(name, []).append((float(share), float(accuracy)))
        assert int(images.replace(",", "")) == (4500 if share == "100" else 10 * max(1, round(4.5 * float(share))))
    groups = {key: 100 * runs[0]["metrics"][HEADLINE]["value"] for key, runs in expected_rows(folder).items()}
    at = {}
    for share in (0.01, 0.1):
        at["joint", share] = groups["mnist", "1.2.2", "joint", f"labels={share}"]
        for tuned in ("", "finetune=true, "):
            at[tuned, share] = groups["mnist", "1.2.3", "simclr", f"from 1.2.3 simclr, epochs=0, {tuned}labels={share}"]
    expected = {
        "random initialisation, trained end to end": [(1, at["joint", 0.01]), (10, at["joint", 0.1]), (100, 100.0)],
        "contrastive simclr, frozen": [(1, at["", 0.01]), (10, at["", 0.1]), (100, 96.0)],
        "contrastive simclr, fine-tuned": [(1, at["finetune=true, ", 0.01]), (10, at["finetune=true, ", 0.1])],
    }
    assert set(shown) == set(expected)
    for name, points in expected.items():
        assert np.array(shown[name]) == pytest.approx(np.array(points), abs=0.005001)
    alt = next(attributes["aria-label"] for tag, attributes in Reader(report[0]).tags
               if tag == "svg" and "of the labels" in attributes.get("aria-label", ""))
    assert all(f"{name} {points[0][1]:.2f} % with 1 % of the labels" in alt for name, points in expected.items())


def test_lines_of_other_encoders_and_recipes_stay_apart(tmp_path: Path) -> None:
    for share in (0.1, 0.5):
        for more in ({}, {"encoder": "mlp"}, {"subset": 500}, {"learning_rate": 0.1}, {"epochs": 2}):
            fields = {"labels": share, "epochs": 1, **more}
            make_record(tmp_path, "1.2.2", "mnist", "joint", n=60, epochs=fields["epochs"], fields=fields)
    loaded = load_results(tmp_path)[0]
    names = [line.name for line in stats.label_lines(summary.summarise(loaded).rows)]
    base = "random initialisation, trained end to end"
    assert names == [base, f"{base}, encoder=mlp", f"{base}, learning_rate=0.1", f"{base}, subset=500"]


def test_class_balance_follows_from_the_json(folder: Path, report: tuple) -> None:
    head, *lines, total = table_of(report[0], "Images of each class in each split of MNIST")
    assert head == ["Class", "Train", "Validation", "Test", "Labelled (10 %)", "Labelled (1 %)"]
    counts = [raw["data"]["class_counts"] for _, raw in raw_runs(folder) if raw["run"]["dataset"] == "mnist"]
    labelled = {tuple(one["labelled"]) for one in counts if "labelled" in one}
    columns = [counts[0]["train"], counts[0]["val"], counts[0]["test"], *sorted(labelled, reverse=True)]
    for i, line in enumerate(lines):
        assert line == [str(i), *[f"{column[i]:,}" for column in columns]]
    assert total == ["all", *[f"{sum(column):,}" for column in columns]]


def test_an_encoder_from_another_run_makes_a_row_of_its_own(folder: Path) -> None:
    results = summary.summarise(load_results(folder)[0])
    plain = [row for row in results.rows if (row.dataset, row.task, row.method) == ("mnist", "1.2.1", "plain")]
    told = [(row.default, row.recipe, len(row.runs)) for row in plain]
    assert told == [(True, "", 3), (False, "from 1.2.3 simclr", 1)]
    assert all(row.default for row in results.headline) and len(results.headline) + len(results.variations) == \
        len(results.rows)


def test_a_control_or_a_changed_run_fills_no_cell_of_the_reference(tmp_path: Path) -> None:
    init = {"record": "x.json", "task": "1.2.3", "dataset": "mnist", "labels": 0.0, "method": "simclr",
            "seed": 0, "recipe_hash": "0" * 8, "sha256": "4" * 64}
    make_record(tmp_path, "1.2.1", "mnist", "plain", n=60, init=init)
    make_record(tmp_path, "1.2.2", "mnist", "joint", n=60, fields={"labels": 0.1})
    make_record(tmp_path, "control", "mnist", "pca", n=60, epochs=0)
    results = summary.summarise(load_results(tmp_path)[0])
    assert len(results.missing) == 6 and [row.task for row in results.headline] == ["control"]
    edit(make_record(tmp_path, "1.2.3", "mnist", "dcl", n=60), "recipe", "overridden", value=["method"])
    assert len(summary.summarise(load_results(tmp_path)[0]).missing) == 5  # the method alone changes no recipe


def wilson_by_bisection(p: float, n: int) -> tuple[float, float]:
    """The two proportions whose normal approximation has p just at its 95 % limit: |p - q| = z sqrt(q (1 - q) / n)."""
    z = statistics.NormalDist().inv_cdf(0.975)

    def solve(inside: float, outside: float) -> float:
        for _ in range(100):
            q = (inside + outside) / 2
            inside, outside = (q, outside) if abs(p - q) <= z * math.sqrt(q * (1 - q) / n) else (inside, q)
        return inside

    return solve(p, 0.0), solve(p, 1.0)


@pytest.mark.parametrize(("correct", "n"), [(0, 10), (10, 10), (1, 3), (7_531, 10_000), (9_999, 10_000), (300, 360)])
def test_wilson_agrees_with_scipy(correct: int, n: int) -> None:
    theirs = binomtest(correct, n).proportion_ci(confidence_level=0.95, method="wilson")
    assert summary.wilson_interval(correct / n, n) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_the_pdf_shows_the_same_rows_as_the_html(report: tuple) -> None:
    text = " ".join(pdf_text(report[1]).split())
    rows = headline(report[0])
    assert len(rows) == 12
    for _, task, method, *cells in rows:
        if not method.startswith("missing"):
            assert " ".join([task, method, *cells]) in text


def test_every_table_of_the_comparisons_stands_in_both(report: tuple) -> None:
    content = report[3]
    compared = [one for task in content["tasks"] for one in task["comparison"]["tables"]]
    before = [part["table"] for task in content["tasks"] for part in task["before"]]
    assert len(compared) == 4 and len(before) == 1
    shown, text = Reader(report[0]).tables, squeeze(pdf_text(report[1]))
    for one in [content["variations"], *content["mcnemar"], *content["labels"]["tables"], *content["balance"],
                *content["runs"], *compared, *before]:
        assert shown[one["caption"]] == [one["head"], *one["rows"]]
        for row in one["rows"]:
            assert squeeze("".join(row)) in text, row


def test_every_counted_run_stands_in_both_with_its_scores_and_its_digest(folder: Path, report: tuple) -> None:
    scores = table_of(report[0], "Scores of every complete run")[1:]
    origins = table_of(report[0], "Provenance of every complete run")[1:]
    runs = {path.relative_to(folder).as_posix(): (path, raw) for path, raw in raw_runs(folder)}
    assert {row[0] for row in scores} == {row[0] for row in origins} == set(runs)
    for name, *_, seed, accuracy, linear, knn, minutes in scores:
        raw = runs[name][1]
        metric = raw["metrics"][HEADLINE]
        assert accuracy == f"{100 * metric['correct'] / metric['n']:.2f} ({metric['correct']} of {metric['n']})"
        assert int(seed) == raw["run"]["seed"] and close(minutes, raw["run"]["seconds"] / 60, digits=1)
        assert close(linear, 100 * raw["metrics"]["test/linear_top1"]["value"])
        assert close(knn, 100 * raw["metrics"]["test/knn_top1"]["value"])
    for name, command, *_, recipe, digest in origins:
        path, raw = runs[name]
        assert digest == hashlib.sha256(path.read_bytes()).hexdigest() and recipe == raw["recipe"]["hash"]
        assert command.startswith("python _main.py --task")


def test_a_row_shows_its_lowest_seed_in_full(folder: Path, report: tuple) -> None:
    text = " ".join("".join(Reader(report[0]).text).split())
    for runs in expected_rows(folder).values():
        metric = runs[0]["metrics"][HEADLINE]
        words = f"Test accuracy {100 * metric['value']:.2f} % ({metric['correct']} of {metric['n']} images;"
        assert words in text
        for digest in (runs[0]["artifacts"]["arrays"]["sha256"], runs[0]["recipe"]["hash"]):
            assert digest in report[0]
    assert "Other seeds of this row: 1 and 2." in text
    assert "Seed 0 is drawn in full, the other 2 seeds thin." in text
    assert "1.2.3_mnist_simclr_seed3.json (1.2.3 simclr, seed 3, recipe" in text  # where an encoder came from


def test_the_confusion_matrix_follows_from_the_predictions(tmp_path: Path) -> None:
    path = make_record(tmp_path, "1.2.2", "mnist", "joint", n=200, accuracy=0.7)
    html, pdf = render(tmp_path)
    rows = table_of(html, "Confusion matrix")
    with np.load(path.with_suffix(".npz")) as file:
        labels, predictions = file["test_labels"], file["test_predictions"]
    counts = [[int(((labels == i) & (predictions == j)).sum()) for j in range(10)] for i in range(10)]
    assert rows[1:] == [[str(i), *[str(number) if number else "" for number in row]] for i, row in enumerate(counts)]
    for i, row in enumerate(counts):
        assert squeeze(f"{i}" + "".join(str(number) for number in row if number)) in squeeze(pdf_text(pdf))
    caption = next(caption for caption in Reader(html).tables if caption.startswith("Confusion"))
    off = max(number for i, row in enumerate(counts) for j, number in enumerate(row) if i != j)
    assert f"Of 200 test images {sum(counts[i][i] for i in range(10))} lie on the diagonal" in caption
    assert f"{off} image" in caption
    head, *classes = table_of(html, "Accuracy by class")
    for i, (name, images, accuracy) in enumerate(classes):
        assert (name, int(images)) == (str(i), sum(counts[i])) and close(accuracy, 100 * counts[i][i] / sum(counts[i]))


def test_order_is_by_data_set_with_the_toy_set_last(report: tuple) -> None:
    order = [(dataset, task.split()[0]) for dataset, task, *_ in headline(report[0])]
    assert order == [("MNIST", "1.2.1"), ("MNIST", "1.2.1"), ("MNIST", "1.2.2"), ("MNIST", "1.2.3"), ("MNIST", "1.2.3"),
                     ("MNIST", "control"), ("MNIST", "control"), ("CIFAR-10", "1.2.1"), ("CIFAR-10", "1.2.2"),
                     ("CIFAR-10", "1.2.3"), ("CIFAR-10", "rotation"),
                     ("Digits (embedded toy set, 8x8 pixels)", "1.2.2")]
    assert [row[2] for row in headline(report[0])][:7] == ["plain", "masked", "joint", "simclr", "dcl",
                                                           "frozen random encoder", "PCA"]


def test_a_missing_result_is_shown_with_its_command(report: tuple) -> None:
    missing = [row for row in headline(report[0]) if row[2].startswith("missing")]
    assert len(missing) == 1  # a run with another recipe than the default one does not fill the cell
    assert missing[0][2].endswith("python _main.py --task 1.2.3 --dataset cifar10")
    assert missing[0][3] == "74.99"
    assert "python _main.py --task 1.2.3 --dataset cifar10" in " ".join(pdf_text(report[1]).split())


def test_the_verdict_counts_what_it_says(folder: Path) -> None:
    loaded, rejected = load_results(folder)
    told = " ".join(page_content.verdict(summary.summarise(loaded), rejected))
    assert "22 complete runs" in told and "5 are here" in told and "Missing: 1.2.3 on CIFAR-10." in told
    assert "is above the known reference in 2 of 7 rows" in told and "not above the known reference in 5 of 7" in told
    assert "On MNIST highest of 7 rows is 1.2.2 joint with 100.00 % (n = 1); the controls give frozen random encoder " \
           "71.00 % and PCA 82.00 %;" in told
    assert "With 1 % of the labels of MNIST: contrastive simclr, fine-tuned 83.00 %; contrastive simclr, frozen " \
           "81.00 %; random initialisation, trained end to end 61.00 %." in told
    assert "1 quick run, 4 failed runs, 1 repeat and 3 rejected files" in told


def test_what_does_not_count_is_listed_with_its_reason(report: tuple) -> None:
    lists = {caption.split(":")[0].rstrip("."): rows[1:] for caption, rows in Reader(report[0]).tables.items()}
    assert [row[0] for row in lists["Quick runs"]] == ["hasty.json"]
    assert len(lists["Failed runs"]) == 4
    assert lists["Failed runs"][2] == ["broken2.json", "1.2.2 classification-guided, MNIST, joint, seed 2", "7", "277",
                                       "loss became NaN"]
    assert [(row[0], row[3]) for row in lists["Repeats"]] == [("older.json", "1.2.1_mnist_plain_seed0.json")]
    reasons = dict(lists["Rejected files"])
    assert list(reasons) == ["edited.json", "lost.json", "notes.json"]
    assert f"metrics.{HEADLINE}.value is 0.99" in reasons["edited.json"]
    assert reasons["lost.json"] == "lost.npz: No such file or directory"
    text = " ".join(pdf_text(report[1]).split())
    assert all(word in text for word in ("loss became NaN", "older.json", "lost.npz: No such file or directory"))


def test_both_files_are_complete_and_stand_alone(report: tuple) -> None:
    html, pdf, seconds, _ = report
    reader = Reader(html)
    assert reader.open == []
    names = [tag for tag, _ in reader.tags]
    assert names.count("h1") == 1 and "link" not in names
    assert [attributes for tag, attributes in reader.tags if tag == "script"] == [{}]
    ids = [attributes["id"] for _, attributes in reader.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for tag, attributes in reader.tags:
        for key in ("src", "href", "xlink:href"):
            value = attributes.get(key) or ""
            assert value.startswith(("#", "data:image/png;base64,")) or key not in attributes, (tag, value)
            assert not value.startswith("#") or value[1:] in ids
        if tag in ("img", "svg") and attributes.get("aria-hidden") != "true":
            assert len(attributes.get("alt") or attributes.get("aria-label") or "") > 20
        if tag == "th":
            assert attributes.get("scope") in ("col", "row", "rowgroup")
    assert "url(http" not in html and "@import" not in html
    assert names.count("table") == names.count("caption")
    document = PdfReader(BytesIO(pdf))
    assert document.metadata.title == page_content.prose.TITLE
    assert document.metadata.creation_date is None
    assert seconds < 60


def test_the_pdf_is_accessible(tmp_path: Path) -> None:
    """Typst checks PDF/UA-1: a title, a language, alternative text for each image, headings in order."""
    for method in ("plain", "masked"):
        make_record(tmp_path, "1.2.1", "mnist", method, n=100, reconstructions=6, epochs=3)
    for share in (0.1, 0.5):
        make_record(tmp_path, "1.2.2", "mnist", "joint", n=100, epochs=3, fields={"labels": share})
    content, drawings = page_content.make_page(*load_results(tmp_path), a_theory())
    assert build_pdf(content, drawings, standard="ua-1").startswith(b"%PDF")


def a_theory() -> tuple[list[dict], dict]:
    """What report.theory hands over, as little of it as shows everything."""
    section = {"id": "pca", "title": "A linear <autoencoder>", "paragraphs": ["First words #let.", "Last words."],
               "equations": [{"typst": "x^2 / y", "alt": "x squared over y"}],
               "tables": [{"caption": "Angles <i>.", "head": ["What", "Degrees"], "rows": [["largest", "0.1234"]],
                           "right": [1], "code": []}],
               "figures": [{"file": "theory-pca.svg", "alt": "A square of one unit.", "caption": "A square."}]}
    square = b'<svg xmlns="http://www.w3.org/2000/svg" width="9pt" height="9pt"><path d="M 1 1 L 3 3"/></svg>'
    return [section], {"theory-pca.svg": charts.Drawing("svg", square, "A square of one unit.", "A square.")}


def test_the_theory_is_a_chapter_of_both(tmp_path: Path) -> None:
    make_record(tmp_path, n=60, epochs=2)
    (tmp_path / "theory.json").write_text('{"not": "a record"}')
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper" / "theory.json").write_text('{"not": "a record"}')
    loaded, rejected = load_results(tmp_path)
    assert len(loaded) == 1 and [item.name for item in rejected] == ["deeper/theory.json"]
    content, drawings = page_content.make_page(loaded, rejected, a_theory())
    html, pdf = build_html(content, drawings).decode(), build_pdf(content, drawings)
    assert table_of(html, "Angles <i>") == [["What", "Degrees"], ["largest", "0.1234"]]
    labels = [attributes.get("aria-label") for tag, attributes in Reader(html).tags if tag == "svg"]
    assert "x squared over y" in labels and "A square of one unit." in labels
    for words in ("Theory, with experiments", "A linear <autoencoder>", "First words #let.", "Last words.", "0.1234"):
        assert words in "".join(Reader(html).text) and squeeze(words) in squeeze(pdf_text(pdf))
    without = build_html(*page_content.make_page(loaded, rejected)).decode()
    assert "Theory, with experiments" not in without


def test_the_explorer_is_placed_where_there_is_one(tmp_path: Path) -> None:
    make_record(tmp_path, n=60, epochs=2)
    content, drawings = page_content.make_page(*load_results(tmp_path))
    there = build_html(content, drawings, Markup("<p>an explorer</p>")).decode()
    assert there.index("Bokeh") < there.index("</head>") < there.index("<p>an explorer</p>")
    assert '<a href="#explore">' in there
    without = build_html(content, drawings).decode()
    assert "Bokeh" not in without and 'href="#explore"' not in without


def test_equations_are_drawn_once_and_follow_the_page(report: tuple) -> None:
    drawn = equations.render(prose.METHODS)
    assert len(drawn) == len(prose.METHODS) == 12
    assert equations.render(prose.METHODS[:2] + prose.METHODS[:1]) == {
        method["typst"]: drawn[method["typst"]] for method in prose.METHODS[:2]}
    for method in prose.METHODS:
        svg = drawn[method["typst"]]
        assert svg in report[0] and "currentColor" in svg and charts.INK not in svg
        assert f'aria-label="{method["alt"]}"' in svg and re.search(r'width="\d+\.\d+em"', svg)
        assert squeeze(method["source"]) in squeeze(pdf_text(report[1]))
    assert equations.render([]) == {}


def old_format(path: Path) -> None:
    """Make a record what the first ones were: four arrays and the reconstructions, few scores."""
    raw = json.loads(path.read_text())
    old = {"test_labels", "test_predictions", "map_index", "map_points", "reconstruction_index",
           "reconstruction_inputs", "reconstruction_outputs"}
    with np.load(path.with_suffix(".npz")) as file:
        arrays = {name: file[name] for name in file.files if name in old}
    raw["artifacts"] = {"arrays": write_arrays(path.with_suffix(".npz"), arrays).model_dump()}
    kept = ("classifier_top1", "linear_top1", "knn_top1", "reconstruction_mae")
    raw["metrics"] = {name: metric for name, metric in raw["metrics"].items() if name.split("/")[1] in kept}
    path.write_text(json.dumps(raw))


def test_records_from_before_the_new_scores_are_shown_as_far_as_they_go(tmp_path: Path) -> None:
    old_format(make_record(tmp_path, "1.2.1", "mnist", "plain", n=100, epochs=2, reconstructions=5))
    make_record(tmp_path, "1.2.1", "mnist", "masked", n=100, epochs=2, reconstructions=5)
    html, pdf = render(tmp_path)
    assert load_results(tmp_path)[1] == [] and pdf.startswith(b"%PDF")
    lines = {line[0]: line[1:] for line in table_of(html, "1.2.1 autoencoding: methods side by side on MNIST")}
    assert lines["Mean over seeds"] == ["plain", "masked"]
    assert lines["Effective rank (of 128)"] == ["–", "47.31"] and lines["Reconstruction MAE, test"][0] == "0.05230"
    titles = [attributes.get("aria-label", "") for tag, attributes in Reader(html).tags if tag == "svg"]
    assert sum(title.startswith("t-SNE of the latents") for title in titles) == 2
    assert sum(title.startswith("PCA of the pixels") for title in titles) == 1
    assert "test images at even steps" in html and "Labelled" not in html


def test_pictures_say_in_numbers_what_they_show(tmp_path: Path) -> None:
    path = make_record(tmp_path, "1.2.1", "mnist", "plain", n=100, epochs=2, reconstructions=9)
    (run,), _ = load_results(tmp_path)
    raw = json.loads(path.read_text())
    with np.load(path.with_suffix(".npz")) as file:
        arrays = dict(file)
    words = {name: squeeze("".join(ElementTree.fromstring(drawing.data).itertext())) for name, drawing in (
        ("reconstructions", pictures.reconstructions(run.record, run.arrays)),
        ("interpolations", pictures.interpolations(run.record, run.arrays)),
        ("neighbours", pictures.neighbours(run.record, run.arrays)))}
    errors = arrays["reconstruction_error"]
    assert all(f"{error:.4f}" in words["reconstructions"] for error in errors)
    for name, part in (("best", errors[:3]), ("median", errors[3:6]), ("worst", errors[6:])):
        assert f"{name}:{part[0]:.4f}–{part[-1]:.4f}" in words["reconstructions"]
    for kind in ("within", "between"):
        value = raw["metrics"][f"test/interpolation_step_{kind}"]["value"]
        assert f"{value:.3f}" in words["interpolations"]
    labels = arrays["test_labels"][arrays["interpolation_index"]]
    assert all(f"{a}→{b}" in words["interpolations"] for a, b in labels)
    true = arrays["test_labels"][arrays["neighbour_index"]]
    same = int((arrays["neighbour_labels"] == true[:, None]).sum())
    assert f"{same} of 24 are of the same class" in pictures.neighbours(run.record, run.arrays).alt
    assert words["neighbours"].count("≠") == 24 - same
    for label, cosine in zip(arrays["neighbour_labels"].ravel(), arrays["neighbour_cosine"].ravel(), strict=True):
        assert f"{label}{cosine:.3f}" in words["neighbours"]
    drawn = dict(pictures.maps(run.record, run.arrays))
    assert list(drawn) == ["map_points", "map_pca", "pixel_tsne", "pixel_pca"]
    for key, score in (("map_points", "tsne"), ("map_pca", "pca"), ("pixel_tsne", "pixel_tsne"),
                       ("pixel_pca", "pixel_pca")):
        value = 100 * raw["metrics"][f"test/{score}_agreement"]["value"]
        assert f"{value:.2f} % agreement" in drawn[key].caption and f"{value:.2f} %" in drawn[key].alt


def test_a_dot_lies_where_its_coordinates_say(tmp_path: Path) -> None:
    """Two classes, far left and far right: the picture's colours must lie there too."""
    points = np.array([[-9, 0]] * 5 + [[9, 0]] * 5, np.float32)
    labels = np.array([0] * 5 + [1] * 5, np.uint16)
    svg = ElementTree.fromstring(pictures.map_svg(points.tobytes(), labels.tobytes(), ("left", "right")))
    data = next(element for element in svg if element.tag.endswith("image")).attrib
    encoded = next(value for value in data.values() if value.startswith("data:image/png;base64,"))
    image = np.asarray(Image.open(BytesIO(base64.b64decode(encoded.partition(",")[2]))).convert("RGBA"))
    for label, columns in ((0, slice(0, image.shape[1] // 2)), (1, slice(image.shape[1] // 2, None))):
        half = image[:, columns]
        seen = half[half[..., 3] == 255][:, :3].astype(int).mean(0)
        wanted = [int(pictures.class_colour(label, 2)[i:i + 2], 16) for i in (1, 3, 5)]
        assert seen == pytest.approx(wanted, abs=12)


PAYLOADS = ["<script>alert(1)</script>",
            "\"><img src=x onerror=alert(1)>", "#panic(\"x\") *b* _i_ $x_1$ @here <l> // c",
            "$\\frac{1", "]]> --> {{ 7 * 7 }} {% raw %}", "\x00\x1b[31m\u202eevil\u2028\ud7ff", "a|b`c`[d](e)"]


def test_text_of_a_record_is_shown_and_never_obeyed(tmp_path: Path) -> None:
    for i in range(3):
        a, b, c, *_ = PAYLOADS[2 * i:] + PAYLOADS
        make_record(tmp_path, f"1.2.3{a}", f"folder-{b}", c, i, n=60, epochs=2, name=f"bad{i}", source=b, objective=c,
                    classes=[a, b, f"{c} again"], argv=["--seed", str(i), "--x", *PAYLOADS], device=a,
                    fields={f"field {a}": b, c: a})
    for i, payload in enumerate(PAYLOADS):
        make_record(tmp_path, payload, payload, payload, i, status="failed", failure=payload, name=f"failed{i}")
    (tmp_path / "<img src=x>.json").write_text('{"<script>alert(2)</script>": 1}')
    html, pdf = render(tmp_path)
    reader = Reader(html)
    (tmp_path / "harmless").mkdir()
    for method in ("plain", "masked"):
        make_record(tmp_path / "harmless", "1.2.1", "mnist", method, n=60, epochs=2, reconstructions=2)
    make_record(tmp_path / "harmless", "1.2.2", n=60, epochs=2, fields={"epochs": 2, "labels": 0.5})
    make_record(tmp_path / "harmless", "1.2.2", n=60, epochs=2, fields={"epochs": 2, "labels": 0.1})
    harmless = {tag for tag, _ in Reader(render(tmp_path / "harmless")[0]).tags}
    assert {tag for tag, _ in reader.tags} <= harmless
    assert not [key for _, attributes in reader.tags for key in attributes if key.startswith("on")]
    text = "".join(reader.text)
    for payload in PAYLOADS:
        assert show.plain(payload) in text
    assert "\x1b" not in text and "\u202e" not in text and "\\x1b[31m\\u202eevil" in text
    squeezed = re.sub(r"[\s\u200b]", "", pdf_text(pdf))
    for payload in PAYLOADS[:5]:
        assert re.sub(r"\s", "", payload) in squeezed


def test_names_of_classes_stay_text_in_the_figures(tmp_path: Path) -> None:
    make_record(tmp_path, n=60, epochs=2, classes=["$x_1$", "<b>&\"", "c"])
    (run,), _ = load_results(tmp_path)
    drawing = dict(pictures.maps(run.record, run.arrays))["map_points"]
    inline = charts.inline_svg(drawing.data, "one-", 'label "<script>')
    assert "$x_1$" in inline and "&lt;b&gt;&amp;" in inline
    assert 'aria-label="label &quot;&lt;script&gt;"' in inline
    assert charts.INK not in inline and "currentColor" in inline
    curves = charts.inline_svg(charts.curves(summary.summarise([run]).rows[0]).data, "one-", "label")
    assert set(re.findall(r'(?:href="|url\()#(one-)?', curves)) <= {"one-"}


def test_figures_say_in_numbers_what_they_show(tmp_path: Path) -> None:
    path = make_record(tmp_path, "1.2.2", "mnist", "joint", n=100, epochs=4)
    edit(edit(path, "history", 0, "val_loss", value=0.4123), "history", 3, "val_loss", value=0.12)
    make_record(tmp_path, "control", "mnist", "pca", n=100, epochs=0, accuracy=0.5)
    rows = summary.summarise(load_results(tmp_path)[0]).rows
    assert "Validation loss falls from 0.4123 to 0.1200 over 4 epochs" in charts.curves(rows[0]).alt
    assert charts.curves(rows[1]) is None
    raw = json.loads(path.read_text())
    assert f"joint by classifier ({100 * raw['metrics'][HEADLINE]['value']:.2f} %)" in charts.methods(
        [("mnist", rows)]).alt
    assert "control: PCA on MNIST 50.00 %" in charts.overview(rows, []).alt


@pytest.mark.parametrize("classes", [2, 25, 60])
def test_any_number_of_classes_can_be_drawn(tmp_path: Path, classes: int) -> None:
    make_record(tmp_path, "1.2.2", "folder-plants", "joint", n=300, epochs=1,
                classes=[f"a plant with a long name {i}" for i in range(classes)])
    html, _ = render(tmp_path)
    assert ("Confusion matrix:" in html) == (classes <= 30)
    assert ("cannot be read and are left out" in " ".join(html.split())) == (classes > 30)
    assert "t-SNE of the latents" in html


def test_repeats_count_once_and_the_newest_counts(tmp_path: Path) -> None:
    for month, accuracy in ((3, 0.7), (9, 0.8), (6, 0.9)):
        make_record(tmp_path, n=100, accuracy=accuracy, started=f"2025-0{month}-01T00:00:00Z", name=f"month{month}")
    results = summary.summarise(load_results(tmp_path)[0])
    assert [(row.accuracy, row.deviation) for row in results.rows] == [(0.8, None)]
    assert [(run.name, newer) for run, newer in results.repeats] == [("month3.json", "month9.json"),
                                                                    ("month6.json", "month9.json")]


def test_warnings_name_dirty_trees_and_differing_data(tmp_path: Path) -> None:
    edit(make_record(tmp_path, seed=0, n=50), "environment", "dirty", value=True)
    make_record(tmp_path, seed=1, n=50, device="cuda")
    edit(make_record(tmp_path, seed=2, n=50), "data", "sha256", "test_images", value="f" * 64)
    results = summary.summarise(load_results(tmp_path)[0])
    assert [len(row.runs) for row in results.rows] == [2, 1]  # other images are no further seed
    told = " ".join(summary.warnings_of(results))
    assert "1 run came from a working tree that differed" in told
    assert "SHA-256 differ (2 versions)" in told and "2 different machines" in told


def test_the_same_records_give_the_same_bytes_in_another_process(tmp_path: Path) -> None:
    make_record(tmp_path / "results", "1.2.1", "folder-toy", "plain", n=80, epochs=2, reconstructions=2)
    make_record(tmp_path / "results", "1.2.2", "folder-toy", "joint", n=80, epochs=2)
    written = []
    for seed in ("1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": seed}
        subprocess.run([sys.executable, SCRIPT], cwd=tmp_path, env=environment, check=True, capture_output=True)
        written.append([(tmp_path / name).read_bytes() for name in ("report.html", "report.pdf")])
    assert written[0] == written[1]


def main(argv: list[str]) -> int:
    """The exit code of a command line."""
    return exit_code(lambda: _report_evaluation.main(argv), "")


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = tmp_path / "results"
    html, pdf = tmp_path / "out.html", tmp_path / "out.pdf"
    common = ["--results-dir", str(results), "--html", str(html), "--pdf", str(pdf)]
    assert main(common) == 1
    assert capsys.readouterr().err == (f"error: {results}: no such folder; --results-dir names the one "
                                       "with the records\n")
    results.mkdir()
    (results / "bad\x1b.json").write_text("{")
    assert main(common) == 0
    out, err = capsys.readouterr()
    assert str(html) in out and str(pdf) in out and "records used: 0, rejected: 1" in out
    assert err.startswith("rejected bad\\x1b.json: ") and err.count("\n") == 1
    assert "no record of a complete run yet" in " ".join(html.read_text().split())
    assert html.read_text().count("python _main.py --task") == 9  # six results, the toy set, two with fewer labels
    assert pdf.read_bytes().startswith(b"%PDF")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["out.html", "out.pdf", "results"]


@pytest.mark.parametrize(("argv", "code", "told"), [
    (["--no-such"], 2, "unrecognized arguments: --no-such"),
    (["--html", "a", "--pdf", "a"], 2, "name the same file"),
    (["--html", "results/run.json"], 2, "does not go where records lie"),
    (["--readme", "README.md", "--html", "a"], 2, "--readme makes no page"),
    (["--html", "no/such/folder/a.html"], 1, "cannot be written: No such file or directory"),
    (["--pdf", "."], 1, "cannot be written"),
    (["--readme", "absent.md"], 1, "cannot be read: No such file or directory"),
])
def test_errors_take_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
                              argv: list[str], code: int, told: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results").mkdir()
    assert main(argv) == code
    err = capsys.readouterr().err
    assert told in err and err.count("\n") == 1


def test_help_is_quick_and_begins_with_examples() -> None:
    code = f"import sys; sys.argv = ['x', '--help']; sys.path.insert(0, {str(SCRIPT.parent)!r})\n" \
           "import _report_evaluation\ntry: _report_evaluation.main(sys.argv[1:])\nexcept SystemExit: pass\n" \
           "heavy = {'torch', 'numpy', 'matplotlib', 'jinja2', 'typst', 'pydantic'} & set(sys.modules)\n" \
           "assert not heavy, heavy"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("examples:\n  python _report_evaluation.py")


def test_no_torch_is_imported(tmp_path: Path) -> None:
    make_record(tmp_path / "results", n=50, epochs=1)
    code = f"import sys; sys.path.insert(0, {str(SCRIPT.parent)!r})\n" \
           "import report.render\nassert 'torch' not in sys.modules and 'matplotlib.pyplot' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_known_data_set_must_have_its_own_digests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("report.load.check_known", CHECK_KNOWN)
    make_record(tmp_path, dataset="mnist", n=50, epochs=1)
    make_record(tmp_path, dataset="folder-mine", n=50, epochs=1)
    loaded, rejected = load_results(tmp_path)
    assert [run.record.run.dataset for run in loaded] == ["folder-mine"]
    assert "data.sha256" in rejected[0].reason
    edit(make_record(tmp_path / "other", dataset="folder-mine", n=50, epochs=1), "run", "dataset", value="MNIST")
    assert load_results(tmp_path / "other")[0] == []


def test_readme_block(folder: Path, report: tuple, tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    before, after = b"# Title\r\n\xc3\xa9 <!-- results:begin -->", b"<!-- results:end -->\ntail without newline"
    readme.write_bytes(before + b" old numbers 99.99 " + after)
    write_readme(folder, readme)
    written = readme.read_bytes()
    assert written.startswith(before) and written.endswith(after) and b"99.99" not in written
    lines = written[len(before):-len(after)].decode().strip().splitlines()
    assert len({line.count("|") for line in lines}) == 1
    shown = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
    for mine, theirs in zip(shown, headline(report[0]), strict=True):
        if theirs[2].startswith("missing"):
            assert mine[2] == "missing: `python _main.py --task 1.2.3 --dataset cifar10`" and mine[6] == theirs[3]
        else:
            assert mine[3:] == theirs[3:]
    write_readme(folder, readme)
    assert readme.read_bytes() == written


@pytest.mark.parametrize("text", ["", "<!-- results:begin -->", "<!-- results:end --> <!-- results:begin -->",
                                  "<!-- results:begin --><!-- results:begin --><!-- results:end -->"])
def test_a_readme_without_markers_is_left_alone(tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(text)
    assert main(["--results-dir", str(tmp_path), "--readme", str(readme)]) == 1
    assert "needs one line <!-- results:begin -->" in capsys.readouterr().err
    assert readme.read_text() == text


def test_markdown_of_a_record_is_escaped() -> None:
    assert page_content.markdown_text("a|b <i> `c` [d](e)") == "a\\|b &lt;i&gt; \\`c\\` \\[d\\](e)"


def test_formats() -> None:
    assert [show.percent(value) for value in (0.75314, 1.0, 0.0, None)] == ["75.31", "100.00", "0.00", "–"]
    assert [show.points(value) for value in (0.0123, -0.0123, 0.00001, -0.00001)] == ["+1.23", "−1.23", "0.00", "0.00"]
    assert [show.duration(value) for value in (6.44, 59.96, 754.2, 3599.9, 7320)] == [
        "6.4 s", "1 min 00 s", "12 min 34 s", "1 h 00 min", "2 h 02 min"]
    assert [show.flops(value) for value in (12, 4.5e12, 3.21e15)] == ["12 FLOP", "4.50 TFLOP", "3.21 PFLOP"]
    assert [show.significant(value) for value in (0.05, -1.5, 12345.6)] == ["0.05000", "−1.500", "1.235e+04"]
    assert show.shorten("short", 5) == "short" and show.shorten("flower number 17", 12) == "flower n…17"
    assert show.listing(["a"]) == "a" and show.listing(["a", "b", "c"]) == "a, b and c"


def browse(page: Path) -> str:
    """The document that headless Chromium makes of a file, after its scripts have run."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no chromium on this machine")
    command = [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
               "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
               "--allow-file-access-from-files", f"--user-data-dir={page.parent / 'profile'}",
               "--virtual-time-budget=5000", "--dump-dom", page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120).stdout


def test_a_browser_sorts_the_verdict_table_within_each_data_set(report: tuple, tmp_path: Path) -> None:
    clicks = ("<script>{ const heads = document.querySelectorAll('.headline thead button');"
              "heads[2].click(); heads[7].click(); heads[7].click(); }</script></body>")
    (tmp_path / "report.html").write_text(report[0].replace("</body>", clicks))
    sorted_page = Reader(browse(tmp_path / "report.html").replace("&nbsp;", " "))
    rows = headline_of(sorted_page)
    before = headline(report[0])
    assert rows != before and sorted(map(tuple, rows)) == sorted(map(tuple, before))
    for dataset in {row[0] for row in rows}:
        group = [row for row in rows if row[0] == dataset]
        linear = [float(row[8]) for row in group if not row[2].startswith("missing")]
        assert linear == sorted(linear)
        assert not any(row[2].startswith("missing") for row in group[:len(linear)])
    marked = [attributes["aria-sort"] for _, attributes in sorted_page.tags if "aria-sort" in attributes]
    assert marked == ["ascending"]


@pytest.mark.parametrize("width", [390, 1280])
def test_a_browser_shows_the_page_without_sideways_scrolling(report: tuple, tmp_path: Path, width: int) -> None:
    (tmp_path / "report.html").write_text(report[0])
    (tmp_path / "frame.html").write_text(
        f'<iframe id="f" src="report.html" style="width:{width}px;height:900px;border:0"></iframe><p id="out"></p>'
        "<script>f.onload = () => { const d = f.contentDocument.documentElement;"
        "out.textContent = `widths ${d.scrollWidth} ${d.clientWidth} svg ${d.querySelectorAll('svg').length}`; }"
        "</script>")
    dom = browse(tmp_path / "frame.html")
    found = re.search(r"widths (\d+) (\d+) svg (\d+)", dom)
    assert found, dom[-500:]
    assert int(found[1]) <= int(found[2]) == width
    assert int(found[3]) == report[0].count("<svg")


def test_decoders_are_compared_on_the_same_images(tmp_path: Path) -> None:
    for method in ("plain", "masked"):
        make_record(tmp_path, "1.2.1", "mnist", method, accuracy=0.98, n=60, reconstructions=6)
    arrays = {run.record.run.method: run.arrays for run in load_results(tmp_path)[0]}
    arrays["masked"]["neighbour_inputs"] = arrays["plain"]["neighbour_inputs"]
    drawn = pictures.side_by_side(list(arrays.items()))
    for name, one in arrays.items():
        error = np.mean([abs(int(a) - int(b)) / 255 for a, b in zip(
            one["neighbour_inputs"].ravel(), one["neighbour_outputs"].ravel(), strict=True)])
        assert f"{name} {error:.4f}" in drawn.caption
        assert f"{name} {error:.4f}" in drawn.alt
    other = arrays["masked"] | {"neighbour_inputs": arrays["masked"]["neighbour_inputs"][::-1]}
    assert pictures.side_by_side([("plain", arrays["plain"]), ("masked", other)]) is None  # other images


def test_an_encoder_that_had_seen_more_labels_is_no_honest_point_of_the_curve(tmp_path: Path) -> None:
    """Labels that came in through another run's encoder are said, and keep the row off the line of the others."""
    honest = {"record": "a.json", "task": "1.2.3", "dataset": "mnist", "labels": 0.0, "method": "simclr", "seed": 0,
              "recipe_hash": read_record(make_record(tmp_path, "1.2.3", "mnist", "simclr", n=60)).recipe.hash,
              "sha256": "4" * 64}
    for share in (0.01, 0.1):
        fields = {"labels": share, "epochs": 0}
        make_record(tmp_path, "1.2.3", "mnist", "simclr", n=60, epochs=0, init=honest, fields=fields, name=f"h{share}")
        make_record(tmp_path, "1.2.3", "mnist", "simclr", n=60, epochs=0, init=honest | {"labels": 1.0}, fields=fields,
                    name=f"l{share}")
    rows = summary.summarise(load_results(tmp_path)[0]).rows
    lines = {line.name: len(line.points) for line in stats.label_lines(rows)}
    assert lines == {"contrastive simclr, frozen": 3,
                     "contrastive simclr, frozen, from 1.2.3 simclr, which had seen 100 % of labels": 2}
    assert sum("which had seen 100 % of the labels" in row.recipe for row in rows) == 2


def test_an_image_that_several_drawings_show_is_embedded_once() -> None:
    one, two = '<svg><image x="0" href="data:A" /></svg>', '<svg><image x="0" href="data:B" /></svg>'
    shared = share_images({"a": Markup(one), "b": Markup(two), "c": Markup(one), "d": Markup(one)})
    assert shared["a"] == '<svg><image id="image-0" x="0" href="data:A" /></svg>'
    assert shared["b"] == two
    assert shared["c"] == shared["d"] == '<svg><use href="#image-0" /></svg>'
