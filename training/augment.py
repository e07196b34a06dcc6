"""Augmentation of whole batches, on the device, from one generator: (B, C, H, W) floats in [0, 1] -> the same.

One affine resampling (crop, shift, rotation and flip together, so that an image is interpolated once) and one colour
transformation (brightness, contrast, saturation, hue, grey).  No Python loop runs over images.
"""

import math

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from utils.compute import distributed
from utils.images.on_device import to_float
from utils.recipe import Recipe


def uniform(count: int, low: float, high: float, generator: Generator) -> Tensor:
    """(count,) floats, uniform in [low, high), on the generator's device."""
    return distributed.draw(torch.rand, (count,), generator) * (high - low) + low


def augmented(images: Tensor, recipe: Recipe, generator: Generator, mirrored: Tensor | None = None,
              size: tuple[int, int] | None = None) -> Tensor:
    """The recipe's random crop, shift, rotation and flip: (B, H, W, C) uint8 images -> (B, C, H, W) in [0, 1].

    mirrored: (B,) bool, the images to mirror, instead of the recipe's flip; size: (H, W) of the result.
    """
    return random_affine(to_float(images), generator, crop_scale=recipe.crop_scale, translate=recipe.translate,
                         degrees=recipe.rotate_degrees, flip=recipe.flip if mirrored is None else mirrored, size=size)


