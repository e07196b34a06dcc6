"""Encoders and decoders: shapes, what the whitening layer promises, and what they refuse."""

import copy
from unittest.mock import patch

import pytest
import torch
from sklearn.decomposition import PCA
from torch import nn
from torchvision.models import resnet18

import models.encoders
from models.decoders import build_decoder
from models.encoders import ConvEncoder, MLPEncoder, TransformerBlock, Whitening, build_encoder
from models.heads import LinearHead, MLPClassifier, ProjectionHead
from models.patches import PatchComponents
from utils.compute import convolution
from utils.compute.convolution import Conv3x3, filter_gradient
from utils.compute.precision import cast
from utils.errors import UsageError


def images(n: int = 64, shape: tuple[int, int, int] = (3, 32, 32)) -> torch.Tensor:
    """Smooth, correlated images, as natural ones are."""
    noise = torch.rand(n, *shape, generator=torch.Generator().manual_seed(0))
    return nn.functional.avg_pool2d(noise, 3, stride=1, padding=1)


@pytest.mark.parametrize("shape, widths", [((3, 32, 32), (8, 16, 16)), ((1, 28, 28), (8, 16, 16)),
                                           ((1, 8, 8), (8, 16))])
@pytest.mark.parametrize("kind, pooling", [("conv", "max"), ("conv", "flatten"), ("mlp", "max"), ("vit", "mean"),
                                           ("vit", "flatten"), ("resnet18", "mean"), ("resnet18", "flatten")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_encoder_gives_a_128d_latent(shape, widths, kind, pooling, dtype) -> None:
    widths = {"vit": (32, 32), "resnet18": (64, 128, 256, 512)}.get(kind, widths)
    encoder = build_encoder(kind, shape, widths, 128, pooling)
    encoder.fit_to_data(images(32, shape))
    z = cast(encoder, dtype)(images(4, shape))
    assert z.shape == (4, 128)
    assert z.dtype == dtype
    assert z.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_conv_patches_is_a_conv_encoder_beside_the_strongest_patch_components(dtype) -> None:
    encoder = build_encoder("conv_patches", (1, 8, 8), (8, 16), 16, "max")
    x = images(700, (1, 8, 8))  # enough for 70 of its 128 components: the others are 0
    encoder.fit_to_data(x)
    z = cast(encoder, dtype)(x)
    assert z.shape == (700, 16) and z.dtype == dtype
    exact = 0.3 if dtype == torch.bfloat16 else 0.01
    assert z.float().mean(0).abs().max() < exact and (z.float().std(0) - 1).abs().max() < exact + 0.04
    conv = encoder.conv[0](x).float()
    torch.testing.assert_close(z[:, :6].float(), (conv - conv.mean(0)) / conv.std(0), rtol=0, atol=exact)
    torch.testing.assert_close(z[:, 6:].float(), encoder.components(x)[:, -10:], rtol=0, atol=exact)
    assert encoder.conv(x[:4, :, 1:7, 1:7]).shape == (4, 6)  # views of another size


def test_of_patch_components_the_strongest_come_last() -> None:
    components = PatchComponents((1, 8, 8), 16, 8)
    x = images(300, (1, 8, 8))
    components.fit_to_data(x)
    features = components.features(x) - components.mean
    found = nn.functional.normalize(components.components, dim=0)  # the directions
    assert (features @ found).var(0).diff().min() > 0


def test_a_latent_larger_than_the_patch_components_is_filled_by_the_convolution() -> None:
    encoder = build_encoder("conv_patches", (1, 8, 8), (8, 16), 300, "max")
    assert (encoder.conv_dim, encoder.patch_dim) == (172, 128)
    encoder = build_encoder("conv_patches", (1, 8, 8), (8, 16), 2, "max")
    assert (encoder.conv_dim, encoder.patch_dim) == (1, 1)


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


def test_whitening_of_many_images_at_a_time_is_that_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.rand(30, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    whole, parts = Whitening(3, 2), Whitening(3, 2)
    whole.fit_to_data(images)
    monkeypatch.setattr(models.encoders, "WHITENED_PIXELS", 7 * 64)  # 7 images, and a rest of 2
    parts.fit_to_data(images)
    x = torch.rand(4, 3, 8, 8)
    torch.testing.assert_close(parts(x).square(), whole(x).square(), rtol=1e-3, atol=1e-4)  # the sign is free


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


@pytest.mark.parametrize("batch, channels, filters, height, width", [(3, 4, 5, 3, 3), (2, 3, 2, 7, 4), (4, 1, 2, 1, 1)])
def test_filter_gradient_is_that_of_torchs_convolution(batch, channels, filters, height, width) -> None:
    x = torch.randn(batch, channels, height, width, dtype=torch.float64)
    weight = torch.zeros(filters, channels, 3, 3, dtype=torch.float64, requires_grad=True)
    gradient = torch.randn(batch, filters, height, width, dtype=torch.float64)
    nn.functional.conv2d(x, weight, padding=1).backward(gradient)
    torch.testing.assert_close(filter_gradient(x, gradient), weight.grad)


@pytest.mark.parametrize("channels, height, width, product", [(3, 2, 2, True), (260, 3, 5, True), (260, 6, 5, False)])
def test_convolution_is_torchs_whether_as_a_matrix_product_or_not(channels, height, width, product) -> None:
    x = torch.randn(3, channels, height, width, dtype=torch.float64)
    weight = torch.randn(6, channels, 3, 3, dtype=torch.float64)
    with patch.object(convolution, "neighbourhoods", wraps=convolution.neighbourhoods) as neighbourhoods:
        ours = convolution.convolution(x, weight)
    assert neighbourhoods.called == product
    torch.testing.assert_close(ours, nn.functional.conv2d(x, weight, padding=1))


@pytest.mark.parametrize("channels, side", [(16, 2), (16, 7), (16, 8), (264, 3)])
def test_convolution_in_bfloat16_has_the_gradients_of_one_in_float32_within_rounding(channels, side,
                                                                                             monkeypatch) -> None:
    monkeypatch.setattr(convolution, "has_amx", lambda: True)  # else Winograd's has its turn: tests/test_winograd.py
    torch.manual_seed(0)
    exact = Conv3x3(channels, 32)
    rounded = cast(copy.deepcopy(exact).to(memory_format=torch.channels_last), torch.bfloat16)
    x = torch.randn(50, channels, side, side).to(memory_format=torch.channels_last)
    inputs = x.clone().requires_grad_(), x.bfloat16().requires_grad_()
    towards = torch.randn(50, 32, side, side)
    outputs = [layer(given).float() for layer, given in zip((exact, rounded), inputs, strict=True)]
    for output in outputs:
        (output * towards).sum().backward()
    for ours, true in ((outputs[1], outputs[0]), (rounded.weight.grad, exact.weight.grad),
                       (inputs[1].grad, inputs[0].grad)):
        assert (ours.float() - true).norm() / true.norm() < 0.01


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


def test_resnet18_is_torchvision_s_behind_its_stem() -> None:
    """Same weights, same features, computed by torchvision's own forward pass."""
    torch.manual_seed(0)
    encoder = build_encoder("resnet18", (3, 32, 32), (64, 128, 256, 512), 16, "mean").eval()
    network = resnet18()
    network.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    network.maxpool = network.fc = nn.Identity()
    missing = network.load_state_dict(encoder.network.state_dict(), strict=False)
    assert missing.missing_keys == missing.unexpected_keys == []
    x = images(4)
    with torch.no_grad():
        torch.testing.assert_close(encoder(x), encoder.latent(network.eval()(encoder.normalise(x))))
    assert sum(p.numel() for p in network.parameters()) == 11_168_832  # as published, without the classifier


def test_transformer_block_is_torch_s_pre_norm_layer() -> None:
    torch.manual_seed(0)
    ours = TransformerBlock(64, 2).eval()
    theirs = nn.TransformerEncoderLayer(64, 2, 256, dropout=0.0, activation="gelu", batch_first=True, norm_first=True)
    theirs.load_state_dict({
        "self_attn.in_proj_weight": ours.query_key_value.weight, "self_attn.in_proj_bias": ours.query_key_value.bias,
        "self_attn.out_proj.weight": ours.out.weight, "self_attn.out_proj.bias": ours.out.bias,
        "linear1.weight": ours.mlp[0].weight, "linear1.bias": ours.mlp[0].bias,
        "linear2.weight": ours.mlp[2].weight, "linear2.bias": ours.mlp[2].bias,
        "norm1.weight": ours.norm1.weight, "norm1.bias": ours.norm1.bias,
        "norm2.weight": ours.norm2.weight, "norm2.bias": ours.norm2.bias})
    x = torch.randn(3, 9, 64)
    torch.testing.assert_close(ours(x), theirs.eval()(x), rtol=1e-4, atol=1e-5)


def test_vision_transformer_knows_where_patches_are() -> None:
    """Without position embeddings a mean over tokens would not see that patches were exchanged."""
    torch.manual_seed(0)
    encoder = build_encoder("vit", (1, 8, 8), (32, 32), 16, "mean")
    encoder.fit_to_data(images(32, (1, 8, 8)))
    x = images(4, (1, 8, 8))
    exchanged = x.roll(2, 3)  # by whole patches
    with torch.no_grad():
        assert not torch.allclose(encoder(x), encoder(exchanged), atol=1e-4)
        encoder.position.zero_()
        torch.testing.assert_close(encoder(x), encoder(exchanged), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 16, 16)])
def test_pca_encoder_agrees_with_scikit_learn(shape: tuple[int, int, int]) -> None:
    x = images(300, shape)
    encoder = build_encoder("pca", shape, (), 128, "max")
    encoder.fit_to_data(x)
    flat = x.flatten(1).double().numpy()
    expected = torch.from_numpy(PCA(min(128, flat.shape[1])).fit_transform(flat)).float()
    ours = encoder(x)
    assert (ours[:, expected.shape[1]:] == 0).all()  # there are no more components than pixels
    torch.testing.assert_close(ours[:, :20].abs(), expected[:, :20].abs(), rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("kind, shape, widths, word", [
    ("vit", (1, 30, 30), (32, 32), "multiples of 4"), ("vit", (1, 28, 28), (32, 64), "all equal"),
    ("vit", (1, 28, 28), (40, 40), "multiple of 32"), ("resnet18", (1, 28, 28), (64, 64), "64 128 256 512"),
])
def test_other_encoders_refuse_what_they_cannot_be(kind, shape, widths, word) -> None:
    with pytest.raises(UsageError, match=word):
        build_encoder(kind, shape, widths, 128, "mean")
