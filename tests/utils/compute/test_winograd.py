"""Winograd's convolution equals torch's, gradients included: in float64 exactly, otherwise within rounding."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from utils.compute import convolution, winograd
from utils.compute.convolution import Conv3x3
from utils.compute.winograd import matrices, tile_size, winograd_convolution

SIZES = [(1, 1), (2, 2), (3, 3), (4, 7), (7, 4), (5, 5), (6, 6), (11, 9), (15, 15), (16, 1)]


def random_inputs(height: int, width: int, images: int = 3, channels: int = 4, filters: int = 5,
          dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    """An input and filters, both requiring gradients."""
    generator = torch.Generator().manual_seed(height * 100 + width)
    x = torch.randn(images, channels, height, width, generator=generator, dtype=dtype)
    weight = torch.randn(filters, channels, 3, 3, generator=generator, dtype=dtype) / (9 * channels) ** 0.5
    return x.requires_grad_(), weight.requires_grad_()


@pytest.mark.parametrize("height, width", SIZES)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_output_and_gradients_are_torchs(height, width, layout, monkeypatch) -> None:
    monkeypatch.setattr(winograd, "TILES", 8)  # so that several parts are concatenated, the last one smaller
    x, weight = random_inputs(height, width)
    towards = torch.randn(3, 5, height, width, dtype=torch.float64)
    y = winograd_convolution(x.contiguous(memory_format=layout), weight)
    true = F.conv2d(x, weight, padding=1)
    torch.testing.assert_close(y, true)
    for ours, theirs in zip(torch.autograd.grad(y, (x, weight), towards),
                            torch.autograd.grad(true, (x, weight), towards), strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("height, width", [(h, w) for h in range(1, 6) for w in range(1, 6)])
def test_small_maps_that_are_not_square_have_gradients_in_every_format(height, width, dtype) -> None:
    x, weight = random_inputs(height, width, dtype=dtype)
    towards = torch.randn(3, 5, height, width, generator=torch.Generator().manual_seed(0)).to(dtype)
    y = winograd_convolution(x, weight)
    true = F.conv2d(x.float(), weight.float(), padding=1)
    found = (y, *torch.autograd.grad(y, (x, weight), towards))
    expected = (true, *torch.autograd.grad(true, (x, weight), towards.float()))
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours.float() - theirs).norm() <= (0.05 if dtype == torch.bfloat16 else 1e-5) * theirs.norm()


@pytest.mark.parametrize("height, width", [(7, 4), (15, 15), (3, 2), (5, 1)])
def test_even_omits_only_what_pooling_would_drop(height, width) -> None:
    x, weight = random_inputs(height, width)
    even = winograd_convolution(x, weight, even=True)
    assert even.shape[2:] == (height // 2 * 2, width // 2 * 2 or 1)
    true = F.conv2d(x, weight, padding=1)[:, :, : even.shape[2], : even.shape[3]]
    torch.testing.assert_close(even, true)
    towards = torch.randn(true.shape, dtype=torch.float64)
    for ours, theirs in zip(torch.autograd.grad(even, (x, weight), towards),
                            torch.autograd.grad(true, (x, weight), towards), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_gradients_agree_with_finite_differences() -> None:
    x, weight = random_inputs(5, 4, images=2, channels=2, filters=2)
    assert torch.autograd.gradcheck(winograd_convolution, (x, weight))


def test_nothing_is_kept_where_no_gradient_is_needed() -> None:
    x, weight = random_inputs(5, 5)
    kept: list[torch.Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        with torch.no_grad():
            winograd_convolution(x, weight)
        winograd_convolution(x, weight.detach())
        assert len(kept) == 1  # the filters, for the gradient to x
        winograd_convolution(x, weight)
    assert len(kept) == 3


def test_only_the_needed_gradient_is_computed() -> None:
    x, weight = random_inputs(5, 5)
    winograd_convolution(x.detach(), weight).sum().backward()
    assert weight.grad is not None
    weight.grad = None
    winograd_convolution(x, weight.detach()).sum().backward()
    assert x.grad is not None and weight.grad is None


@pytest.mark.parametrize("m", range(2, winograd.LARGEST_TILE + 1))
def test_one_dimension_is_a_sliding_product(m) -> None:
    """The textbook's form, written out: m outputs of three weights from m + 2 numbers."""
    a, b, g = matrices(m, torch.float64)
    numbers, weights = torch.randn(m + 2, dtype=torch.float64), torch.randn(3, dtype=torch.float64)
    written_out = [sum(numbers[i + k] * weights[k] for k in range(3)) for i in range(m)]
    torch.testing.assert_close(a @ ((g @ weights) * (b @ numbers)), torch.stack(written_out))


@pytest.mark.parametrize("m", range(2, winograd.LARGEST_TILE_BFLOAT16 + 1))
def test_bfloat16_holds_the_transforms_exactly(m) -> None:
    """The numbers of A and B, and their products, which transform both sides at once; G, for filters, is float32."""
    assert matrices(m, torch.bfloat16)[2].dtype == torch.float32
    for narrow, wide in zip(matrices(m, torch.bfloat16)[:2], matrices(m, torch.float64)[:2], strict=True):
        torch.testing.assert_close(torch.kron(narrow, narrow).double(), torch.kron(wide, wide), rtol=0, atol=1e-12)


def test_tiles_have_the_fewest_multiplications() -> None:
    # a map of 15: nine tiles of 5 with 49 products each, against sixteen of 4 with 36 or nine of 7 with 81
    sides = (1, 2, 3, 4, 5, 7, 11, 15)
    assert [tile_size(side, side, torch.float32) for side in sides] == [2, 2, 3, 4, 5, 7, 6, 5]
    assert tile_size(15, 15, torch.float32) == tile_size(5, 10, torch.float32) == 5
    assert [tile_size(side, side, torch.bfloat16) for side in sides] == [2, 2, 3, 4, 3, 4, 4, 4]


