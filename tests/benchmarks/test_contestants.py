"""The loops that this project is compared with compute the same thing."""

import dataclasses
from unittest.mock import patch

import pytest
import torch

from benchmarks import common, contestants
from training.loop import Setup
from training.losses import nt_xent
from utils.compute import convolution

CPU = Setup(torch.device("cpu"), "float32", {"float32": 100.0, "bfloat16": 0.0}, seed=0)


def test_the_tutorial_loss_equals_the_project_s_nt_xent() -> None:
    generator = torch.Generator().manual_seed(0)
    z0, z1 = (torch.randn(7, 5, generator=generator, dtype=torch.float64) for _ in range(2))
    assert contestants.tutorial_nt_xent(torch.cat([z0, z1]), 0.3).item() == pytest.approx(nt_xent(z0, z1, 0.3).item())


def test_the_other_loops_use_torch_s_convolutions() -> None:
    recipe = dataclasses.replace(common.even_recipe("1.2.2"), widths=(64, 64), batch_size=16)
    data = contestants.random_data(20, (3, 32, 32), CPU.device)
    encoder, _ = contestants.tutorial_classification(recipe, data, CPU).modules
    x = data.sample(16)
    with patch.object(convolution, "winograd_convolution", wraps=convolution.winograd_convolution) as winograd:
        theirs = encoder(x)
        assert not winograd.called
        for module in encoder.modules():
            if type(module) is torch.nn.Conv2d:
                module.__class__ = convolution.Conv3x3  # as the project makes it
        torch.testing.assert_close(theirs, encoder(x), rtol=1e-3, atol=1e-4)  # the same network
        assert winograd.called
