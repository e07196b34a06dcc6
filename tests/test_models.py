"""Encoders and decoders: shapes, what the whitening layer promises, and what they refuse."""

import pytest
import torch
from torch import nn

from models.decoder import build_decoder
from models.encoder import ConvEncoder, MLPEncoder, Whitening, build_encoder
from models.heads import LinearHead, MLPClassifier, ProjectionHead
from utils.errors import UsageError
from utils.precision import cast


def images(n: int = 64, shape: tuple[int, int, int] = (3, 32, 32)) -> torch.Tensor:
    """Smooth, correlated images, as natural ones are."""
    noise = torch.rand(n, *shape, generator=torch.Generator().manual_seed(0))
    return nn.functional.avg_pool2d(noise, 3, stride=1, padding=1)


@pytest.mark.parametrize("shape, widths", [((3, 32, 32), (8, 16, 16)), ((1, 28, 28), (8, 16, 16)),
                                           ((1, 8, 8), (8, 16))])
@pytest.mark.parametrize("kind, pooling", [("conv", "max"), ("conv", "flatten"), ("mlp", "max")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_encoder_gives_a_128d_latent(shape, widths, kind, pooling, dtype) -> None:
    encoder = build_encoder(kind, shape, widths, 128, pooling)
    encoder.fit_to_data(images(32, shape))
    z = cast(encoder, dtype)(images(4, shape))
    assert z.shape == (4, 128)
    assert z.dtype == dtype
    assert z.isfinite().all()


@pytest.mark.parametrize("kind, widths", [("conv", (16, 8, 8)), ("mlp", (32, 64))])
@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 28, 28)])
def test_every_decoder_gives_an_image_between_0_and_1(kind, widths, shape) -> None:
    out = build_decoder(kind, shape, widths, 128)(torch.randn(4, 128))
    assert out.shape == (4, *shape)
    assert out.min() >= 0
    assert out.max() <= 1


def test_whitening_decorrelates_patches() -> None:
    """Second moments of the outputs over all patches: the identity, block by block; checked by its definition."""
    x = images(64) - images(64).mean()
    layer = Whitening(3, 2, epsilon=0.0)
    layer.fit_to_data(x)
    out = layer(x).permute(0, 2, 3, 1).reshape(-1, 24)[:, :12].double()
    torch.testing.assert_close(out.T @ out / len(out), torch.eye(12, dtype=torch.float64), rtol=0, atol=2e-2)
    assert torch.equal(layer.weight[12:], -layer.weight[:12])


def test_whitening_is_frozen_and_float32_whatever_the_precision() -> None:
    encoder = cast(ConvEncoder((3, 32, 32), (8, 8, 8), 16, "max"), torch.bfloat16)
    assert encoder.whitening.weight.dtype == torch.float32
    assert not any("whitening" in name for name, _ in encoder.named_parameters())


def test_encoder_in_bfloat16_is_the_encoder_in_float32_within_rounding() -> None:
    torch.manual_seed(0)
    encoder = ConvEncoder((1, 28, 28), (16, 16, 16), 32, "max")
    encoder.fit_to_data(images(64, (1, 28, 28)))
    x = images(8, (1, 28, 28))
    encoder.eval()
    with torch.no_grad():
        exact = encoder(x)
        rounded = cast(encoder, torch.bfloat16)(x).float()
    assert (rounded - exact).norm() / exact.norm() < 0.03


def test_blocks_start_by_passing_their_input_on() -> None:
    block = ConvEncoder((3, 32, 32), (32, 8, 8), 16, "max").blocks[0]
    x = torch.randn(2, 24, 8, 8)
    torch.testing.assert_close(block.conv1(x)[:, :24], x)


def test_encoder_normalises_with_the_data_it_was_given() -> None:
    encoder = MLPEncoder((3, 32, 32), (8,), 4)
    x = images(64) * 0.3 + 0.2
    encoder.fit_to_data(x)
    out = encoder.normalise(x)
    torch.testing.assert_close(out.mean((0, 2, 3)), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(out.std((0, 2, 3)), torch.ones(3), atol=1e-3, rtol=0)


def test_heads_have_their_shapes() -> None:
    z = torch.randn(6, 128)
    assert ProjectionHead(128, 64, 32)(z).shape == (6, 32)
    assert LinearHead(128, 10)(z).shape == (6, 10)
    assert MLPClassifier(128, 64, 10, 0.1)(z).shape == (6, 10)


def test_impossible_shapes_are_refused_by_flag() -> None:
    with pytest.raises(UsageError, match="--widths"):
        build_encoder("conv", (1, 8, 8), (8, 8, 8, 8), 128, "max")
    with pytest.raises(UsageError, match="--decoder-widths"):
        build_decoder("conv", (3, 32, 32), (8, 8), 128)
    with pytest.raises(UsageError, match="--decoder-widths"):
        build_decoder("conv", (1, 30, 30), (8, 8, 8), 128)
