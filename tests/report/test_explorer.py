"""The interactive explorer: its bytes, and what it does in a browser, compared with the arrays of the records."""

import base64
import dataclasses
import gzip
import json
import re
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from report import show
from report.drawing import ORANGE
from report.explorer import TEMPLATES, explorer, scripts
from report.load import Loaded
from report.pictures import MAPS
from tests.browser import browse
from tests.factory import make_record
from utils.files import sha256_file
from utils.records.arrays import read_arrays
from utils.records.schema import read_record

HOSTILE = ["<script>hacked=1</script>", "</script><img src=x onerror=hacked=1>", "@colour{safe} $x $$x^2$$ ${hacked=1}",
           "' \"onload=hacked=1 &lt;b&gt; \u2028\u202e\x00", "all classes", "-->]]>", "{{7*7}}", "url(https://x.invalid)"]


def load(path: Path) -> Loaded:
    """A record with its arrays, whatever images it names."""
    record = read_record(path)
    return Loaded(path.name, sha256_file(path), record, read_arrays(record, path.parent))


def without_thumbnails(run: Loaded) -> Loaded:
    """A run next to which there is no sheet of thumbnails."""
    return dataclasses.replace(run, arrays={key: one for key, one in run.arrays.items() if key != "map_images"})


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, Loaded]]:
    """Two runs of MNIST, the first without thumbnails; CIFAR-10; and a data set whose every name is an attack."""
    folder = tmp_path_factory.mktemp("explored")
    first = load(make_record(folder, "1.2.3", "mnist", "simclr", 0, accuracy=0.9, n=300))
    second = load(make_record(folder, "1.2.1", "mnist", "plain", 0, accuracy=0.8, n=300))
    third = load(make_record(folder, "1.2.2", "cifar10", "joint", 0, accuracy=0.9, n=200))
    bad = load(make_record(folder, "1.2.3", f"folder-{HOSTILE[1]}", HOSTILE[0], 0, n=90, classes=HOSTILE, name="bad"))
    return [("simclr, seed 0", without_thumbnails(first)), ("plain, seed 0", second), ("joint, seed 0", third),
            (HOSTILE[1], bad)]


