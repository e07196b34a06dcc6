"""What the figures show, against scikit-learn, slow loops and closed forms."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors
from torch import nn

from evaluation import figure_arrays
from evaluation.scores import Latents
from utils.images.datasets import load_dataset
from utils.images.on_device import DeviceData


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DeviceData:
    digits = load_dataset("digits", tmp_path_factory.mktemp("data")).head(train=300, val=60, test=90)
    return DeviceData.load(digits, torch.device("cpu"))


class Pixels(nn.Module):
    """A decoder whose latent is the image: (B, 64) -> (B, 1, 8, 8), with an error added for dark images."""

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return z.unflatten(1, (1, 8, 8)).clamp(0, 1)


def pixels_of(images: torch.Tensor) -> torch.Tensor:
    return images.permute(0, 3, 1, 2).flatten(1).float() / 255


def test_agreement_is_the_share_of_same_class_neighbours() -> None:
    generator = np.random.default_rng(0)
    points, labels = generator.normal(size=(60, 2)), generator.integers(0, 3, 60)
    nearest = NearestNeighbors(n_neighbors=11).fit(points).kneighbors(points)[1][:, 1:]  # the first is the point itself
    expected = np.mean([labels[j] == labels[i] for i in range(60) for j in nearest[i]])
    ours = figure_arrays.agreement(torch.from_numpy(points), torch.from_numpy(labels))
    assert ours == pytest.approx(expected)
    apart = torch.from_numpy(np.c_[100.0 * labels, points[:, 0]])
    assert figure_arrays.agreement(apart, torch.from_numpy(labels)) == 1


def test_first_components_are_scikit_learn_s_of_the_shown_points_alone() -> None:
    x = np.random.default_rng(0).normal(size=(40, 9)) * np.arange(9, 0, -1)
    ours = figure_arrays.first_components(x)
    centred = x - x.mean(0)
    _, _, axes = np.linalg.svd(centred)
    np.testing.assert_allclose(np.abs(ours), np.abs(centred @ axes[:2].T), rtol=1e-4)


@pytest.mark.parametrize("rows", [8, 20, 200])
@pytest.mark.parametrize("kind", ["equal", "rounded", "one not finite"])
def test_rows_that_are_alike_are_drawn_as_one_point(kind: str, rows: int) -> None:
    """scikit-learn's t-SNE ends in a segmentation fault on some of them."""
    random = np.random.default_rng(rows)
    x = np.repeat(random.normal(size=(1, 128)), rows, 0)
    if kind == "rounded":
        x *= 1 + 1e-7 * random.normal(size=x.shape)
    elif kind == "one not finite":
        x = random.normal(size=x.shape)
        x[3, 5] = np.nan
    for draw in (figure_arrays.tsne, figure_arrays.first_components):
        assert not draw(x.astype(np.float32)).any()


@pytest.mark.parametrize("change", ["all but one alike", "two kinds", "huge", "tiny"])
def test_rows_that_differ_are_drawn(change: str) -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=(12, 16))
    if change == "all but one alike":
        x[1:] = x[1]
    elif change == "two kinds":
        x[1:6], x[7:] = x[0], x[6]
    x = (x * {"huge": 1e30, "tiny": 1e-30}.get(change, 1.0)).astype(np.float32)
    for draw in (figure_arrays.tsne, figure_arrays.first_components):
        points = draw(x)
        assert np.isfinite(points).all() and np.ptp(points, 0).max() > 0


def test_neighbours_are_the_nearest_training_images_and_never_validation_or_test(data: DeviceData) -> None:
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(len(data.images), 16, generator=generator)
    test = torch.randn(len(data.test_images), 16, generator=generator)
    latents = {"train": Latents(z[data.train], data.labels[data.train]), "test": Latents(test, data.test_labels)}
    found = figure_arrays.neighbours(latents, data)
    near = NearestNeighbors(n_neighbors=figure_arrays.NEIGHBOURS_SHOWN, metric="cosine").fit(z[data.train].numpy())
    distance, index = near.kneighbors(test[found["neighbour_index"]].numpy())
    np.testing.assert_allclose(found["neighbour_cosine"], 1 - distance, atol=1e-5)
    expected = data.train[torch.from_numpy(index)]
    assert (found["neighbour_images"] == data.images[expected].numpy()).all()
    assert (found["neighbour_labels"] == data.labels[expected].numpy()).all()
    assert (found["neighbour_inputs"] == data.test_images[found["neighbour_index"]].numpy()).all()


def test_an_image_is_not_its_own_neighbour_even_among_copies(data: DeviceData) -> None:
    z = torch.ones(len(data.test_images), 4)  # all alike
    arrays, _ = figure_arrays.maps(z, data)
    own = np.arange(len(arrays["map_index"]))[:, None]
    assert (arrays["map_neighbours"] != own).all()


