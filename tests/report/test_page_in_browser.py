"""What the page's scripts and styles do in a real browser: links, copying, contents, themes, widths and paper."""

from base64 import b64decode
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
from pypdf import PdfReader

from tests.browser import Tab

# sizes on the screen of the letters in drawings that are laid out, in pixels
LETTERS = """[...document.querySelectorAll("main svg text")].filter((one) => one.getClientRects().length &&
    one.checkVisibility({contentVisibilityAuto: true})).map((one) => {
  const svg = one.ownerSVGElement;
  return parseFloat(getComputedStyle(one).fontSize) * svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;
})"""
SOON = "new Promise((done) => setTimeout(done, 300))"  # observers report after the next frame


@pytest.fixture(scope="module")
def tab(rendered: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with Tab(tmp_path_factory.mktemp("profile")) as tab:
        yield tab


@pytest.mark.parametrize("width", [390, 768, 1024, 1440])
def test_nothing_overflows_and_letters_can_be_read_at_every_width(tab: Tab, rendered: Path, width: int) -> None:
    tab.open(rendered / "report.html", (width, 900))
    assert tab.run("document.documentElement.scrollWidth") <= width
    letters = tab.run(LETTERS)
    assert len(letters) > 20 and min(letters) >= 9


def test_letters_and_paper_change_with_the_theme(tab: Tab, rendered: Path) -> None:
    tab.open(rendered / "report.html")
    colours = "[getComputedStyle(document.body).backgroundColor, " \
              "getComputedStyle(document.querySelector('main svg text')).fill]"
    light = tab.run(colours)
    tab.theme("dark")
    assert all(one != other for one, other in zip(light, tab.run(colours), strict=True))


def test_a_link_into_a_folded_part_opens_it(tab: Tab, rendered: Path) -> None:
    tab.open(rendered / "report.html")
    target = "document.querySelector('details.variations article')"
    assert not tab.run(f"{target}.checkVisibility()")
    tab.run(f"location.hash = {target}.id")
    tab.run(SOON)
    assert tab.run(f"{target}.checkVisibility() && Math.abs({target}.getBoundingClientRect().top) < 200")


def test_the_contents_mark_the_section_in_view(tab: Tab, rendered: Path) -> None:
    tab.open(rendered / "report.html", (1440, 900))
    for section in ("reading", "methods"):
        tab.run(f"document.getElementById('{section}').scrollIntoView()")
        tab.run(SOON)
        assert tab.run("document.querySelector('nav [aria-current]').hash") == f"#{section}"


def test_a_command_is_copied_as_it_is(tab: Tab, rendered: Path) -> None:
    tab.open(rendered / "report.html")
    tab.run("navigator.clipboard.writeText = async (text) => { window.copied = text; }")
    tab.run("document.querySelector('.command button').click()")
    tab.run(SOON)
    assert tab.run("document.querySelector('.command button').textContent") == "Copied"
    assert tab.run("copied === document.querySelector('.command code').textContent && copied.startsWith('python ')")


def test_a_print_has_the_results_and_not_every_run(tab: Tab, rendered: Path) -> None:
    tab.open(rendered / "report.html")
    pages = PdfReader(BytesIO(b64decode(tab.send("Page.printToPDF", printBackground=True)["data"]))).pages
    assert 2 < len(pages) <= 25
    assert "The whole report as a document is report.pdf" in " ".join(pages[0].extract_text().split())
