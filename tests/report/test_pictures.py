"""Maps, reconstructions, interpolations, neighbours and misclassified images."""

import base64
import inspect
import json
import re
from io import BytesIO
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from PIL import Image

from evaluation import figure_arrays
from report import charts, pictures
from report.drawing import Drawing
from report.load import load_results
from tests.factory import make_record
from tests.report.pages import (
    squeeze,
)


def test_words_in_pictures_follow_from_the_arrays(tmp_path: Path) -> None:
    path = make_record(tmp_path, "1.2.1", "mnist", "plain", n=100, epochs=2, reconstructions=9)
    (run,), _ = load_results(tmp_path)
    raw = json.loads(path.read_text())
    with np.load(path.with_suffix(".npz")) as file:
        arrays = dict(file)
    words = {name: squeeze("".join(ElementTree.fromstring(drawing.data).itertext())) for name, drawing in (
        ("reconstructions", pictures.reconstructions(run.arrays)),
        ("interpolations", pictures.interpolations(run.record, run.arrays)))}
    errors = arrays["reconstruction_error"]
    assert all(f"{error:.4f}" in words["reconstructions"] for error in errors)
    for name, part in (("best", errors[:3]), ("median", errors[3:6]), ("worst", errors[6:])):
        assert f"{name}:{part[0]:.4f}–{part[-1]:.4f}" in words["reconstructions"]
    for kind in ("within", "between"):
        value = raw["metrics"][f"test/interpolation_step_{kind}"]["value"]
        assert f"{value:.3f}" in words["interpolations"]
    labels = arrays["test_labels"][arrays["interpolation_index"]]
    assert all(f"{a}→{b}" in words["interpolations"] for a, b in labels)
    drawn = dict(pictures.maps(run.record, run.arrays))
    assert list(drawn) == ["map_points", "map_pca", "pixel_tsne", "pixel_pca"]
    for key, score in (("map_points", "tsne"), ("map_pca", "pca"), ("pixel_tsne", "pixel_tsne"),
                       ("pixel_pca", "pixel_pca")):
        value = 100 * raw["metrics"][f"test/{score}_agreement"]["value"]
        assert f"{value:.2f} % agreement" in drawn[key].caption and f"{value:.2f} %" in drawn[key].alt


def test_dots_are_drawn_at_their_coordinates(tmp_path: Path) -> None:
    """Two classes, far left and far right: the picture's colours must lie there too."""
    points = np.array([[-9, 0]] * 5 + [[9, 0]] * 5, np.float32)
    labels = np.array([0] * 5 + [1] * 5, np.uint16)
    svg = ElementTree.fromstring(pictures.map_svg(points.tobytes(), labels.tobytes(), ("left", "right")))
    (group,) = (element for element in svg if element.get("class") == "dots")
    paths = {element.get("id"): element.get("d") for element in group[0]}
    drawn = [(element.get("{http://www.w3.org/1999/xlink}href"), element.get("stroke")) for element in group[1:]]
    for label, x in ((0, 12), (1, 288)):
        steps = [[int(number) for number in step.split()] for step in paths[f"c{label}"][1:-2].split("h0m")]
        assert (np.cumsum(steps, axis=0) / pictures.FINE == [x, 150]).all() and len(steps) == 5
        assert (f"#c{label}", pictures.class_colour(label, 2)) in drawn


def test_names_on_a_map_do_not_cover_each_other_and_stay_near_their_dots() -> None:
    names = [f"name {i}" for i in range(12)]
    middles = np.array([[150.0, 150.0]] * 9 + [[20.0, 20.0], [290.0, 290.0], [150.0, 40.0]])
    placed = pictures.place_names(names, middles)
    for i, (name, x, y, size) in enumerate(placed):
        assert np.hypot(*(middles[names.index(name)] - (x, y))) <= pictures.FARTHEST
        for _, other_x, other_y, _ in placed[i + 1:]:
            assert abs(y - other_y) > 1.1 * size or abs(x - other_x) > 0.7 * size * 6
    assert 5 <= len(placed) < 12 and placed[-1][0] == "name 11"  # what lies alone keeps its name


