"""Encoders: their shapes, their agreement with references, the whitening, and the widths that they refuse."""

import pytest
import torch
from sklearn.decomposition import PCA
from torch import nn
from torchvision.models import resnet18

import models.encoders
from models.encoders import (
    ENCODERS,
    ConvEncoder,
    MLPEncoder,
    TransformerBlock,
    Whitening,
    build_encoder,
    calibrate_norms,
)
from models.patches import PatchComponents
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
def test_every_encoder_gives_a_128d_latent(shape, widths, kind, pooling) -> None:
    widths = {"vit": (32, 32), "resnet18": (64, 128, 256, 512)}.get(kind, widths)
    encoder = build_encoder(kind, shape, widths, 128, pooling)
    encoder.fit_to_data(images(32, shape))
    for dtype in (torch.float32, torch.bfloat16):
        z = cast(encoder, dtype)(images(4, shape))
        assert z.shape == (4, 128)
        assert z.dtype == dtype
        assert z.isfinite().all()


def test_conv_patches_concatenates_a_conv_encoder_and_the_strongest_patch_components() -> None:
    encoder = build_encoder("conv_patches", (1, 8, 8), (8, 16), 16, "max")
    x = images(300, (1, 8, 8))  # enough for 30 of its 128 components: the others are 0
    encoder.fit_to_data(x)
    components = encoder.components(x)[:, -10:]
    for dtype, exact in ((torch.float32, 0.01), (torch.bfloat16, 0.3)):
        z = cast(encoder, dtype)(x)
        assert z.shape == (300, 16) and z.dtype == dtype
        assert z.float().mean(0).abs().max() < exact and (z.float().std(0) - 1).abs().max() < exact + 0.04
        conv = encoder.conv[0](x).float()
        torch.testing.assert_close(z[:, :6].float(), (conv - conv.mean(0)) / conv.std(0, correction=0), rtol=0,
                                   atol=exact)
        torch.testing.assert_close(z[:, 6:].float(), components, rtol=0, atol=exact)
        assert encoder.conv(x[:4, :, 1:7, 1:7]).shape == (4, 6)  # views of another size


def test_the_strongest_patch_components_come_last() -> None:
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


def test_whitening_decorrelates_patches() -> None:
    """Second moments of the outputs over all patches: the identity, block by block; checked by its definition."""
    x = images(64) - images(64).mean()
    layer = Whitening(3, 2, epsilon=0.0)
    layer.fit_to_data(x)
    out = layer(x).permute(0, 2, 3, 1).reshape(-1, 24)[:, :12].double()
    torch.testing.assert_close(out.T @ out / len(out), torch.eye(12, dtype=torch.float64), rtol=0, atol=2e-2)
    assert torch.equal(layer.weight[12:], -layer.weight[:12])


def test_whitening_fitted_in_parts_is_whitening_fitted_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_blocks_start_as_the_identity() -> None:
    block = ConvEncoder((3, 32, 32), (32, 8, 8), 16, "max").blocks[0]
    x = torch.randn(2, 24, 8, 8)
    torch.testing.assert_close(block.conv1(x)[:, :24], x)


def test_encoder_normalises_with_the_statistics_of_its_data() -> None:
    encoder = MLPEncoder((3, 32, 32), (8,), 4, "flatten")
    x = images(64) * 0.3 + 0.2
    encoder.fit_to_data(x)
    out = encoder.normalise(x)
    torch.testing.assert_close(out.mean((0, 2, 3)), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(out.std((0, 2, 3)), torch.ones(3), atol=1e-3, rtol=0)


def test_resnet18_equals_torchvision_s_after_the_stem() -> None:
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


def test_transformer_block_equals_torch_s_pre_norm_layer() -> None:
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


def test_vision_transformer_sees_the_order_of_patches() -> None:
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
    ("vit", (1, 28, 28), (32, 64), "all equal"),
    ("vit", (1, 28, 28), (40, 40), "multiple of 32"), ("resnet18", (1, 28, 28), (64, 64), "64 128 256 512"),
])
def test_widths_that_do_not_fit_are_refused(kind, shape, widths, word) -> None:
    with pytest.raises(UsageError, match=word):
        build_encoder(kind, shape, widths, 128, "mean")


def test_encoders_say_how_many_images_they_are_fitted_to() -> None:
    numbers = {name: encoder.images_to_fit for name, encoder in ENCODERS.items()}
    fitted_to_more = dict.fromkeys(("conv_depths", "conv_patches", "patch_pca"), 10_000)
    assert numbers == dict.fromkeys(ENCODERS, 2000) | fitted_to_more | {"pca": None}


@pytest.mark.parametrize("shape, widths, grids", [((3, 32, 32), (8, 16, 12), (3, 2, 2)), ((1, 8, 8), (8, 16), (3, 2)),
                                                  ((1, 28, 28), (8,), (2,))])
