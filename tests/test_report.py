"""The report: every number is derived anew from the JSON by other code; no text of a record can break the page."""

import functools
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
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from pypdf import PdfReader
from scipy.stats import binomtest

import _report_evaluation
from report import figures, page, tables
from report import format as show
from report.build import build_html, build_pdf, write_readme
from report.load import check_known as CHECK_KNOWN
from report.load import load_results
from tests.factory import edit, make_record
from utils.command_line import exit_code
from utils.record import HEADLINE, read_record

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
    content, drawings = page.make_page(*load_results(folder))
    return build_html(content, drawings).decode(), build_pdf(content, drawings)


@functools.cache  # reading a PDF takes seconds
def pdf_text(pdf: bytes) -> str:
    """Text of all pages."""
    return "\n".join(one.extract_text() for one in PdfReader(BytesIO(pdf)).pages)


def headline(html: str) -> list[list[str]]:
    """Rows of the headline table, each with its data set in front."""
    rows = next(rows for caption, rows in Reader(html).tables.items() if caption.startswith("Test accuracy"))
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
    """Twenty files: seeds, an own recipe, the toy set, and each thing that must not count."""
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
def report(folder: Path) -> tuple[str, bytes, float]:
    """HTML, PDF and the seconds that they took."""
    start = time.perf_counter()
    return *render(folder), time.perf_counter() - start


def expected_rows(folder: Path) -> dict[tuple[str, str, bool], list[dict]]:
    """Raw JSON of the runs that must count, by (data set, task, default recipe).  Shares no code with the report."""
    spoilt = {"edited", "lost", "notes", "older", "hasty", *(f"broken{i}" for i in range(4))}
    groups: dict[tuple[str, str, bool], list[dict]] = {}
    for path in folder.rglob("*.json"):
        if path.stem not in spoilt:
            raw = json.loads(path.read_text())
            key = (raw["run"]["dataset"], raw["run"]["task"], not raw["recipe"]["overridden"])
            groups.setdefault(key, []).append(raw)
    return groups


def close(shown: str, exact: float, digits: int = 2) -> bool:
    """Whether a shown number is the exact one, rounded."""
    assert re.fullmatch(rf"[+\u2212]?\d+\.\d{{{digits}}}", shown), shown
    return abs(float(shown.replace("\u2212", "-")) - exact) <= 0.5 * 10**-digits + 1e-9


NAMES = {"MNIST": "mnist", "CIFAR-10": "cifar10", "Digits (embedded toy set, 8x8 pixels)": "digits"}


def test_every_headline_number_follows_from_the_json(folder: Path, report: tuple) -> None:
    groups = expected_rows(folder)
    for dataset, task, method, *cells in headline(report[0]):
        if method.startswith("missing"):
            continue
        task = task.split()[0]
        runs = groups.pop((NAMES[dataset], task, "not the default" not in method))
        values = [run["metrics"][HEADLINE]["correct"] / run["metrics"][HEADLINE]["n"] for run in runs]
        n, mean = runs[0]["metrics"][HEADLINE]["n"], statistics.fmean(values)
        accuracy, deviation, interval, reference, difference, linear, knn, minutes, seeds = cells
        assert close(accuracy, 100 * mean)
        spread, count = re.fullmatch(r"(.+) \((\d+)\)", deviation).groups()
        assert int(count) == len(runs)
        assert spread == "–" if len(runs) == 1 else close(spread, 100 * statistics.stdev(values))
        low, high = wilson_by_bisection(mean, n)
        assert close(interval.split("–")[0], 100 * low) and close(interval.split("–")[1], 100 * high)
        known = tables.REFERENCE.get((task, NAMES[dataset]))
        if known is None:
            assert reference == difference == "–"
        else:
            assert close(reference, 100 * known) and close(difference, 100 * (mean - known))
        assert close(linear, 100 * statistics.fmean(run["metrics"]["test/linear_top1"]["value"] for run in runs))
        assert close(knn, 100 * statistics.fmean(run["metrics"]["test/knn_top1"]["value"] for run in runs))
        assert close(minutes, statistics.fmean(run["run"]["seconds"] for run in runs) / 60, digits=1)
        assert seeds == ", ".join(str(seed) for seed in sorted(run["run"]["seed"] for run in runs))
    assert groups == {}


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
    assert tables.wilson_interval(correct / n, n) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_the_pdf_shows_the_same_rows_as_the_html(report: tuple) -> None:
    text = " ".join(pdf_text(report[1]).split())
    rows = headline(report[0])
    assert len(rows) == 9
    for _, task, method, *cells in rows:
        if not method.startswith("missing"):
            shown = " ".join([task, method.partition("not the default")[0], *cells])
            assert " ".join(shown.split()) in text


