"""The convolution of small maps in bfloat16 agrees with torch's, in its gradients too."""

import copy
from unittest.mock import patch

import pytest
import torch
from torch import nn

from utils.compute import convolution
from utils.compute.convolution import Conv3x3, filter_gradient
from utils.compute.precision import cast


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


@pytest.mark.parametrize("channels, side", [(16, 2), (16, 7), (16, 8), (264, 2)])
def test_convolution_in_bfloat16_has_the_gradients_of_one_in_float32_within_rounding(channels, side,
                                                                                             monkeypatch) -> None:
    monkeypatch.setattr(convolution, "has_amx", lambda: True)  # otherwise Winograd's is used: test_winograd.py
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