def test_maps_show_the_images_they_name_with_their_numbers(data: DeviceData) -> None:
    z = pixels_of(data.test_images)
    arrays, metrics = figure_arrays.maps(z, data)
    assert arrays["map_index"].tolist() == list(range(90))
    np.testing.assert_array_equal(arrays["map_points"], arrays["pixel_tsne"])  # the latent here is the pixels
    assert metrics["test/tsne_agreement"].value == metrics["test/pixel_tsne_agreement"].value
    assert metrics["test/tsne_agreement"].value > 0.5 > metrics["test/pca_agreement"].value > 0.1


def test_reconstructions_are_the_best_the_median_and_the_worst(data: DeviceData) -> None:
    z = pixels_of(data.test_images)
    damage = torch.linspace(0, 0.5, len(z))[torch.randperm(len(z), generator=torch.Generator().manual_seed(0))]
    spoilt = (z + damage[:, None]).clamp(0, 1)
    arrays = figure_arrays.reconstructions(Pixels(), spoilt, data)
    errors = (spoilt - z).abs().mean(1).numpy()
    k = figure_arrays.RECONSTRUCTIONS
    assert (np.diff(arrays["reconstruction_error"]) >= 0).all()
    np.testing.assert_allclose(arrays["reconstruction_error"], errors[arrays["reconstruction_index"]], rtol=1e-5)
    ordered = np.sort(errors)
    np.testing.assert_allclose(arrays["reconstruction_error"][:k], ordered[:k], rtol=1e-5)
    np.testing.assert_allclose(arrays["reconstruction_error"][-k:], ordered[-k:], rtol=1e-5)
    assert arrays["reconstruction_error"][k] <= np.median(errors) <= arrays["reconstruction_error"][2 * k - 1]


def test_interpolation_pairs_are_of_one_class_and_of_two() -> None:
    labels = torch.randint(0, 5, (300,), generator=torch.Generator().manual_seed(0))
    pairs = figure_arrays.interpolation_pairs(labels)
    for kind, same in (("within", True), ("between", False)):
        first, second = pairs[kind].T
        assert len(first) == figure_arrays.PAIRS_MEASURED
        assert ((labels[first] == labels[second]) == same).all()
        assert (first != second).all()


def test_a_straight_line_is_even_and_a_jump_is_not(data: DeviceData) -> None:
    z = pixels_of(data.test_images)
    arrays, metrics = figure_arrays.interpolations(Pixels(), z, data)  # a linear decoder: every step alike
    assert metrics["test/interpolation_step_within"].value == pytest.approx(1, abs=1e-4)
    ends = data.test_images[arrays["interpolation_index"]].numpy()  # (P, 2, H, W, C)
    assert (arrays["interpolation_images"][:, 0] == ends[:, 0]).all()
    assert (arrays["interpolation_images"][:, -1] == ends[:, 1]).all()
    jump = torch.zeros(1, 9, 1, 2, 2)
    jump[:, 4:] = 1
    assert figure_arrays.unevenness(jump) == pytest.approx(8)
    assert figure_arrays.unevenness(torch.zeros(1, 9, 1, 2, 2)) == 1


def test_principal_axes_are_scikit_learn_s_and_their_decoded_latents_lie_on_them(data: DeviceData) -> None:
    z = pixels_of(data.test_images) * 0.1 + 0.45  # in the middle of the decoder's range, which clamps
    arrays = figure_arrays.principal_axes(Pixels(), z)
    pca = PCA(4).fit(z.double().numpy())
    np.testing.assert_allclose(arrays["principal_share"], pca.explained_variance_ratio_, rtol=1e-4)
    spread = np.sqrt(pca.explained_variance_ * (len(z) - 1) / len(z))
    steps, shown = arrays["principal_steps"], arrays["traversal_images"].reshape(4, 7, 64) / 255
    assert steps[0] == -steps[-1] and steps[3] == 0
    middle = z.mean(0).numpy()
    for axis, own, length in zip(pca.components_, shown, spread, strict=True):
        side = np.sign((own[-1] - middle) @ axis)
        np.testing.assert_allclose((own - middle) @ axis, side * steps * length, atol=0.03)
    x, y = (np.sign((own[-1] - middle) @ axis) * axis for axis, own in zip(pca.components_, shown[:2], strict=False))
    plane = arrays["plane_images"].reshape(7, 7, 64) / 255 - middle
    np.testing.assert_allclose(plane @ x, np.tile(steps * spread[0], (7, 1)), atol=0.03)
    np.testing.assert_allclose(plane @ y, -np.tile(steps * spread[1], (7, 1)).T, atol=0.03)
    alike = figure_arrays.principal_axes(Pixels(), torch.full((20, 64), 0.3))
    assert (alike["plane_images"] == alike["plane_images"][0, 0]).all() and np.isfinite(alike["principal_share"]).all()