def test_every_metric_of_every_counted_run_stands_in_both(folder: Path, report: tuple) -> None:
    html, pdf = " ".join("".join(Reader(report[0]).text).split()), " ".join(pdf_text(report[1]).split())
    for runs in expected_rows(folder).values():
        for raw in runs:
            metric = raw["metrics"][HEADLINE]
            correct, n = metric["correct"], metric["n"]
            words = f"Test accuracy {100 * correct / n:.2f} % ({correct} of {n} images;"
            assert words in html and words in pdf
            for name, metric in raw["metrics"].items():
                if name.count("/") == 1 and name.endswith("_top1"):
                    assert f"{100 * metric['value']:.2f} % ({metric['correct']} of {metric['n']})" in pdf
            for digest in (raw["artifacts"]["arrays"]["sha256"], raw["recipe"]["hash"]):
                assert digest in html


def test_order_is_by_data_set_with_the_toy_set_last(report: tuple) -> None:
    order = [(dataset, task.split()[0]) for dataset, task, *_ in headline(report[0])]
    assert order == [("MNIST", "1.2.1"), ("MNIST", "1.2.2"), ("MNIST", "1.2.3"), ("CIFAR-10", "1.2.1"),
                     ("CIFAR-10", "1.2.2"), ("CIFAR-10", "1.2.3"), ("CIFAR-10", "1.2.3"), ("CIFAR-10", "rotation"),
                     ("Digits (embedded toy set, 8x8 pixels)", "1.2.2")]


def test_a_missing_result_is_shown_with_its_command(report: tuple) -> None:
    missing = [row for row in headline(report[0]) if row[2].startswith("missing")]
    assert len(missing) == 1  # a run with another recipe than the default one does not fill the cell
    assert missing[0][2].endswith("python _main.py --task 1.2.3 --dataset cifar10")
    assert missing[0][3] == "74.99"
    assert "python _main.py --task 1.2.3 --dataset cifar10" in " ".join(pdf_text(report[1]).split())


