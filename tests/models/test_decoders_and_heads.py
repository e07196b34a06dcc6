"""Decoders and heads have their shapes, and decoders refuse widths that do not fit."""

import pytest
import torch

from models.decoders import build_decoder
from models.heads import LinearHead, MLPClassifier, ProjectionHead
from utils.errors import UsageError


@pytest.mark.parametrize("kind, widths", [("conv", (16, 8, 8)), ("mlp", (32, 64))])
@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 28, 28)])
def test_every_decoder_gives_an_image_between_0_and_1(kind, widths, shape) -> None:
    out = build_decoder(kind, shape, widths, 128)(torch.randn(4, 128))
    assert out.shape == (4, *shape)
    assert out.min() >= 0
    assert out.max() <= 1


def test_heads_have_their_shapes() -> None:
    z = torch.randn(6, 128)
    assert ProjectionHead(128, 64, 32)(z).shape == (6, 32)
    assert LinearHead(128, 10)(z).shape == (6, 10)
    assert MLPClassifier(128, 64, 10, 0.1)(z).shape == (6, 10)


def test_widths_that_do_not_fit_are_refused_by_flag() -> None:
    with pytest.raises(UsageError, match="--decoder-widths"):
        build_decoder("conv", (3, 32, 32), (8, 8), 128)
    with pytest.raises(UsageError, match="--decoder-widths"):
        build_decoder("conv", (1, 30, 30), (8, 8, 8), 128)