def random_affine(images: Tensor, generator: Generator, *, crop_scale: float = 1.0, translate: float = 0.0,
                  degrees: float = 0.0, flip: bool | Tensor = False, size: tuple[int, int] | None = None) -> Tensor:
    """One random crop, shift, rotation and flip per image, in a single bilinear resampling with reflected borders.

    crop_scale: smallest fraction of the area that a crop keeps (1: no crop); the aspect ratio is then drawn
    log-uniformly from 3/4 to 4/3, as in torchvision's RandomResizedCrop, whose rejection loop is replaced by clipping.
    translate: largest shift in pixels, in whole pixels; degrees: largest rotation either way.
    flip: True mirrors half of the images; (B,) bool mirrors the marked ones.
    size: (H, W) of the result; None: that of the images.  Departure from torchvision on PIL images: no antialiasing
    where a crop is larger than the result, as are many of those that become CIFAR-10's views of 24 pixels.
    """
    b, _, height, width = images.shape
    size = size or (height, width)
    if crop_scale == 1 and translate == 0 and degrees == 0 and size == (height, width):  # nothing to interpolate
        if flip is False:
            return images
        mirrored = flip if isinstance(flip, Tensor) else uniform(b, 0, 1, generator) < 0.5
        return torch.where(mirrored[:, None, None, None], images.flip(3), images)
    matrix = torch.zeros(b, 2, 3, device=images.device)
    scale_x = scale_y = torch.ones(b, device=images.device)
    if crop_scale < 1:
        area = uniform(b, crop_scale, 1, generator)
        ratio = uniform(b, math.log(3 / 4), math.log(4 / 3), generator).exp()
        scale_x, scale_y = (area * ratio).sqrt().clamp(max=1), (area / ratio).sqrt().clamp(max=1)
        # the crop's centre is uniform over the places where the crop lies inside the image
        matrix[:, 0, 2] = uniform(b, -1, 1, generator) * (1 - scale_x)
        matrix[:, 1, 2] = uniform(b, -1, 1, generator) * (1 - scale_y)
    if translate > 0:  # whole pixels, so that a shift alone does not blur
        for axis, side in ((0, width), (1, height)):
            shift = uniform(b, -translate - 0.5, translate + 0.5, generator).round().clamp(-translate, translate)
            matrix[:, axis, 2] += shift * 2 / side
    angle = uniform(b, -degrees, degrees, generator) * (math.pi / 180) if degrees > 0 else torch.zeros_like(scale_x)
    mirror = torch.ones_like(scale_x)
    if isinstance(flip, Tensor):
        mirror = 1 - 2 * flip.float()
    elif flip:
        mirror = (uniform(b, 0, 1, generator) < 0.5).float() * 2 - 1
    matrix[:, 0, 0] = scale_x * angle.cos() * mirror
    matrix[:, 0, 1] = -scale_x * angle.sin()
    matrix[:, 1, 0] = scale_y * angle.sin() * mirror
    matrix[:, 1, 1] = scale_y * angle.cos()
    grid = F.affine_grid(matrix, [*images.shape[:2], *size], align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def cutout(images: Tensor, generator: Generator, side: int, fill: Tensor) -> Tensor:
    """Blank a square of `side` pixels in each image (DeVries and Taylor 2017, section 3.2).

    Its centre is uniform over the pixels, so that part of it may lie outside.  fill: (C,), the colour of the square.
    """
    if side == 0:
        return images
    b, _, height, width = images.shape
    hidden = torch.ones(1, 1, 1, 1, dtype=torch.bool, device=images.device)
    for count, shape in ((height, (1, 1, -1, 1)), (width, (1, 1, 1, -1))):
        start = uniform(b, 0, count, generator).floor() - side // 2
        offset = torch.arange(count, device=images.device).view(shape) - start.view(-1, 1, 1, 1)
        hidden = hidden & (offset >= 0) & (offset < side)  # (B, 1, H, W) in the end
    return torch.where(hidden, fill.view(1, -1, 1, 1), images)


def colour_jitter(images: Tensor, generator: Generator, *, strength: float, probability: float,
                  grey_probability: float) -> Tensor:
    """Random brightness, contrast, saturation and hue (SimCLR's colour distortion), then random grey.

    strength s: brightness, contrast and saturation factors are uniform in [1 - s, 1 + s], the hue turns by up to s / 4
    of a full turn (the proportions of lightly's SimCLR transform: 0.4, 0.4, 0.4, 0.1).  An image is unchanged with
    probability 1 - `probability`.  Greyscale images get only brightness and contrast.
    Departures from torchvision's ColorJitter: the order is fixed, saturation and hue are one 3 x 3 matrix per image
    (the hue is a rotation about the grey axis of RGB rather than HSV's angle), and values are clipped once, at the end.
    """
    b, channels = images.shape[:2]
    jittered = uniform(b, 0, 1, generator) < probability
    s = torch.where(jittered, strength, 0.0)  # (B,)

    def factor() -> Tensor:
        return (1 + s * uniform(b, -1, 1, generator))[:, None, None, None]

    x = images * factor()
    luma = (x * vector(LUMA, x.device)[None, :, None, None]).sum(1, keepdim=True) if channels == 3 else x
    grey_mean = luma.mean((1, 2, 3), keepdim=True)
    x = (x - grey_mean) * factor() + grey_mean
    if channels == 3:
        grey = uniform(b, 0, 1, generator) < grey_probability
        saturation = torch.where(grey, 0.0, factor().flatten())
        turn = s / 4 * uniform(b, -1, 1, generator) * 2 * math.pi
        x = torch.einsum("bij,bjhw->bihw", colour_matrix(saturation, turn), x)
    return x.clamp(0, 1)


def gaussian_blur(images: Tensor, generator: Generator, probability: float) -> Tensor:
    """Blur some of the images: (B, C, H, W) -> (B, C, H, W).

    The standard deviation is uniform in [0.1, 2] pixels and the kernel about a tenth of the height wide, an odd number
    of at least 3 (Chen et al. 2020, appendix A); borders are reflected.  Below 40 pixels
    the kernel is 3 wide, so the deviation is at most 0.8.
    """
    if probability == 0:
        return images
    b, channels, height, _ = images.shape
    radius = max(1, height // 20)
    blurred = uniform(b, 0, 1, generator) < probability
    deviation = uniform(b, 0.1, 2, generator)
    offsets = torch.arange(-radius, radius + 1, device=images.device)
    kernel = (-(offsets / deviation[:, None]).square() / 2).exp()  # (B, 2 radius + 1)
    kernel = torch.where(blurred[:, None], kernel, (offsets == 0).float())
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(channels, 0)[:, None]  # (B C, 1, 2 radius + 1)
    flat = F.pad(images, (radius,) * 4, mode="reflect").reshape(1, b * channels, height + 2 * radius, -1)
    out = F.conv2d(F.conv2d(flat, kernel[:, :, None], groups=b * channels), kernel[..., None], groups=b * channels)
    return out.reshape(images.shape).contiguous(memory_format=torch.channels_last)


LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as in torchvision's rgb_to_grayscale


def vector(values: tuple[float, ...], device: torch.device) -> Tensor:
    """float32, made on the device: a copy from the CPU would keep the step from being captured as a graph."""
    return torch.stack([torch.full((), float(value), device=device) for value in values])


def colour_matrix(saturation: Tensor, turn: Tensor) -> Tensor:
    """(B,) saturation factors and (B,) hue turns in radians -> (B, 3, 3) matrices that act on RGB.

    Rodrigues' rotation about (1, 1, 1), then a blend with the luma of the result: saturation 0 gives grey.
    """
    identity = torch.eye(3, device=turn.device)
    axis = torch.full((3,), 3 ** -0.5, device=turn.device)
    cross = torch.stack([vector(row, turn.device) for row in ((0, -1, 1), (1, 0, -1), (-1, 1, 0))]) * 3 ** -0.5
    cos, sin = turn.cos()[:, None, None], turn.sin()[:, None, None]
    rotation = identity * cos + cross * sin + torch.outer(axis, axis) * (1 - cos)
    grey = vector(LUMA, turn.device).expand(3, 3)  # every row gives the luma
    saturation = saturation[:, None, None]
    return (saturation * identity + (1 - saturation) * grey) @ rotation


def rotate_quarters(images: Tensor, quarters: Tensor) -> Tensor:
    """Turn image i counter-clockwise by quarters[i] x 90 degrees, exactly (no interpolation); square images."""
    out = images
    for k in (1, 2, 3):
        turned = images.rot90(k, (2, 3)).contiguous(memory_format=torch.channels_last)
        out = torch.where((quarters == k)[:, None, None, None], turned, out)
    return out
