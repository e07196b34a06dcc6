"""Fill the two templates from one page dictionary, and rewrite the README's table.

The HTML is one file that fetches nothing, and whose scripts only sort tables and run the explorer.  The PDF is set by
Typst with the fonts in its package and matplotlib's DejaVu Sans, never those of the machine.  The same records give the
same bytes.
"""

import base64
import json
import re
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jinja2
import matplotlib
import typst
from markupsafe import Markup

from report import equations
from report.drawing import Drawing, inline_svg
from report.explorer import explorer, head
from report.load import Loaded, Rejected, load_results
from report.page_content import Chapter, explorable, make_page, readme_table
from report.summary import Results, summarise
from report.verification import Verdict
from utils.errors import RunError
from utils.files import write_atomically

TEMPLATES = Path(__file__).parent / "templates"
NONE = Markup("")
SVG_IMAGE = re.compile("<image [^>]*>")
BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"


def build_html(page: dict[str, Any], drawings: dict[str, Drawing], explore: Markup = NONE) -> bytes:
    """The page as one HTML file with its figures inside.  explore: the explorer of the runs (report.explorer)."""
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True,
                                     undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    images = share_images({file: embed(file, drawing) for file, drawing in drawings.items()})
    formulas = equations.render([*page["methods"], *(one for part in page["theory"] for one in part["equations"])])
    return environment.get_template("report.html.j2").render(
        page=page, images=images, formulas=formulas, head=head() if explore else NONE, explore=explore).encode()


def embed(file: str, drawing: Drawing) -> Markup:
    """A drawing as an element of the page.  A record's text in it is escaped."""
    if drawing.suffix == "svg":
        return Markup(inline_svg(drawing.data, file.removesuffix("svg").replace(".", "-"), drawing.alt))
    data = base64.b64encode(drawing.data).decode()
    return Markup('<img src="data:image/png;base64,{}" alt="{}">').format(data, drawing.alt)


def share_images(elements: dict[str, Markup]) -> dict[str, Markup]:
    """Embed an image that several drawings show, such as the maps of the pixels, only in the first of them."""
    counts = Counter(image for element in elements.values() for image in SVG_IMAGE.findall(element))
    names = {image: f"image-{i}" for i, image in enumerate(image for image, n in counts.items() if n > 1)}
    kept: set[str] = set()

    def shared(match: re.Match[str]) -> str:
        image = match.group()
        if image not in names:
            return image
        if image in kept:
            return f'<use href="#{names[image]}" />'
        kept.add(image)
        return image.replace("<image ", f'<image id="{names[image]}" ', 1)

    return {file: Markup(SVG_IMAGE.sub(shared, element)) for file, element in elements.items()}


def build_pdf(page: dict[str, Any], drawings: dict[str, Drawing], check: bool = False) -> bytes:
    """The page as a PDF.  Text of records reaches Typst only through page.json, so none of it is read as markup.

    check: whether it must conform to PDF/UA-1 (accessibility).  RunError where Typst refuses.
    """
    with tempfile.TemporaryDirectory(prefix="report-") as name:
        folder = Path(name)
        (folder / "page.json").write_text(json.dumps(page), encoding="utf-8")
        (folder / "report.typ").write_bytes((TEMPLATES / "report.typ").read_bytes())
        for file, drawing in drawings.items():
            (folder / file).write_bytes(drawing.data)
        fonts = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
        try:
            return typst.compile(str(folder / "report.typ"), root=name, font_paths=[str(fonts)],
                                 ignore_system_fonts=True, pdf_standards=["ua-1"] if check else [])
        except typst.TypstError as error:
            raise RunError(f"the PDF could not be set: {' '.join(str(error).split())}") from None


def write_report(results_dir: Path, html: Path, pdf: Path,
                 verify: Callable[[list[Loaded]], list[tuple[Loaded, Verdict]]] | None = None,
                 theory_chapter: Callable[[Path, list[Loaded], Results], Chapter] | None = None,
                 ) -> tuple[int, list[Rejected]]:
    """Read the records and write both files.  Returns the number of valid records, and the rejected files.

    verify: scores the checkpoints again (grading/verify.py); theory_chapter: makes the chapter on theory from the
    results folder, its records and their summary.  Raises RunError where a folder is missing or a file cannot be
    written.
    """
    loaded, rejected = load_results(results_dir)
    verdicts = verify(loaded) if verify else None
    results = summarise(loaded)
    theory = theory_chapter(results_dir, loaded, results) if theory_chapter else None
    page, drawings = make_page(results, rejected, theory, verdicts)
    # both, before either is written
    page_bytes, pdf_bytes = build_html(page, drawings, explorer(explorable(results))), build_pdf(page, drawings)
    write_file(html, page_bytes)
    write_file(pdf, pdf_bytes)
    return len(loaded), rejected


def write_file(path: Path, data: bytes) -> None:
    """Write atomically.  RunError in one line where that fails."""
    if path.exists() and not path.is_file() and not path.is_dir():
        raise RunError(f"{path}: cannot be written: it is not a regular file")
    try:
        write_atomically(path.resolve(), lambda file: file.write(data))  # through a link, not over it
    except OSError as error:
        raise RunError(f"{path}: cannot be written: {error.strerror}") from None


def write_readme(results_dir: Path, readme: Path) -> tuple[int, list[Rejected]]:
    """Replace the text between BEGIN and END in a file by the headline table.  Returns as write_report does.

    Every other byte of the file is kept.  RunError where it cannot be read or has not one BEGIN before one END.
    """
    loaded, rejected = load_results(results_dir)
    try:
        before = readme.read_bytes()
    except OSError as error:
        raise RunError(f"{readme}: cannot be read: {error.strerror}") from None
    begin, end = before.find(BEGIN.encode()), before.find(END.encode())
    if before.count(BEGIN.encode()) != 1 or before.count(END.encode()) != 1 or begin > end:
        raise RunError(f"{readme}: needs one line {BEGIN} and below it one line {END}; the table goes between them")
    block = f"{BEGIN}\n{readme_table(summarise(loaded))}".encode()
    write_file(readme, before[:begin] + block + before[end:])
    return len(loaded), rejected