def test_the_readout_of_all_depths_is_the_pca_of_standardised_pooled_maps(shape, widths, grids) -> None:
    encoder = build_encoder("conv_depths", shape, widths, 10, "max")
    x = images(200, shape)
    encoder.fit_to_data(x)
    encoder.fit_readout([x])
    encoder.eval()
    with torch.no_grad():
        z, parts = encoder(x).double(), []
        maps = encoder.conv.maps(x)
        for found, grid in zip(maps, grids, strict=True):
            height, width = found.shape[2:]
            rows = [(row * height // grid, -(-(row + 1) * height // grid)) for row in range(grid)]
            columns = [(column * width // grid, -(-(column + 1) * width // grid)) for column in range(grid)]
            parts.append(torch.cat([found[:, :, a:b, c:d].mean((2, 3)) for a, b in rows for c, d in columns], 1))
        parts.append(maps[-1].flatten(2).max(2).values)
    weighted = [(part.double() - part.double().mean(0)) / part.double().std(0, correction=0).clamp(min=1e-6)
                / part.shape[1] ** 0.5 for part in parts]
    pca = PCA(10, whiten=True).fit(torch.cat(weighted, 1).numpy())
    expected = torch.from_numpy(pca.transform(torch.cat(weighted, 1).numpy()))
    signs = (z * expected).sum(0).sign()
    torch.testing.assert_close(z, expected * signs, rtol=0, atol=0.02)  # theirs divides by n - 1
    assert encoder.trunk(x[:4, :, 1:-1, 1:-1] if shape[1] > 8 else x[:4]).shape == (4, 10)


def test_a_readout_gives_no_weight_to_features_that_are_constant() -> None:
    """Where only the centre of the images varies, most pooled features are constants plus rounding."""
    x = torch.full((400, 3, 32, 32), 0.7)
    x[:, :, 14:18, 14:18] = images(400, (3, 4, 4))
    encoder = build_encoder("conv_depths", (3, 32, 32), (8, 16, 16), 20, "max")
    encoder.fit_to_data(x)
    encoder.fit_readout(x.split(100))
    with torch.no_grad():
        features = encoder.eval().features(x)
        constant = features.std(0) < 1e-5 * features.mean(0).abs()
        assert constant.sum() > 20
        assert encoder.components[constant].abs().max() == 0
        torch.testing.assert_close(encoder(x).std(0), torch.ones(20), rtol=0, atol=0.05)


def test_a_readout_is_fitted_again_from_batches_and_leaves_the_network_unchanged() -> None:
    encoder, x = build_encoder("conv_depths", (1, 8, 8), (8, 16), 4, "max"), images(200, (1, 8, 8))
    encoder.fit_to_data(x)
    encoder.fit_readout([x])
    before = {name: value.clone() for name, value in encoder.conv.state_dict().items()}
    encoder.train().fit_readout(x[:100].split(30))
    assert encoder.training and all(torch.equal(value, before[name])
                                    for name, value in encoder.conv.state_dict().items())
    few, whole = encoder.components.clone(), build_encoder("conv_depths", (1, 8, 8), (8, 16), 4, "max")
    whole.load_state_dict(encoder.state_dict())
    whole.fit_readout([x[:100]])
    torch.testing.assert_close(whole.components, few, rtol=1e-3, atol=1e-4)
    encoder.fit_readout([x[:20]])  # enough for two components
    assert encoder.components[:, 2:].abs().max() == 0 and encoder.components[:, :2].abs().max() > 0


def test_calibrated_norms_have_the_mean_of_the_batches_statistics() -> None:
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4)).eval()
    x = images(1000, (1, 8, 8))
    calibrate_norms(network, x)
    halves = x[::2], x[1::2]  # as a folder's images come class by class
    with torch.no_grad():
        means = torch.stack([network[0](part).mean((0, 2, 3)) for part in halves])
        variances = torch.stack([network[0](part).transpose(0, 1).flatten(1).var(1) for part in halves])
    torch.testing.assert_close(network[1].running_mean, means.mean(0))
    torch.testing.assert_close(network[1].running_var, variances.mean(0))
    assert network[1].momentum == 0.1 and not network.training


def test_the_pca_of_patches_is_that_of_the_hybrid_encoders_frozen_part() -> None:
    x = images(300, (1, 8, 8))
    control, hybrid = (build_encoder(kind, (1, 8, 8), (8, 16), 16, "max") for kind in ("patch_pca", "conv_patches"))
    control.fit_to_data(x)
    hybrid.fit_to_data(x)
    torch.testing.assert_close(control(x)[:, 6:].abs(), hybrid(x)[:, 6:].abs(), rtol=1e-3, atol=1e-3)
