"""Patch features against a slow transcription, and their principal components."""

import pytest
import torch
import torch.nn.functional as F

from models import patches
from models.patches import PatchComponents, PatchFeatures
from utils.errors import UsageError


def images(count: int = 40, side: int = 16, channels: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, channels, side // 2, side // 2, generator=generator)
    return (F.interpolate(coarse, scale_factor=2.0) + 0.2 * torch.rand(count, channels, side, side,
                                                                      generator=generator)).clamp(0, 1)


@pytest.fixture(scope="module")
def fitted() -> PatchFeatures:
    features = PatchFeatures((3, 16, 16), 12)
    features.fit_to_data(images())
    return features


def slow(features: PatchFeatures, image: torch.Tensor) -> torch.Tensor:
    """The unstandardised features of one image, patch by patch, in float64."""
    side, rows = features.side, image.shape[1] - features.side + 1
    above, below = (torch.zeros(len(features.filters), rows, rows, dtype=torch.float64) for _ in range(2))
    for i in range(rows):
        for j in range(rows):
            patch = image[:, i:i + side, j:j + side].double()
            patch = (patch - patch.mean()) / (patch.var() + patches.CONTRAST).sqrt()
            for k, filter in enumerate(features.filters.double()):
                response = (filter * patch).sum()
                above[k, i, j] = max(response - patches.THRESHOLD, 0)
                below[k, i, j] = max(-response - patches.THRESHOLD, 0)
    half = -(-rows // 2)  # cells overlap by one where the number of rows is odd
    cells = [(slice(0, half), slice(0, half)), (slice(0, half), slice(rows - half, rows)),
             (slice(rows - half, rows), slice(0, half)), (slice(rows - half, rows), slice(rows - half, rows))]
    return torch.cat([torch.stack([part[:, r, c].mean((1, 2)) for r, c in cells]).flatten()
                      for part in (below, above)]).sqrt()


def test_features_equal_a_slow_transcription(fitted) -> None:
    x = images()[:2]
    assert torch.allclose(fitted.raw(x, torch.float32).double(), torch.stack([slow(fitted, i) for i in x]), atol=1e-4)


def test_features_ignore_brightness_but_not_contrast(fitted) -> None:
    x = images()[:4] * 0.5
    assert torch.allclose(fitted.raw(x, torch.float32), fitted.raw(x + 0.3, torch.float32), atol=2e-3)
    changed = fitted.raw(x * 1.5, torch.float32) - fitted.raw(x, torch.float32)
    assert changed.abs().max() > 0.01  # contrast still counts


def test_whitened_patches_have_unit_variance_along_the_filters() -> None:
    features = PatchFeatures((3, 16, 16), 400)
    data = images(200)
    features.fit_to_data(data)
    flat = data.unfold(2, 6, 1).unfold(3, 6, 1).permute(0, 2, 3, 1, 4, 5).reshape(-1, 108)[::7]
    flat = flat - flat.mean(1, keepdim=True)
    flat = flat / (flat.var(1, keepdim=True) + patches.CONTRAST).sqrt()
    variance = (flat @ features.filters.flatten(1).T).square().mean(0)
    assert 0.5 < variance.median() < 1.1  # below 1, since WHITENING shrinks the weakest directions


def test_fitting_is_deterministic_and_the_features_are_standardised(fitted) -> None:
    again = PatchFeatures((3, 16, 16), 12)
    torch.manual_seed(5)
    again.fit_to_data(images())
    for name, value in fitted.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    z = fitted(images())
    assert z.mean(0).abs().max() < 1e-4
    assert (z.std(0)[fitted.std > 0.01] - 1).abs().max() < 0.15  # 1e-3 is added to the deviations


def test_components_are_uncorrelated_with_variance_1() -> None:
    torch.manual_seed(0)
    components = PatchComponents((3, 16, 16), 12, 20)
    data = images(300)
    components.fit_to_data(data)
    target = components(data)
    covariance = target.T @ target / len(target)
    assert (covariance - torch.eye(20)).abs().max() < 1e-2


@pytest.mark.parametrize("height, width", [(27, 27), (4, 7), (6, 5)])
def test_cells_equal_adaptive_pooling(height: int, width: int) -> None:
    maps = torch.rand(5, 1, height, width)
    expected = F.adaptive_avg_pool2d(maps, 2).flatten(1)
    torch.testing.assert_close(maps.flatten(1) @ patches.cells(height, width).T, expected)


def test_images_too_small_for_the_grid_are_refused() -> None:
    with pytest.raises(UsageError, match="too small"):
        PatchFeatures((1, 3, 3), 4)


def test_few_images_give_few_components_and_zeros_for_the_rest() -> None:
    components = PatchComponents((3, 16, 16), 12, 20)
    components.fit_to_data(images(50))
    assert (components(images(50)).std(0) > 0.5).sum() == 5
