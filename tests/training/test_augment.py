"""Augmentation against closed forms: identities, exact flips and shifts, grey, torchvision's own colour functions."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Generator, Tensor
from torchvision.transforms.v2 import functional as tv

from training import augment
from utils.images.on_device import to_float


def batch(b: int = 16, channels: int = 3, side: int = 12) -> Tensor:
    return torch.rand(b, channels, side, side, generator=Generator().manual_seed(1))


def test_to_float_permutes_and_scales() -> None:
    stored = torch.tensor(np.arange(2 * 3 * 4 * 3, dtype=np.uint8).reshape(2, 3, 4, 3))
    images = to_float(stored)
    assert images.shape == (2, 3, 3, 4)
    assert images[1, 2, 0, 3].item() == pytest.approx(stored[1, 0, 3, 2].item() / 255)


def test_no_augmentation_returns_the_images() -> None:
    images = batch()
    assert torch.equal(augment.random_affine(images, Generator().manual_seed(0)), images)


def test_flip_alone_mirrors_about_half_of_the_images_exactly() -> None:
    images = batch(400)
    out = augment.random_affine(images, Generator().manual_seed(0), flip=True)
    mirrored = [(o == i.flip(2)).all().item() for o, i in zip(out, images, strict=True)]
    unchanged = [torch.equal(o, i) for o, i in zip(out, images, strict=True)]
    assert all(m or u for m, u in zip(mirrored, unchanged, strict=True))
    assert abs(sum(mirrored) - 200) < 50  # five standard deviations of a fair coin


@pytest.mark.parametrize("degrees", [0, 1e-4], ids=["alone", "in a resampling"])
def test_images_named_for_it_are_mirrored_and_no_others(degrees: float) -> None:
    images = batch(8)
    named = torch.arange(8) % 3 == 0
    out = augment.random_affine(images, Generator().manual_seed(0), flip=named, degrees=degrees)
    expected = torch.stack([image.flip(2) if name else image for image, name in zip(images, named, strict=True)])
    assert torch.allclose(out, expected, atol=1e-4)


def test_translate_shifts_by_whole_pixels_with_reflected_borders() -> None:
    images, limit = batch(300), 2
    out = augment.random_affine(images, Generator().manual_seed(0), translate=limit)
    padded = torch.nn.functional.pad(images, (3, 3, 3, 3), mode="replicate")  # interior is all that is compared
    seen = set()
    for o, p in zip(out, padded, strict=True):
        offsets = [(dy, dx) for dy in range(-limit, limit + 1) for dx in range(-limit, limit + 1)
                   if torch.allclose(o[:, 2:-2, 2:-2], p[:, 5 + dy:13 + dy, 5 + dx:13 + dx], atol=1e-5)]
        assert len(offsets) == 1
        seen.add(offsets[0])
    assert len(seen) == 25  # every shift occurs


def test_rotation_by_a_right_angle_is_rot90(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(augment, "uniform", lambda count, low, high, generator: torch.full((count,), 90.0))
    images = batch(4)
    out = augment.random_affine(images, Generator(), degrees=90)
    matches = [torch.allclose(out, images.rot90(k, (2, 3)), atol=1e-4) for k in (1, 3)]
    assert sum(matches) == 1


def test_crop_lies_inside_the_image_and_keeps_the_asked_area() -> None:
    """A horizontal ramp, cropped, still is one: its slope gives the width, its ends the place."""
    side = 64
    ramp = (torch.arange(side) + 0.5) / side
    horizontal = ramp.expand(500, 1, side, side).contiguous()
    generator = Generator().manual_seed(0)
    out_x = augment.random_affine(horizontal, generator, crop_scale=0.25)[:, 0, side // 2]
    width = (out_x[:, -20] - out_x[:, 19]) / (ramp[-20] - ramp[19])
    out_y = augment.random_affine(horizontal.transpose(2, 3).contiguous(), Generator().manual_seed(0), crop_scale=0.25)
    height = (out_y[:, 0, -20, side // 2] - out_y[:, 0, 19, side // 2]) / (ramp[-20] - ramp[19])
    area = width * height
    assert area.min() > 0.25 * 0.97
    assert area.max() <= 1 + 1e-3
    assert width.min() > math.sqrt(0.25 * 3 / 4) * 0.97
    assert out_x.min() >= 0
    assert out_x.max() <= 1


def test_colours_stay_as_they_are_at_strength_0() -> None:
    images = batch()
    out = augment.colour_jitter(images, Generator().manual_seed(0), strength=0.0, probability=1.0, grey_probability=0.0)
    torch.testing.assert_close(out, images)


def test_grey_is_torchvisions_grey() -> None:
    images = batch()
    out = augment.colour_jitter(images, Generator().manual_seed(0), strength=0.0, probability=1.0, grey_probability=1.0)
    torch.testing.assert_close(out, tv.rgb_to_grayscale(images, 3), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("saturation", [0.0, 0.4, 1.0, 1.7])
def test_saturation_is_torchvisions(saturation: float) -> None:
    images = 0.3 + 0.4 * batch(4)  # away from the clipping that torchvision does at once
    ones = torch.full((4,), saturation)
    out = torch.einsum("bij,bjhw->bihw", augment.colour_matrix(ones, torch.zeros(4)), images)
    torch.testing.assert_close(out, tv.adjust_saturation(images, saturation), rtol=1e-3, atol=1e-3)


def test_hue_turn_permutes_the_primaries_after_a_third() -> None:
    red = torch.tensor([1.0, 0, 0]).reshape(1, 3, 1, 1)
    out = torch.einsum("bij,bjhw->bihw", augment.colour_matrix(torch.ones(1), torch.tensor([2 * math.pi / 3])), red)
    torch.testing.assert_close(out.flatten(), torch.tensor([0.0, 1, 0]), rtol=0, atol=1e-6)


def test_the_hue_turns_by_up_to_a_quarter_of_the_strength() -> None:
    """About the grey axis, along which all else happens: brightness, contrast and saturation keep the angle."""
    images = (0.4 + 0.1 * torch.rand(3000, 3, 1, 1, generator=Generator().manual_seed(2)))  # nothing is clipped
    out = augment.colour_jitter(images, Generator().manual_seed(0), strength=0.4, probability=1.0, grey_probability=0.0)
    across = torch.tensor([[2.0, -1, -1], [0, 3 ** 0.5, -(3 ** 0.5)]])
    before, after = (torch.complex(*(across @ x.flatten(1).T)) for x in (images, out))
    turns = (after / before).angle() / (2 * math.pi)
    assert turns.abs().max() <= 0.1 + 1e-4 and turns.max() > 0.099 and turns.min() < -0.099
    assert abs(turns.mean()) < 5 * 0.1 / 3 ** 0.5 / 3000 ** 0.5  # five standard deviations of a uniform mean


def test_brightness_and_contrast_of_grey_images_keep_their_bounds() -> None:
    images = 0.5 + 0.1 * (batch(200, channels=1) - 0.5)
    out = augment.colour_jitter(images, Generator().manual_seed(0), strength=0.4, probability=1.0, grey_probability=0.2)
    factor = out.mean((1, 2, 3)) / images.mean((1, 2, 3))
    spread = out.std((1, 2, 3)) / images.std((1, 2, 3)) / factor
    for values in (factor, spread):
        assert 0.6 - 1e-3 < values.min() < 0.65
        assert 1.35 < values.max() < 1.4 + 1e-3


def test_jitter_leaves_the_asked_fraction_alone() -> None:
    images = batch(500, side=4)
    out = augment.colour_jitter(images, Generator().manual_seed(0), strength=0.4, probability=0.8, grey_probability=0.0)
    alone = sum(torch.allclose(o, i, atol=1e-6) for o, i in zip(out, images, strict=True))
    assert abs(alone - 100) < 45  # five standard deviations


def test_rotate_quarters_is_exact() -> None:
    images, quarters = batch(8), torch.tensor([0, 1, 2, 3, 0, 1, 2, 3])
    out = augment.rotate_quarters(images, quarters)
    for i, k in enumerate(quarters.tolist()):
        assert torch.equal(out[i], torch.from_numpy(np.rot90(images[i].numpy(), k, (1, 2)).copy()))


@pytest.mark.parametrize("side", [1, 4, 5])
def test_cutout_hides_one_square_of_which_a_part_may_lie_outside(side: int) -> None:
    images, fill = torch.rand(600, 3, 9, 12), torch.tensor([2.0, 3.0, 4.0])
    out = augment.cutout(images, Generator().manual_seed(0), side, fill)
    hidden = (out == fill.view(1, 3, 1, 1)).all(1)  # (B, 9, 12)
    assert torch.equal(torch.where(hidden[:, None], images, out), images)
    centres = list(itertools.product(range(9), range(12)))
    squares = torch.stack([square(y - side // 2, x - side // 2, side) for y, x in centres])  # (108, 9, 12)
    found = (hidden[:, None] == squares).flatten(2).all(2)  # (B, 108)
    assert (found.sum(1) == 1).all()  # exactly the square about one pixel
    assert found.any(0).sum() > 100
    assert augment.cutout(images, Generator(), 0, fill) is images


def square(top: int, left: int, side: int) -> Tensor:
    """What a square covers of 9 x 12 pixels."""
    covered = torch.zeros(9, 12, dtype=torch.bool)
    covered[max(0, top):top + side, max(0, left):left + side] = True
    return covered


def test_same_generator_same_bytes() -> None:
    images = batch()

    def draw(seed: int) -> Tensor:
        generator = Generator().manual_seed(seed)
        crop = augment.random_affine(images, generator, crop_scale=0.3, degrees=10, flip=True)
        return augment.colour_jitter(crop, generator, strength=0.4, probability=0.8, grey_probability=0.2)
    assert torch.equal(draw(3), draw(3))
    assert not torch.equal(draw(3), draw(4))


def test_blur_is_torchvisions_gaussian_blur_with_each_images_own_deviation() -> None:
    images = batch(40, 3, 40)
    out = augment.gaussian_blur(images, Generator().manual_seed(3), 0.5)
    draws = torch.rand(80, generator=Generator().manual_seed(3))  # which are blurred, then the deviations
    blurred, deviations = draws[:40] < 0.5, draws[40:] * 1.9 + 0.1
    assert 10 < blurred.sum() < 30
    for image, result, yes, deviation in zip(images, out, blurred, deviations, strict=True):
        expected = tv.gaussian_blur(image, [5, 5], [deviation.item()] * 2) if yes else image
        torch.testing.assert_close(result, expected, rtol=0, atol=1e-5)
    assert augment.gaussian_blur(images, Generator(), 0) is images