class Outline(HTMLParser):
    """The elements of a page, and whether each is closed in its turn."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag != "input":  # which has no end
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_same_runs_give_the_same_bytes(runs: list) -> None:
    assert explorer(runs) == explorer(runs) and scripts() == scripts()


def test_without_a_map_there_is_no_explorer(runs: list) -> None:
    assert explorer([]) == ""
    title, run = runs[0]
    single = run.arrays | {"map_index": run.arrays["map_index"][:1]}
    assert explorer([(title, dataclasses.replace(run, arrays=single))]) == ""


def test_each_data_set_has_one_section_without_addresses(runs: list) -> None:
    html = str(explorer(runs))
    outline = Outline(html)
    names = [attributes["id"] for tag, attributes in outline.tags if tag == "section"]
    assert names == ["explorer-1", "explorer-2", "explorer-3"]
    ids = [attributes["id"] for _, attributes in outline.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in outline.tags:
        assert not {"src", "href", "onload", "onerror"} & set(attributes)
    assert {tag for tag, _ in outline.tags} == {"style", "section", "h3", "p", "noscript", "div", "ul", "ol", "script",
                                              "label", "select", "option", "input", "button"}
    styled = re.sub(r"<(script|option).*?</\1>", "", html, flags=re.S)
    assert re.findall(r"url\((?!data:image/webp;base64,)", styled) == []


def test_runs_without_thumbnails_show_no_images(runs: list) -> None:
    html = str(explorer(runs[:1]))
    assert not json.loads(unpacked(html)[0])["images"]
    assert "--sheet" not in html and "url(" not in html and "--explorer-1" not in html


def unpacked(html: str) -> list[str]:
    """The JSON of each explorer, which the page holds as base64 of gzip."""
    packed = re.findall(r'<script type="text/plain" class="explorer-facts">([A-Za-z0-9+/=]*)</script>', html)
    return [gzip.decompress(base64.b64decode(one)).decode() for one in packed]


def test_text_of_a_record_is_escaped_or_inside_packed_json(runs: list) -> None:
    html = str(explorer(runs))
    assert len(unpacked(html)) == html.count("<script") == 3
    facts = json.loads(unpacked(html)[2])
    assert facts["classes"][0] == HOSTILE[0] and "\u202e" not in "".join(facts["classes"])
    options = [(value, unescape(text)) for value, text in re.findall(r'<option value="(.*?)">(.*?)</option>', html)]
    assert ("0", HOSTILE[0]) in options and ("0", HOSTILE[1]) in options  # a class and a run
    assert {value for value, _ in options} <= {*map(str, range(10)), *MAPS, "truth", "guess", "wrong", "all"}


def test_the_scripts_hold_bokeh_as_text_and_fetch_nothing() -> None:
    outline = Outline(re.sub(r"(?s)(<script[^>]*>).*?(</script>)", r"\1\2", str(scripts())))
    bokeh = {"type": "text/plain", "id": "bokeh-code"}  # not compiled before an explorer comes into view
    assert outline.tags == [("script", bokeh), ("script", {})]
    assert len(scripts()) < 500_000


def test_runs_with_other_test_images_get_an_explorer_of_their_own(runs: list) -> None:
    title, run = runs[0]
    other = dataclasses.replace(run, arrays=run.arrays | {"map_index": run.arrays["map_index"][::-1]})
    html = str(explorer([(title, run), (title, other)]))
    assert re.findall(r"<h3[^>]*>(.*?)</h3>", html) == ["MNIST", "MNIST: runs that show other test images"]


def test_twenty_runs_take_little_space(tmp_path: Path) -> None:
    grey = load(make_record(tmp_path, "1.2.3", "mnist", "simclr", 0, n=10_000))
    colour = load(make_record(tmp_path, "1.2.3", "cifar10", "simclr", 0, n=10_000))
    html = explorer([(f"seed {seed}", run) for seed in range(10) for run in (grey, colour)])
    sheets = sum(len(sheet) for sheet in re.findall(r"url\(([^)]*)\)", html))
    assert (len(html) - sheets) / 20 < 50_000  # bytes a run: two maps of its own, neighbours, predictions
    assert len(html) < 2_500_000


# Runs in the browser: each step writes what it finds into `found`, which the tests compare with the arrays
DRIVER = """
const found = {errors: [], steps: {}};
window.addEventListener("error", ({message}) => { // the loop is no error: the observer is called in the next frame
  if (!message.startsWith("ResizeObserver loop")) found.errors.push(message);
});
window.addEventListener("unhandledrejection", (event) => found.errors.push(String(event.reason)));
document.addEventListener("securitypolicyviolation", (event) => found.errors.push("blocked " + event.blockedURI));
for (const kind of ["error", "warn"]) console[kind] = (...words) => found.errors.push(words.join(" "));
const wait = (ms = 50) => new Promise((done) => setTimeout(done, ms));
// every element that matches, within shadow roots, too
function* deep(root, selector) {
  for (const element of root.querySelectorAll("*")) {
    if (element.matches(selector)) yield element;
    if (element.shadowRoot) yield* deep(element.shadowRoot, selector);
  }
}
function seen(id) {
  const {models, controls, section} = explorer.all[id], near = [...section.querySelectorAll(".explorer-near li")];
  return {number: Number(controls.number.value), said: section.querySelector(".explorer-said").textContent,
          near: near.filter((item) => !item.hidden).map((item) => item.firstChild.value - 1),
          names: near.filter((item) => !item.hidden).map((item) => item.textContent),
          image: section.querySelector(".explorer-image").style.backgroundPosition, rings: models.rings.data.x.length,
          x: [...models.drawn.data.x], y: [...models.drawn.data.y], colour: models.drawn.data.colour,
          alpha: models.drawn.data.alpha,
          legend: [...section.querySelectorAll(".explorer-legend li")].map((item) => item.textContent)};
}
// move the pointer to a point of the map
async function hover(id, i) {
  const {models, section} = explorer.all[id], [events] = deep(section, ".bk-events");
  const view = Bokeh.index.find_one(models.plot);
  const {left, bottom, width, height} = view.frame.bbox, {x_range, y_range} = models.plot, {x, y} = models.drawn.data;
  scrollTo(0, scrollY + events.getBoundingClientRect().top);
  const box = events.getBoundingClientRect();
  const clientX = box.left + left + width * (x[i] - x_range.start) / (x_range.end - x_range.start);
  const clientY = box.top + bottom - height * (y[i] - y_range.start) / (y_range.end - y_range.start);
  for (let k = 0; k < 40 && ![...deep(document, ".bk-tooltip-content")].some((one) => one.textContent); k++) {
    events.dispatchEvent(new PointerEvent("pointermove", {clientX, clientY, isPrimary: true, view: window}));
    await wait(100); // a frame can be late on a busy machine
  }
}
async function drive() {
  for (let i = 0; i < 200 && !document.documentElement.dataset.explorers; i++) { // virtual time outruns a busy machine
    await wait();
    await new Promise(requestAnimationFrame);
  }
  found.started = Object.keys(explorer.all); // those in view
  await Promise.all([...document.querySelectorAll(".explorer")].map(explorer.open));
  await wait(500);
  const {models, controls} = explorer.all["explorer-1"], steps = found.steps;
  const keep = async (name, id = "explorer-1") => { await wait(); steps[name] = seen(id); };
  const set = (name, value) => { // as a user does
    controls[name].value = value;
    controls[name].dispatchEvent(new Event("change"));
  };
  await keep("start");
  models.drawn.selected.indices = [7];
  await keep("tapped");
  set("number", 999);
  await keep("beyond");
  set("number", 33);
  await keep("entered");
  controls.next.click();
  await keep("next");
  controls.before.click();
  await keep("before");
  set("colour", "wrong");
  await keep("wrong");
  set("only", "3");
  await keep("only");
  set("map", "map_pca");
  await keep("pca");
  set("run", "1");
  await keep("second");
  await keep("bad", "explorer-3");
  await hover("explorer-3", 1); // whose class is an <img> with a script
  found.tooltips = [...deep(document, ".bk-tooltip-content")].map((element) => element.textContent);
  found.canvases = [...deep(document, "canvas")].length;
  found.injected = [typeof hacked, [...deep(document, "img, iframe, object")].length];
  found.fetched = performance.getEntriesByType("resource").map((entry) => entry.name.slice(0, 60))
    .filter((name) => !name.startsWith("data:"));
  found.widths = [...document.querySelectorAll(".explorer")].map((section) => section.scrollWidth);
}
document.addEventListener("DOMContentLoaded", async () => {
  await drive().catch((error) => found.errors.push(error.stack));
  document.getElementById("found").textContent = JSON.stringify(found);
});
"""
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


@pytest.fixture(scope="session")
def found(runs: list, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a browser that may fetch nothing finds."""
    folder = tmp_path_factory.mktemp("browser")
    (folder / "page.html").write_text(
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}"><script>{DRIVER}</script>'
        f'<style>{(TEMPLATES / "explorer.css").read_text()} .explorer {{margin-bottom: 3000px}}</style></head>'
        f'<body style="margin: 0; width: 350px">{explorer(runs)}<pre id="found"></pre>{scripts()}'
        "</body></html>", encoding="utf-8")
    dom = browse(folder / "page.html", budget=30_000)
    text = re.search(r'<pre id="found">(.+?)</pre>', dom, re.S)
    assert text, dom[-500:]
    return json.loads(text[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))


