"""The momentum encoder of BYOL and MoCo: a moving average of the trained network."""

import copy

import torch
from torch import Tensor, nn

from utils.compute.optimiser import MasterOptimiser


class MomentumEncoder:
    """An exponential moving average of a sequence of modules, without gradients (He et al. 2020, eq. 2).

    The average is kept in float32 and rounded to the compute precision: bfloat16 would lose a hundredth of a step.
    batch_statistics: the norms use the batch's mean and deviation, as in training; False: their running averages.
    """

    def __init__(self, modules: list[nn.Module], optimiser: MasterOptimiser, momentum: float,
                 batch_statistics: bool) -> None:
        self.momentum = momentum
        self.online = modules
        self.network = nn.Sequential(*copy.deepcopy(modules)).train(batch_statistics).requires_grad_(False)
        self.online_masters = optimiser.masters_of(modules)
        self.masters = [master.detach().clone() for master in self.online_masters]

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, D), without a gradient."""
        return self.network(images)

    @torch.no_grad()
    def follow(self) -> None:
        """Move one step towards the online network; call it after each optimiser step."""
        parameters = list(self.network.parameters())
        for parameter, master, online in zip(parameters, self.masters, self.online_masters, strict=True):
            master.lerp_(online.detach(), 1 - self.momentum)
            parameter.copy_(master)
        theirs = [buffer for module in self.online for buffer in module.buffers()]
        for mine, other in zip(self.network.buffers(), theirs, strict=True):
            if mine.is_floating_point():
                mine.lerp_(other, 1 - self.momentum)
            else:
                mine.copy_(other)

    def tensors(self) -> dict[str, Tensor]:
        """The tensors that the next step depends on, by name, without a copy."""
        masters = {f"master.{i}": master for i, master in enumerate(self.masters)}
        return self.network.state_dict() | masters