def test_neighbours_are_compared_over_methods_with_their_counts(tmp_path: Path) -> None:
    for method in ("plain", "masked"):
        make_record(tmp_path, "1.2.1", "mnist", method, n=60)
    arrays = {run.record.run.method: run.arrays for run in load_results(tmp_path)[0]}
    for name in ("neighbour_inputs", "neighbour_index"):
        arrays["masked"][name] = arrays["plain"][name]
    drawn = pictures.neighbour_grid(list(arrays.items()))
    shown = 0
    for name, one in arrays.items():
        same = one["neighbour_labels"] == one["test_labels"][one["neighbour_index"]][:, None]
        assert f"{name} {same.sum()} of {same.size}" in drawn.alt
        shown += (~same[:3]).sum()
    assert drawn.data.count(b"<rect") == shown
    long = pictures.neighbour_grid([("random encoder, read at every depth", arrays["plain"])])
    assert b">random encoder, read<" in long.data and b">at every depth<" in long.data
    alone = pictures.neighbour_grid(list(arrays.items())[:1])
    assert alone and pictures.neighbour_grid([]) is None
    other = arrays["plain"] | {"neighbour_inputs": arrays["plain"]["neighbour_inputs"][::-1]}
    assert pictures.neighbour_grid([("old", other), *arrays.items()]) == drawn  # one old run does not displace the rest


def test_the_perplexity_that_the_report_names_is_the_one_that_was_used() -> None:
    source = inspect.getsource(figure_arrays.tsne)
    assert f"TSNE(perplexity=min({pictures.PERPLEXITY:.1f}, (len(x) - 1) / 3), init=\"pca\"" in source


def embedded(drawing: Drawing) -> np.ndarray:
    """The picture inside a drawing, (H, W, 4)."""
    (image,) = (one for one in ElementTree.fromstring(drawing.data) if one.tag.endswith("image"))
    encoded = next(value for value in image.attrib.values() if value.startswith("data:image/webp;base64,"))
    return np.asarray(Image.open(BytesIO(base64.b64decode(encoded.partition(",")[2]))).convert("RGBA"))


def test_decoded_axes_show_the_images_of_the_arrays(tmp_path: Path) -> None:
    path = make_record(tmp_path, "1.2.1", "mnist", "plain", n=60, epochs=2, reconstructions=3)
    (run,), _ = load_results(tmp_path)
    with np.load(path.with_suffix(".npz")) as file:
        arrays = dict(file)
    plane, lines = pictures.principal_axes(run.arrays)
    for drawn, name in ((lines, "traversal_images"), (plane, "plane_images")):
        images = arrays[name]
        picture = embedded(drawn)
        for i, row in enumerate(images):
            for j, image in enumerate(row):
                shown = picture[i * 30:i * 30 + 28, j * 30:j * 30 + 28, 0]  # two pixels between images
                assert (shown == image[..., 0]).all()
    words = squeeze("".join(ElementTree.fromstring(lines.data).itertext()))
    assert "1:30.0%2:20.0%3:10.0%" in words and "\u22122.0\u22121.00.0+1.0+2.0".replace("-", "") in words
    assert "hold 60.0 %" in lines.caption and "(50.0 % of the variance)" in plane.caption
    old = {key: array for key, array in run.arrays.items() if not key.startswith(("principal", "plane", "traversal"))}
    assert pictures.principal_axes(old) == []


def test_decoders_are_compared_only_on_the_same_images(tmp_path: Path) -> None:
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


def test_misclassified_images_are_the_most_confident_errors_with_their_classes(tmp_path: Path) -> None:
    path = make_record(tmp_path, "1.2.2", "cifar10", "joint", n=300, accuracy=0.9, epochs=2)
    (run,), _ = load_results(tmp_path)
    with np.load(path.with_suffix(".npz")) as file:
        true, guess, sure = (file[f"test_{name}"][file["map_index"]].astype(float)
                             for name in ("labels", "predictions", "confidence"))
    wrong = sorted((i for i in range(len(true)) if true[i] != guess[i]), key=lambda i: (-sure[i], i))
    names = ["airplane", "autom\u2026le", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    expected = [(names[int(true[i])], names[int(guess[i])], f"{sure[i]:.2f}") for i in wrong[:10]]
    drawing = pictures.misclassified(run.record, run.arrays)
    words = [one.text for one in ElementTree.fromstring(drawing.data) if one.tag.endswith("text")]
    shown = [(a, b.removeprefix("\u2260\xa0"), c) for a, b, c in zip(*[iter(words)] * 3, strict=True)]
    assert [one[2] for one in shown] == [one[2] for one in expected] and sorted(shown) == sorted(expected)
    assert len(wrong) == 30 and "10 of 30 misclassified images among the 300 test images" in drawing.caption
    old = {name: array for name, array in run.arrays.items() if name != "test_confidence"}
    drawing = pictures.misclassified(run.record, old)
    assert not re.search(r"0\.\d\d<", drawing.data.decode()) and "probability" not in drawing.caption
    assert charts.reliability(run.record, old) is None
    right = run.arrays | {"test_predictions": run.arrays["test_labels"]}
    assert pictures.misclassified(run.record, right) is None
