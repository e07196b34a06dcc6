"""Frozen patch features of every image, computed once: the targets of two methods, both without labels.

1.2.1 patches reconstructs them from the latent, 1.2.3 cmc contrasts views with them.
"""

import torch
from torch import Tensor

from models.patches import PatchComponents
from training.loop import Setup
from utils.compute import distributed
from utils.compute.flops import forward_flops
from utils.compute.precision import DTYPES
from utils.images.on_device import DeviceData, evaluation_batch, to_float


def patch_targets(fitted: PatchComponents, data: DeviceData, setup: Setup) -> tuple[Tensor, float]:
    """(N, components) float32, row i for data.images[i] without augmentation, and the FLOPs spent."""
    distributed.copy_first(fitted.buffers())  # the sign of an eigenvector may differ between machines
    print(f"patch features of {len(data.images):,} images, once", flush=True)  # minutes, before the training's estimate
    targets = torch.empty(len(data.images), fitted.components.shape[1], device=setup.device)
    batch = evaluation_batch(data.image_shape)
    for part, target in zip(data.images.split(batch), targets.split(batch), strict=True):
        target.copy_(fitted(to_float(part), DTYPES[setup.precision]))
    return targets, len(targets) * forward_flops(fitted.features, *data.image_shape)