def test_the_verdict_counts_what_it_says(folder: Path) -> None:
    loaded, rejected = load_results(folder)
    told = " ".join(page.verdict(tables.summarise(loaded), rejected))
    assert "11 complete runs" in told and "5 are here" in told and "Missing: 1.2.3 on CIFAR-10." in told
    assert "is above the known reference in 2 of 5 rows" in told and "not above the known reference in 3 of 5" in told
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
    html, pdf, seconds = report
    reader = Reader(html)
    assert reader.open == []
    names = [tag for tag, _ in reader.tags]
    assert names.count("h1") == 1 and "script" not in names and "link" not in names
    ids = [attributes["id"] for _, attributes in reader.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for tag, attributes in reader.tags:
        for key in ("src", "href", "xlink:href"):
            value = attributes.get(key) or ""
            assert value.startswith(("#", "data:image/png;base64,")) or key not in attributes, (tag, value)
            assert not value.startswith("#") or value[1:] in ids
        if tag in ("img", "svg"):
            assert len(attributes.get("alt") or attributes.get("aria-label") or "") > 20
        if tag == "th":
            assert attributes.get("scope") in ("col", "row", "rowgroup")
    assert "url(http" not in html and "@import" not in html
    assert names.count("table") == names.count("caption")
    document = PdfReader(BytesIO(pdf))
    assert document.metadata.title == page.texts.TITLE
    assert document.metadata.creation_date is None
    assert seconds < 60


def test_the_pdf_is_accessible(tmp_path: Path) -> None:
    """Typst checks PDF/UA-1: a title, a language, alternative text for each image, headings in order."""
    make_record(tmp_path, "1.2.1", "mnist", "plain", n=100, reconstructions=3, epochs=3)
    assert build_pdf(*page.make_page(*load_results(tmp_path)), standard="ua-1").startswith(b"%PDF")


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
    make_record(tmp_path / "harmless", "1.2.1", n=60, epochs=2, fields={"epochs": 2}, reconstructions=2)
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
    record = read_record(make_record(tmp_path, n=60, epochs=2, classes=["$x_1$", "<b>&\"", "c"]))
    drawing = figures.confusion(record)
    inline = figures.inline_svg(drawing.data, "one-", 'label "<script>')
    assert "$x_1$" in inline and "&lt;b&gt;&amp;" in inline
    assert 'aria-label="label &quot;&lt;script&gt;"' in inline
    assert figures.INK not in inline and "currentColor" in inline
    assert set(re.findall(r'(?:href="|url\()#(one-)?', inline)) <= {"one-"}


def test_figures_say_in_numbers_what_they_show(tmp_path: Path) -> None:
    path = make_record(tmp_path, "1.2.2", "mnist", "joint", n=100, epochs=4)
    edit(edit(path, "history", 0, "val_loss", value=0.4123), "history", 3, "val_loss", value=0.12)
    raw, record = json.loads(path.read_text()), read_record(path)
    assert "Validation loss falls from 0.4123 to 0.1200 over 4 epochs" in figures.curves(record).alt
    counts = np.array(raw["confusion"]["counts"])
    assert f"Of 100 test images {np.trace(counts)} lie on the diagonal" in figures.confusion(record).alt
    off = counts - np.diag(np.diag(counts))
    assert f"{off.max()} image" in figures.confusion(record).alt


def test_nearest_neighbours_on_the_map() -> None:
    points = np.random.default_rng(0).normal(size=(90, 2))
    labels = np.arange(90) % 3
    expected = 0
    for i in range(90):
        distances = [math.dist(points[i], points[j]) if j != i else math.inf for j in range(90)]
        expected += labels[distances.index(min(distances))] == labels[i]
    assert figures.same_class_neighbours(points, labels, chunk=7) == expected / 90


@pytest.mark.parametrize("classes", [2, 25, 60])
def test_any_number_of_classes_can_be_drawn(tmp_path: Path, classes: int) -> None:
    make_record(tmp_path, "1.2.2", "folder-plants", "joint", n=300, epochs=1,
                classes=[f"a plant with a long name {i}" for i in range(classes)])
    html, _ = render(tmp_path)
    assert ("Confusion matrix of" in html) == (classes <= 30)
    assert ("cannot be read and are left out" in " ".join(html.split())) == (classes > 30)
    assert "t-SNE map" in html


def test_repeats_count_once_and_the_newest_counts(tmp_path: Path) -> None:
    for month, accuracy in ((3, 0.7), (9, 0.8), (6, 0.9)):
        make_record(tmp_path, n=100, accuracy=accuracy, started=f"2025-0{month}-01T00:00:00Z", name=f"month{month}")
    results = tables.summarise(load_results(tmp_path)[0])
    assert [(row.accuracy, row.deviation) for row in results.rows] == [(0.8, None)]
    assert [(run.name, newer) for run, newer in results.repeats] == [("month3.json", "month9.json"),
                                                                    ("month6.json", "month9.json")]


def test_warnings_name_dirty_trees_and_differing_data(tmp_path: Path) -> None:
    edit(make_record(tmp_path, seed=0, n=50), "environment", "dirty", value=True)
    make_record(tmp_path, seed=1, n=50, device="cuda")
    edit(make_record(tmp_path, seed=2, n=50), "data", "sha256", "test_images", value="f" * 64)
    results = tables.summarise(load_results(tmp_path)[0])
    assert [len(row.runs) for row in results.rows] == [2, 1]  # other images are no further seed
    told = " ".join(tables.warnings_of(results))
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
    assert html.read_text().count("python _main.py --task") == 7
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
           "import report.build\nassert 'torch' not in sys.modules and 'matplotlib.pyplot' not in sys.modules"
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
    assert page.markdown_text("a|b <i> `c` [d](e)") == "a\\|b &lt;i&gt; \\`c\\` \\[d\\](e)"


def test_formats() -> None:
    assert [show.percent(value) for value in (0.75314, 1.0, 0.0, None)] == ["75.31", "100.00", "0.00", "–"]
    assert [show.points(value) for value in (0.0123, -0.0123, 0.00001, -0.00001)] == ["+1.23", "−1.23", "0.00", "0.00"]
    assert [show.duration(value) for value in (6.44, 59.96, 754.2, 3599.9, 7320)] == [
        "6.4 s", "1 min 00 s", "12 min 34 s", "1 h 00 min", "2 h 02 min"]
    assert [show.flops(value) for value in (12, 4.5e12, 3.21e15)] == ["12 FLOP", "4.50 TFLOP", "3.21 PFLOP"]
    assert [show.significant(value) for value in (0.05, -1.5, 12345.6)] == ["0.05000", "−1.500", "1.235e+04"]
    assert show.shorten("short", 5) == "short" and show.shorten("flower number 17", 12) == "flower n…17"
    assert show.listing(["a"]) == "a" and show.listing(["a", "b", "c"]) == "a, b and c"


@pytest.mark.parametrize("width", [390, 1280])
def test_a_browser_shows_the_page_without_sideways_scrolling(report: tuple, tmp_path: Path, width: int) -> None:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no chromium on this machine")
    (tmp_path / "report.html").write_text(report[0])
    (tmp_path / "frame.html").write_text(
        f'<iframe id="f" src="report.html" style="width:{width}px;height:900px;border:0"></iframe><p id="out"></p>'
        "<script>f.onload = () => { const d = f.contentDocument.documentElement;"
        "out.textContent = `widths ${d.scrollWidth} ${d.clientWidth} svg ${d.querySelectorAll('svg').length}`; }"
        "</script>")
    command = [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
               "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
               "--allow-file-access-from-files", f"--user-data-dir={tmp_path / 'profile'}",
               "--virtual-time-budget=5000", "--dump-dom", (tmp_path / "frame.html").as_uri()]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=60).stdout
    found = re.search(r"widths (\d+) (\d+) svg (\d+)", dom)
    assert found, dom[-500:]
    assert int(found[1]) <= int(found[2]) == width
    assert int(found[3]) == report[0].count("<svg")
