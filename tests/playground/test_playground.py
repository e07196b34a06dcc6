"""The playground: Python's numbers in the browser, drawing and keyboard, sizes of the window, and the command."""

import dataclasses
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import _report_evaluation
from evaluation.rescore import load_classifier
from models.decoders import build_decoder
from models.encoders import build_encoder
from models.saved import fill, load_encoder, load_saved
from playground import build, export
from report.load import load_results
from tests.browser import Tab
from tests.factory import HONEST
from tests.report.pages import Reader
from utils.command_line import exit_code
from utils.errors import RunError
from utils.images.datasets import Dataset, load_dataset
from utils.records.schema import HEADLINE

CLOSE = 1e-3


def floats(images: np.ndarray) -> torch.Tensor:
    """(N, H, W, C) uint8 -> (N, C, H, W) in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(images)).movedim(3, 1) / 255


@pytest.fixture(scope="module")
def data() -> Dataset:
    return load_dataset("digits", Path("data"))


@pytest.fixture(scope="module")
def page(honest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of three short runs on the digits, made by the command."""
    path = tmp_path_factory.mktemp("playground") / "playground.html"
    _report_evaluation.main(["--results-dir", str(honest), "--playground", str(path)])
    return path


@pytest.fixture(scope="module")
def tab(page: Path) -> Iterator[Tab]:
    """The page in a window of 1200 pixels, ready.  Tests leave it with another current image."""
    with Tab(page.parent / "profile") as tab:
        tab.open(page)
        tab.run("playground")
        yield tab


@pytest.fixture(scope="module")
def other_tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    """For the tests that open a page of their own."""
    with Tab(tmp_path_factory.mktemp("other")) as tab:
        yield tab


def troubles(tab: Tab) -> list[Any]:
    """Errors, and requests beyond the file."""
    sent = [event["params"]["request"]["url"] for event in tab.events if event["method"] == "Network.requestWillBeSent"]
    return [event["params"] for event in tab.events
            if event["method"] in ("Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled")] + sent[1:]


def draw(tab: Tab, strokes: list[list[tuple[float, float]]]) -> None:
    """Draw with the mouse.  Points are fractions of the drawing area."""
    left, top, side = tab.run("scrollTo(0, 0), [(b = $('pad').getBoundingClientRect()).left, b.top, b.width]")
    for points in strokes:
        places = [(left + side * x, top + side * y) for x, y in points]
        tab.mouse("mousePressed", *places[0])
        for place in places:
            tab.mouse("mouseMoved", *place)
        tab.mouse("mouseReleased", *places[-1])


def test_the_browser_gives_pythons_latents_and_classes(tab: Tab, honest: Path, data: Dataset) -> None:
    images = np.concatenate([data.test_images[:120], data.train_images[:60]])
    noise = np.random.default_rng(0).integers(0, 256, (20, *images.shape[1:]), np.uint8)
    for i, name in enumerate(HONEST.values()):
        saved = load_saved(honest / f"{name}.json")
        x = floats(np.concatenate([images, noise]))
        with torch.no_grad():
            z = saved.encoder(x)
            expected = load_classifier(saved).eval()(z).argmax(1)
        pixels = json.dumps((255 * x).flatten(1).round().int().tolist())
        answers = tab.run(f"{pixels}.map((x) => answer(models[{i}], Float32Array.from(x, (value) => value / 255)))"
                          ".map(({z, label}) => [[...z].map((value) => Math.round(1e5 * value)), label])")
        assert np.abs(np.array([z for z, _ in answers]) / 1e5 - z.numpy()).max() < CLOSE
        assert [label for _, label in answers] == expected.tolist() and len(answers) == 200


