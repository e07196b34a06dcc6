"""Counting the operations of a forward pass."""

from itertools import chain

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def forward_flops(module: nn.Module, *shape: int) -> float:
    """FLOPs of a forward pass per float32 item of this shape: 2 x multiply-adds of convolutions, matrix products."""
    device = next(chain(module.parameters(), module.buffers())).device  # a control has no parameters
    was_training = module.training
    # two images: so few take direct convolutions (convolution.py), whose operations are what counts
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module.eval()(torch.zeros(2, *shape, device=device))
    module.train(was_training)
    return counter.get_total_flops() / 2