def relative_errors(x: torch.Tensor, weight: torch.Tensor) -> list[float]:
    """Of the output and of both gradients, against torch's convolution of the same numbers in float64."""
    wide_x, wide_weight = (tensor.detach().double().requires_grad_() for tensor in (x, weight))
    ours, exact = winograd_convolution(x, weight), F.conv2d(wide_x, wide_weight, padding=1)
    towards = torch.randn(ours.shape, generator=torch.Generator().manual_seed(1)).to(x.dtype)
    pairs = [(ours, exact), *zip(torch.autograd.grad(ours, (x, weight), towards),
                                 torch.autograd.grad(exact, (wide_x, wide_weight), towards.double()), strict=True)]
    return [((rounded - true).norm() / true.norm()).item() for rounded, true in pairs]


@pytest.mark.parametrize("side", [2, 3, 7, 11, 15])
def test_rounding_in_float32_is_small(side) -> None:
    """Tiles of 7, the largest, round most."""
    x, weight = random_inputs(side, side, images=8, channels=64, filters=16, dtype=torch.float32)
    limit = 1e-4 if tile_size(side, side, torch.float32) == 7 else 1e-5
    assert max(relative_errors(x, weight)) < limit


@pytest.mark.parametrize("height, width, limit", [(2, 2, 0.0065), (3, 3, 0.0135), (4, 4, 0.0245), (4, 3, 0.0225),
                                                  (7, 15, 0.0225)])
def test_rounding_in_bfloat16_is_less_than_in_float8(height, width, limit, monkeypatch) -> None:
    """Tiles of 2, 3 and 4.  float8: the same numbers in e4m3 (three bits of mantissa), multiplied exactly."""
    monkeypatch.setattr(winograd, "TILES", 64)
    x, weight = random_inputs(height, width, images=32, channels=128, filters=128, dtype=torch.bfloat16)
    assert max(relative_errors(x, weight)) < limit
    rounded = (tensor.detach().to(torch.float8_e4m3fn).double() for tensor in (x, 32 * weight))  # 32: no subnormals
    true = F.conv2d(x.double(), 32 * weight.double(), padding=1)
    assert (F.conv2d(*rounded, padding=1) - true).norm() / true.norm() > limit


def test_gradients_of_many_images_are_not_summed_in_bfloat16() -> None:
    """Equal contributions of many parts: a sum in bfloat16 stops growing at 256 times one of them."""
    x = torch.ones(4096, 1, 2, 2, dtype=torch.bfloat16)
    weight = torch.zeros(1, 1, 3, 3, dtype=torch.bfloat16, requires_grad=True)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(winograd, "TILES", 4)
        winograd_convolution(x, weight).sum().backward()
    assert weight.grad[0, 0, 1, 1] == 4 * 4096


@pytest.mark.parametrize("dtype, channels, filters, images, side, amx, taken", [
    (torch.float32, 64, 8, 16, 9, True, True), (torch.float32, 63, 8, 16, 9, True, False),
    (torch.float32, 64, 8, 15, 9, True, False), (torch.float64, 128, 8, 16, 9, False, False),
    (torch.bfloat16, 128, 8, 16, 9, False, True), (torch.bfloat16, 64, 128, 16, 9, False, True),
    (torch.bfloat16, 63, 128, 16, 9, False, False), (torch.bfloat16, 64, 8, 16, 9, False, False),
    (torch.bfloat16, 127, 127, 16, 9, False, False), (torch.bfloat16, 128, 8, 15, 9, False, False),
    (torch.bfloat16, 256, 8, 16, 7, True, True), (torch.bfloat16, 255, 256, 16, 7, True, False),
    (torch.bfloat16, 256, 8, 16, 8, True, False), (torch.bfloat16, 256, 8, 16, 2, True, False),
    (torch.bfloat16, 256, 8, 15, 7, True, False)])
def test_conv3x3_uses_it_where_it_is_faster(dtype, channels, filters, images, side, amx, taken, monkeypatch) -> None:
    monkeypatch.setattr(convolution, "has_amx", lambda: amx)
    layer = Conv3x3(channels, filters).to(dtype)
    y = layer(torch.randn(images, channels, side, side, dtype=dtype))
    assert (type(y.grad_fn).__name__ == "WinogradConvolutionBackward") == taken


@pytest.mark.parametrize("dtype, taken", [(torch.float32, True), (torch.bfloat16, False)])
def test_without_gradients_only_float32_uses_it(dtype, taken, monkeypatch) -> None:
    monkeypatch.setattr(convolution, "has_amx", lambda: False)
    layer = Conv3x3(128, 128).to(dtype)
    x = torch.randn(16, 128, 9, 9, dtype=dtype)
    with torch.no_grad():
        assert torch.equal(layer(x), F.conv2d(x, layer.weight, padding=1)) != taken
    assert not torch.equal(layer(x), F.conv2d(x, layer.weight, padding=1))


@pytest.mark.parametrize("images", [15, 16])
def test_mixed_formats_are_refused_for_every_batch_size(images) -> None:
    with pytest.raises(RuntimeError, match="same"):
        Conv3x3(128, 128)(torch.randn(images, 128, 9, 9, dtype=torch.bfloat16))


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="no /proc/cpuinfo with the processor's flags")
def test_has_amx_agrees_with_cpuinfo() -> None:
    assert convolution.has_amx() == ("amx_bf16" in Path("/proc/cpuinfo").read_text().split())