def test_the_browser_decodes_as_python_does(tab: Tab, honest: Path, data: Dataset) -> None:
    decoder = build_decoder("mlp", (1, 8, 8), (256, 256), 128)
    fill(honest / f"{HONEST['1.2.1']}.safetensors", "decoder", decoder)
    with torch.no_grad():
        z = load_encoder(honest / f"{HONEST['1.2.1']}.json")(floats(data.test_images[:20]))
        expected = decoder(z).flatten(1).numpy()
    found = tab.run(f"{json.dumps(z.tolist())}.map((z) => [...run(decoding.decoder, Float32Array.from(z))])")
    assert np.abs(np.array(found) - expected).max() < CLOSE


def randomised(module: nn.Module) -> nn.Module:
    """Random norms and statistics; weights as they are initialised."""
    generator = torch.Generator().manual_seed(0)
    for name, value in module.state_dict().items():
        if value.is_floating_point() and (value.ndim < 2 or "whitening" in name or "components" in name):
            noise = torch.randn(value.shape, generator=generator) * 0.2
            value.copy_(noise.abs() + 0.5 if name.endswith(("var", "norm.weight")) else noise)
    return module.eval()


def test_every_kind_of_layer_computes_what_torch_does(other_tab: Tab, tmp_path: Path) -> None:
    shape, store = (1, 28, 28), export.Store()
    extremes = np.arange(65536, dtype=np.uint16).view(np.float16)
    extremes = extremes[np.isfinite(extremes)]
    kept = store.put(extremes)
    x, z = torch.rand(3, *shape, generator=torch.Generator().manual_seed(1)), torch.linspace(-2, 2, 128)[None]
    cases = []
    for kind, pooling in (("conv", "max"), ("conv", "mean"), ("conv", "flatten"), ("conv_depths", "max"),
                          ("mlp", "flatten")):
        encoder = randomised(build_encoder(kind, shape, (8, 12, 16), 128, pooling))
        cases.append((export.encoder_layers(encoder, store), x.flatten(1), [28, 28, 1], encoder(x)))
    decoder = randomised(build_decoder("conv", shape, (16, 12, 8), 128))
    cases.append((export.decoder_layers(decoder, store), z, [1, 1, 128], decoder(z).flatten(1)))
    text, packed = store.text()
    code = (build.FOLDER / "network.js").read_text()
    (tmp_path / "page.html").write_text(f'\ufeff<title>x</title><script type="text/plain" id="data">{text}</script>'
                                        f"<script>{code}</script>", encoding="utf-16-le", newline="")
    other_tab.open(tmp_path / "page.html")
    facts = json.dumps({"packed": packed, "sizes": store.sizes})
    other_tab.run(f"unpack(document.getElementById('data').textContent, {facts}).then((get) => globalThis.get = get)")
    assert np.array_equal(other_tab.run(f"[...get({json.dumps(kept)})]"), extremes)  # every character occurs
    for layers, inputs, size, expected in cases:
        found = other_tab.run(f"{json.dumps(inputs.tolist())}.map((x) => "
                              f"[...run(filled({json.dumps(layers)}, get), Float32Array.from(x), {size})])")
        assert np.abs(np.array(found) - expected.detach().numpy()).max() < 1e-5 * max(1, expected.abs().max())


def test_a_drawing_is_scaled_centred_and_classified(tab: Tab) -> None:
    seven = [[(0.1, 0.1), (0.3, 0.1), (0.2, 0.4)]]
    large = [[(0.2 + 2.5 * (x - 0.1), 0.1 + 2.5 * (y - 0.1)) for x, y in seven[0]]]
    images = []
    for strokes in (seven, large):
        tab.run("$('clear').click()")
        draw(tab, strokes)
        image = np.array(tab.run("[...current.image]")).reshape(8, 8)
        assert 0.95 < image.max() <= 1.01
        rows, columns = (np.flatnonzero(image.max(axis) > 0.05) for axis in (1, 0))
        assert (rows[0], rows[-1]) == (0, 7)  # the box is as high as the image
        assert abs((image.sum(0) @ np.arange(8)) / image.sum() - 3.5) < 0.2 and columns[-1] - columns[0] < 7
        images.append(image)
    assert np.abs(images[0] - images[1]).max() < 0.15  # wherever it is drawn and however large
    said = tab.run("$('said').textContent")
    assert said.startswith("Drawing. 1.2.1 autoencoding: ") and said.count("\xa0%.") == 3
    assert tab.run("all('.bars').map((bars) => all('b', bars).reduce((sum, b) => sum + Number(b.textContent), 0))"
                   ".every((sum) => Math.abs(sum - 100) <= 5)")
    assert tab.run("all('.near button.right, .near button.wrong').length") == 0  # until its class is given
    tab.run("$('truth').value = '7', $('truth').onchange()")
    assert tab.run("all('.near button').every((b) => b.className === (facts.train.labels[b.value] === 7 ? 'right'"
                   " : 'wrong'))")
    assert troubles(tab) == []