def test_a_browser_draws_without_errors_and_fetches_nothing(found: dict) -> None:
    assert found["errors"] == [] and found["fetched"] == []
    assert found["canvases"] >= 3 and len(found["steps"]) == 11
    assert found["started"] == ["explorer-1"]  # the others wait until they come into view
    assert max(found["widths"]) <= 350  # as wide as a phone: nothing overflows


def places(run: Loaded) -> tuple[np.ndarray, np.ndarray]:
    """True and predicted classes of the images on the map."""
    index = run.arrays["map_index"]
    return run.arrays["test_labels"][index], run.arrays["test_predictions"][index]


def assert_drawn(step: dict, points: np.ndarray) -> None:
    """The points drawn are those of the array, up to translation and one scale for both axes."""
    points, drawn = points.astype(np.float64), np.stack([step["x"], step["y"]], axis=1)
    scale = np.ptp(drawn, axis=0).max() / np.ptp(points, axis=0).max()
    assert np.abs((drawn - drawn.mean(0)) - scale * (points - points.mean(0))).max() < 2  # of 4095


def test_the_points_are_those_of_the_chosen_run_and_map(runs: list, found: dict) -> None:
    (_, first), (_, second), *_ = runs
    assert_drawn(found["steps"]["start"], first.arrays["map_points"])
    assert_drawn(found["steps"]["pca"], first.arrays["map_pca"])
    step = found["steps"]["second"]
    assert_drawn(step, second.arrays["map_pca"])  # the map stays the same kind
    assert step["near"] == second.arrays["map_neighbours"][step["number"] - 1].tolist()


