"""Fill the two templates from one page dictionary, and rewrite the README's table.

The HTML is one file that asks no network for anything, and whose scripts only sort tables and move the explorer; the
PDF is set by Typst with the fonts in its package and matplotlib's DejaVu Sans, never those of the machine.  The same
records give the same bytes.
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
from report.charts import Drawing, inline_svg
from report.explorer import explorer, head
from report.load import Loaded, load_results
from report.page_content import explorable, make_page, readme_table
from report.summary import summarise
from report.theory import theory_sections
from report.verification import Verdict
from utils.errors import RunError
from utils.files import write_atomically

TEMPLATES = Path(__file__).parent / "templates"
NONE = Markup("")
SVG_IMAGE = re.compile("<image [^>]*>")
BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"


def build_html(page: dict[str, Any], drawings: dict[str, Drawing], explore: Markup = NONE) -> bytes:
    """The page as one HTML file with its figures inside.  explore: what report.explorer makes of the runs."""
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True,
                                     undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    images = share_images({file: embed(file, drawing) for file, drawing in drawings.items()})
    formulas = equations.render([*page["methods"], *(one for part in page["theory"] for one in part["equations"])])
    return environment.get_template("report.html.j2").render(
        page=page, images=images, formulas=formulas, head=head() if explore else NONE, explore=explore).encode()


def embed(file: str, drawing: Drawing) -> Markup:
    """A drawing as an element of the page.  What it holds of a record's text is escaped."""
    if drawing.suffix == "svg":
        return Markup(inline_svg(drawing.data, file.removesuffix("svg").replace(".", "-"), drawing.alt))
    data = base64.b64encode(drawing.data).decode()
    return Markup('<img src="data:image/png;base64,{}" alt="{}">').format(data, drawing.alt)


def share_images(elements: dict[str, Markup]) -> dict[str, Markup]:
    """What stands in several drawings, as the maps of the pixels do, is embedded in the first of them alone."""
    counts = Counter(image for element in elements.values() for image in SVG_IMAGE.findall(element))
    names = {image: f"image-{i}" for i, image in enumerate(image for image, n in counts.items() if n > 1)}
    kept: set[str] = set()

    def shared(match: re.Match) -> str:
        image = match.group()
        if image not in names:
            return image
        if image in kept:
            return f'<use href="#{names[image]}" />'
        kept.add(image)
        return image.replace("<image ", f'<image id="{names[image]}" ', 1)

    return {file: Markup(SVG_IMAGE.sub(shared, element)) for file, element in elements.items()}


def build_pdf(page: dict[str, Any], drawings: dict[str, Drawing], standard: str | None = None) -> bytes:
    """The page as a PDF.  Text of records reaches Typst through page.json alone, so none of it is read as markup.

    standard: a PDF standard to check against, such as "ua-1" (accessibility).  RunError where Typst refuses.
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
                                 ignore_system_fonts=True, pdf_standards=[standard] if standard else [])
        except typst.TypstError as error:
            raise RunError(f"the PDF could not be set: {' '.join(str(error).split())}") from None


def write_report(results_dir: Path, html: Path, pdf: Path,
                 verify: Callable[[list[Loaded]], list[tuple[Loaded, Verdict]]] | None = None,
                 ) -> tuple[int, list[tuple[str, str]]]:
    """Read the records and write both files.  Returns how many were believed, and the rejected as (name, reason).

    verify: scores the checkpoints again (grading/verify.py); None: nobody asked for that.
    Raises RunError where a folder is missing or a file cannot be written.
    """
    loaded, rejected = load_results(results_dir)
    verdicts = verify(loaded) if verify else None
    page, drawings = make_page(loaded, rejected, theory_sections(results_dir, loaded), verdicts)
    explore = explorer(explorable(summarise(loaded)))
    # both, before either is written
    page_bytes, pdf_bytes = build_html(page, drawings, explore), build_pdf(page, drawings)
    write_file(html, page_bytes)
    write_file(pdf, pdf_bytes)
    return len(loaded), [(item.name, item.reason) for item in rejected]


def write_file(path: Path, data: bytes) -> None:
    """Write atomically.  RunError in one line where that fails."""
    if path.exists() and not path.is_file() and not path.is_dir():
        raise RunError(f"{path}: cannot be written: it is no regular file")
    try:
        write_atomically(path.resolve(), lambda file: file.write(data))  # through a link, not over it
    except OSError as error:
        raise RunError(f"{path}: cannot be written: {error.strerror}") from None


def write_readme(results_dir: Path, readme: Path) -> tuple[int, list[tuple[str, str]]]:
    """Replace what stands between BEGIN and END in a file with the headline table.  Returns as write_report does.

    Every other byte of the file stays as it was.  RunError where it cannot be read or has not one BEGIN before one END.
    """
    loaded, rejected = load_results(results_dir)
    try:
        before = readme.read_bytes()
    except OSError as error:
        raise RunError(f"{readme}: cannot be read: {error.strerror}") from None
    begin, end = before.find(BEGIN.encode()), before.find(END.encode())
    if before.count(BEGIN.encode()) != 1 or before.count(END.encode()) != 1 or begin > end:
        raise RunError(f"{readme}: needs one line {BEGIN} and below it one line {END}; the table goes between them")
    block = f"{BEGIN}\n{readme_table(loaded)}".encode()
    write_file(readme, before[:begin] + block + before[end:])
    return len(loaded), [(item.name, item.reason) for item in rejected]