def test_neighbours_are_those_of_largest_cosine(tab: Tab, honest: Path, data: Dataset) -> None:
    tab.run("visit('test', 11)")
    image = data.test_images[tab.run("facts.test.numbers[11]")][None]
    bank = data.train_images[data.train_index]
    for i, name in enumerate(["", *HONEST.values()]):
        encode = load_encoder(honest / f"{name}.json") if name else nn.Flatten()
        with torch.no_grad():
            cosine = nn.functional.cosine_similarity(encode(floats(bank)), encode(floats(image)))
        found = tab.run(f"all('button', all('#rows > div')[{i}]).map((b) => Number(b.value))")
        assert len(found) == 10
        assert (cosine[found] > cosine.topk(10).values[-1] - 0.01).all()  # latents are kept in 8 bits
        assert cosine[found[0]] > cosine.max() - 0.01
    before = tab.run("current.index")
    tab.run("all('#rows button')[15].click()")  # walk, and back
    assert tab.run("current.set") == "train"
    assert not tab.run("all('#rows button').some((b) => Number(b.value) === current.index)")  # it is not its neighbour
    tab.run("$('back').click()")
    assert tab.run("[current.set, current.index]") == ["test", before]


def test_moves_are_in_units_of_the_distance_between_classes(tab: Tab, honest: Path, data: Dataset) -> None:
    tab.run("visit('test', 3)")
    assert tab.run("all('.moves b').map((b) => b.textContent)") == ["0.00"] * 4
    labels = data.train_labels[data.train_index]
    ends = [np.array(tab.run("[...current.image]")),
            np.array(tab.run("[...changed(current.image, 20, 1, -1, 0.5, 0.1)]"))]
    assert ends[1].min() >= 0 and ends[1].max() <= 1
    for key, value in (("turn", 20), ("right", 1), ("down", -1), ("blur", 0.5), ("noise", 0.1)):
        tab.run(f"$('{key}').value = {value}")
    tab.run("change()")
    for i, name in enumerate(["", *HONEST.values()]):
        encode = load_encoder(honest / f"{name}.json") if name else nn.Flatten()
        with torch.no_grad():
            z = encode(floats(data.train_images[data.train_index])).numpy()
            a, b = encode(torch.tensor(np.stack(ends), dtype=torch.float32).reshape(2, 1, 8, 8)).numpy()
        means = [z[labels == label].mean(0) for label in range(10)]
        unit = np.mean([np.linalg.norm(p - q) for k, p in enumerate(means) for q in means[:k]])
        shown = float(tab.run(f"all('.moves b')[{i}].textContent"))
        assert shown == pytest.approx(np.linalg.norm(a - b) / unit, abs=0.006)
    tab.run("$('reset').click()")
    assert tab.run("all('.moves b').map((b) => b.textContent)") == ["0.00"] * 4


