"""Records with every kind of run, and the report on them, rendered once for all processes."""

import json
import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from matplotlib.backends.backend_svg import FigureCanvasSVG

from report import render
from report.drawing import Drawing
from report.load import load_results
from report.page_content import make_page
from report.render import build_html, build_pdf
from report.summary import summarise
from tests.factory import edit, make_record
from tests.report.pages import READ, read_pdf
from utils.records.schema import HEADLINE, read_record


@contextmanager
def unknown_images() -> Iterator[None]:
    """Accept synthetic records, which carry the names of real data sets, but not their images."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("report.load.check_known", lambda record, name: None)
        yield


@pytest.fixture(scope="module", autouse=True)
def synthetic() -> Iterator[None]:
    """Whole modules of tests run on synthetic records."""
    with unknown_images():
        yield


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every figure is made, but a square is saved in its place: for tests that look at words and tables only."""
    square = b'<svg xmlns="http://www.w3.org/2000/svg" width="9pt" height="9pt"><path d="M 1 1 L 3 3"/></svg>'
    monkeypatch.setattr(FigureCanvasSVG, "print_svg", lambda self, file, **_: file.write(square))


@pytest.fixture(scope="session", autouse=True)
def equations_drawn_once() -> Iterator[None]:
    """Nearly all pages show the same equations."""
    drawn, draw = dict[str, dict](), render.draw_equations

    def draw_once(equations: Sequence[dict]) -> dict:
        key = json.dumps(equations)
        if key not in drawn:
            drawn[key] = draw(equations)
        return drawn[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(render, "draw_equations", draw_once)
        yield


@pytest.fixture(scope="session")
def folder(made_once: Callable[..., Path]) -> Path:
    """Seeds, methods, controls, variations, the toy set, and one file of each kind that must not be counted."""
    return made_once("results", write_records)


def write_records(path: Path) -> None:
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


@pytest.fixture(scope="session")
def rendered(folder: Path, made_once: Callable[..., Path]) -> Path:
    """A folder with the page on the whole folder that both files are filled from, and with both files."""
    def fill(made: Path) -> None:
        with unknown_images():
            loaded, rejected = load_results(folder)
        content = make_page(summarise(loaded), rejected)
        (made / "content.pickle").write_bytes(pickle.dumps(content))
        (made / "report.html").write_bytes(build_html(*content))
        (made / "report.pdf").write_bytes(build_pdf(*content, check=True))

    return made_once("rendered", fill)


@pytest.fixture(scope="session")
def content(rendered: Path) -> tuple[dict, dict[str, Drawing]]:
    """The page that both files are filled from, and its drawings."""
    return pickle.loads((rendered / "content.pickle").read_bytes())


@pytest.fixture(scope="session")
def html(rendered: Path) -> str:
    """The page on the whole folder."""
    return (rendered / "report.html").read_bytes().decode()


@pytest.fixture(scope="session")
def pdf(rendered: Path, made_once: Callable[..., Path]) -> bytes:
    """The PDF on the whole folder, which Typst has found to conform to PDF/UA-1.  One process reads its text."""
    data = (rendered / "report.pdf").read_bytes()
    read = made_once("read", lambda made: (made / "text.pickle").write_bytes(pickle.dumps(read_pdf(data))))
    READ[data] = pickle.loads((read / "text.pickle").read_bytes())
    return data
