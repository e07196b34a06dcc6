"""Counting the operations of a forward pass."""

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def forward_flops(module: nn.Module, *shape: int) -> float:
    """FLOPs of a forward pass per item of the given shape: 2 x multiply-adds of convolutions and matrix products."""
    weight = next(module.parameters(), None)  # a control has none
    device = next(module.buffers()).device if weight is None else weight.device
    dtype = torch.float32 if weight is None or len(shape) == 3 else weight.dtype  # images are always float32
    was_training = module.training
    # two images: so few take direct convolutions (convolution.py), whose operations are what counts
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module.eval()(torch.zeros(2, *shape, device=device, dtype=dtype))
    module.train(was_training)
    return counter.get_total_flops() / 2