def test_a_changed_image_moves_as_it_says(tab: Tab) -> None:
    dot = "Float32Array.from({length: 64}, (_, i) => Number(i === 20))"  # row 2, column 4
    found = {key: np.array(tab.run(f"[...changed({dot}, {key})]")).reshape(8, 8)
             for key in ("90, 0, 0, 0, 0", "0, 2, 1, 0, 0", "0, 0, 0, 1, 0")}
    assert np.argwhere(found["90, 0, 0, 0, 0"] > 0.99).tolist() == [[4, 5]]  # clockwise about (3.5, 3.5)
    assert np.argwhere(found["0, 2, 1, 0, 0"] > 0.99).tolist() == [[3, 6]]
    assert found["0, 0, 0, 1, 0"][2, 4] == pytest.approx(1 / (2 * np.pi), rel=0.02)
    noise = np.array(tab.run("[...changed(new Float32Array(64).fill(0.5), 0, 0, 0, 0, 0.1)]"))
    assert abs(noise.mean() - 0.5) < 0.04 and 0.07 < noise.std() < 0.13


def test_a_morph_ends_in_its_two_images(tab: Tab) -> None:
    tab.run("visit('test', 3), $('set-0').click(), visit('test', 7), $('set-1').click()")
    grey = "(canvas) => [...canvas.getContext('2d').getImageData(0, 0, 8, 8).data].filter((_, i) => i % 4 === 0)"
    for step, which, share in ((0, 3, 0), (100, 7, 1), (50, 0, 0.5)):
        tab.run(f"$('step').value = {step}, morph()")
        latent, pixel = (np.array(tab.run(f"({grey})($('morph-{side}'))")) for side in (0, 1))
        a, b = (np.array(tab.run(f"[...imageOf('test', {i})]")) for i in (3, 7))
        assert np.abs(pixel - 255 * ((1 - share) * a + share * b)).max() <= 1
        if share != 0.5:
            decoded = tab.run(f"[...run(decoding.decoder, answer(decoding, imageOf('test', {which})).z)]")
            assert np.abs(latent - 255 * np.array(decoded)).max() <= 1
    assert tab.run("all('.votes li').length") == 6
    shares = tab.run("decoding.axes.shares")
    assert shares == sorted(shares, reverse=True) and 0.2 < sum(shares) <= 1
    tab.run("$('path').value = '0', morph()")  # its middle is the start itself
    decoded = tab.run("[...run(decoding.decoder, answer(decoding, ends[0].image).z)]")
    assert np.abs(np.array(tab.run(f"({grey})($('morph-0'))")) - 255 * np.array(decoded)).max() <= 1


def test_the_keyboard_picks_steps_and_slides(tab: Tab) -> None:
    reached = []
    tab.run("document.activeElement.blur(), $('truth').disabled")
    for _ in range(200):
        tab.key("Tab")
        where = tab.run("document.activeElement.id || document.activeElement.tagName")
        if where == "BODY":
            break
        reached.append(where)
        if where in ("step", "turn"):
            before = tab.run("document.activeElement.value")
            tab.key("ArrowRight")
            assert tab.run("document.activeElement.value") != before
            tab.run("new Promise(requestAnimationFrame)")
            assert tab.run("$(document.activeElement.id + '-value').textContent === document.activeElement.value")
        if where == "number":
            before = tab.run("current.index")
            tab.key("ArrowUp")
            tab.key("Enter")
            assert tab.run("[current.set, $('number').value]") == ["test", str(before + 2)]
    assert {"undo", "clear", "number", "random", "mistaken", "path", "step", "turn", "noise", "reset"} <= set(reached)
    assert float(tab.run("all('.moves b')[0].textContent")) > 0
    tab.run("$('reset').click()")


def test_everything_has_a_name_for_screen_readers(tab: Tab) -> None:
    nodes = tab.send("Accessibility.getFullAXTree")["nodes"]
    roles = ("button", "slider", "combobox", "spinbutton", "image", "img", "list", "region")
    named = [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes
             if not node["ignored"] and node["role"]["value"] in roles]
    assert len(named) > 60
    assert [role for role, name in named if not name and role != "list"] == []


