"""What the frozen patch features tell of every image, computed once: the target of two methods that use no labels.

1.2.1 patches reconstructs it from the latent, 1.2.3 cmc contrasts the latent with it.
"""

import torch
from torch import Tensor

from models.patches import IMAGES_A_COMPONENT, PatchComponents
from training.loop import DeviceData, Setup, evaluation_batch, forward_flops
from utils import distributed
from utils.augment import to_float
from utils.precision import DTYPES


def patch_targets(filters: int, components: int, data: DeviceData, setup: Setup) -> tuple[Tensor, float]:
    """(N, components) float32, row i of data.images[i] as it is, and the FLOPs that took.

    Filters and components are fitted to training images alone.  Raises UsageError for more components than there are.
    """
    whitened = PatchComponents(data.image_shape, filters, components).to(setup.device)
    whitened.fit_to_data(data.sample(max(10_000, IMAGES_A_COMPONENT * components)))
    distributed.copy_first(whitened.buffers())  # an eigenvector may point the other way on another machine
    print(f"patch features of {len(data.images):,} images, once", flush=True)  # minutes, before the training's estimate
    targets = torch.empty(len(data.images), components, device=setup.device)
    batch = evaluation_batch(data.image_shape)
    for part, target in zip(data.images.split(batch), targets.split(batch), strict=True):
        target.copy_(whitened(to_float(part), DTYPES[setup.precision]))
    return targets, len(targets) * forward_flops(whitened.features, *data.image_shape)
