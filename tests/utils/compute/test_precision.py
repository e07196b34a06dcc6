"""The number format follows the measurement; casting leaves norms in float32."""

import torch
import torch.nn.functional as F
from torch import nn

from utils.compute.precision import cast, choose_precision, measure_conv


def test_cast_leaves_norms_and_buffers_in_float32() -> None:
    net = cast(nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5)), torch.bfloat16)
    assert net[0].weight.dtype == torch.bfloat16
    assert net[1].weight.dtype == net[1].running_mean.dtype == torch.float32


def test_precision_follows_the_measurement() -> None:
    assert choose_precision({"float32": 100.0, "bfloat16": 300.0}) == "bfloat16"
    assert choose_precision({"float32": 100.0, "bfloat16": 5.0}) == "float32"
    assert choose_precision({"float32": 100.0, "bfloat16": 101.0}) == "float32"


def test_measurement_gives_a_speed_for_each_format() -> None:
    usual, used = torch.get_num_threads(), set()

    def convolution(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        used.add(torch.get_num_threads())
        return F.conv2d(x, weight, padding=1)

    speeds = measure_conv(torch.device("cpu"), convolution, threads=usual + 1)
    assert set(speeds) == {"float32", "bfloat16"}
    assert speeds["float32"] > 0
    assert (used, torch.get_num_threads()) == ({usual + 1}, usual)