def test_it_fits_a_phone_in_light_and_dark(other_tab: Tab, page: Path) -> None:
    other_tab.open(page, (390, 844))
    other_tab.run("playground")
    for theme, background in (("light", "rgb(255, 255, 255)"), ("dark", "rgb(20, 23, 26)")):
        other_tab.theme(theme)
        assert other_tab.run("document.documentElement.scrollWidth") == 390
        assert other_tab.run("getComputedStyle(document.body).backgroundColor") == background
        small = other_tab.run("all('main button').filter((b) => b.getBoundingClientRect().height < 40).length")
        assert small == 0 and troubles(other_tab) == []


def test_without_an_autoencoder_the_rest_of_the_page_works(other_tab: Tab, honest: Path, data: Dataset,
                                                           tmp_path: Path) -> None:
    runs = [run for run in load_results(honest)[0] if run.record.run.task != "1.2.1"]
    (tmp_path / "page.html").write_bytes(build.build_page(runs, honest, data))
    other_tab.open(tmp_path / "page.html")
    other_tab.run("playground")
    assert other_tab.run("all('h2').map((title) => title.id)") == ["draw-title", "alike-title", "change-title", ""]
    other_tab.run("$('mistaken').click()")
    label = other_tab.run("current.truth")
    assert label in range(10) and other_tab.run("models.some((model) => model.answer.label !== current.truth)")
    assert troubles(other_tab) == []


def test_it_names_models_and_says_what_it_is_without_scripts(page: Path, honest: Path) -> None:
    text = page.read_text(encoding="utf-16")
    outline = Reader(re.sub(r"(?s)(<script[^>]*>).*?(</script>)", r"\1\2", text))
    words = " ".join("".join(outline.text).split())
    assert "This page needs JavaScript: the drawing is encoded" in words and "<main id=\"main\" hidden>" in text
    for name in HONEST.values():
        record = json.loads((honest / f"{name}.json").read_text())
        metric = record["metrics"][HEADLINE]
        for shown in (f"{name}.json", record["environment"]["commit"][:12],
                      f"{100 * metric['value']:.2f} % ({metric['correct']} of {metric['n']})"):
            assert shown in words, shown
    assert not re.search(r"(?:src|href)=|https?://", re.sub(r'(?s)<script type="text/plain".*?</script>', "", text))


def test_the_data_set_with_most_weights_is_chosen(honest: Path, tmp_path: Path,
                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    runs = load_results(honest)[0]
    named = {name: [dataclasses.replace(run, name=name + run.name) for run in runs] for name in ("mnist", "digits")}
    monkeypatch.setattr(build, "best", lambda loaded, folder, dataset, task: next(
        (run for run in loaded if run.name.startswith(dataset) and run.record.run.task == task), None))
    everything = named["digits"] + named["mnist"]
    assert build.choose(everything, tmp_path, build.PLAYED) == named["mnist"]
    assert build.choose(everything[:-1], tmp_path, build.PLAYED) == named["digits"]
    assert build.choose(everything, tmp_path, ("digits",)) == named["digits"]
    assert build.choose(named["digits"][:1], tmp_path, build.PLAYED) == named["digits"][:1]
    with pytest.raises(RunError, match=r"no weights \(\.safetensors\)"):
        build.choose([], tmp_path, build.PLAYED)


@pytest.mark.parametrize(("argv", "code", "reason"), [
    (["--playground", "p.html", "--html", "a.html"], 2, "--playground only writes that page"),
    (["--playground", "results/run.json"], 2, "the name must end in .html"),
    (["--dataset", "digits"], 2, "--dataset belongs to --playground"),
    (["--playground", "p.html"], 1, "no weights (.safetensors) next to a complete record of mnist or digits"),
    (["--playground", "p.html", "--dataset", "digits"], 1, "next to a complete record of digits"),
])
def test_an_error_is_one_line_with_its_exit_code(honest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                 capsys: pytest.CaptureFixture[str], argv: list[str], code: int,
                                                 reason: str) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(honest, tmp_path / "results", ignore=shutil.ignore_patterns("*.safetensors"))
    assert exit_code(lambda: _report_evaluation.main(argv), "") == code
    err = capsys.readouterr().err
    assert reason in err and err.count("\n") == 1
    assert not (tmp_path / "p.html").exists()