def test_colours_show_classes_or_errors(runs: list, found: dict) -> None:
    truth, guess = places(runs[0][1])
    start, wrong, only = (found["steps"][name] for name in ("start", "wrong", "only"))
    assert len({(label, colour) for label, colour in zip(truth.tolist(), start["colour"], strict=True)}) == 10
    assert start["legend"] == [str(i) for i in range(10)] and len(wrong["legend"]) == 2
    assert [colour == ORANGE for colour in wrong["colour"]] == (truth != guess).tolist()
    assert [alpha > 0.1 for alpha in only["alpha"]] == (truth == 3).tolist()


def test_a_chosen_image_comes_with_its_neighbours(runs: list, found: dict) -> None:
    run = runs[0][1]
    truth, guess = places(run)
    step = found["steps"]["tapped"]
    assert step["number"] == 8 and step["near"] == run.arrays["map_neighbours"][7].tolist()
    assert step["rings"] == 1 + len(step["near"])
    assert step["names"] == [str(label) for label in truth[step["near"]]]
    assert f"True class: {truth[7]}. Predicted: {guess[7]}" in step["said"]
    assert f"number {run.arrays['map_index'][7]} of the test set" in step["said"]
    left, top = (float(word.rstrip("%")) for word in step["image"].split())
    assert (round(left / 100 * 39), top) == (7, 0)  # its tile on the sheet


def test_the_number_and_the_buttons_choose_images_without_a_mouse(runs: list, found: dict) -> None:
    truth, guess = places(runs[0][1])
    wrong = np.flatnonzero(truth != guess)
    assert found["steps"]["entered"]["said"].startswith("Image 33 of 300 ")
    beyond = found["steps"]["beyond"]
    assert beyond["said"].startswith("Image 300 of 300 ") and beyond["number"] == 300
    following = int(wrong[wrong > 32][0])
    assert found["steps"]["next"]["number"] == following + 1 and ", wrong." in found["steps"]["next"]["said"]
    assert found["steps"]["before"]["number"] == int(wrong[wrong < following][-1]) + 1


def test_hostile_names_are_shown_and_not_interpreted(runs: list, found: dict) -> None:
    assert found["injected"] == ["undefined", 0]
    assert found["steps"]["bad"]["legend"][:2] == HOSTILE[:2]
    truth, guess = places(runs[3][1])
    names = [" ".join(show.plain(name).split()) for name in HOSTILE]
    assert truth[1] == 1
    assert [" ".join(text.split()) for text in found["tooltips"]] == [f"{names[1]}predicted {names[guess[1]]}image 2"]
