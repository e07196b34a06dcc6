"""Task 1.2.3: learn a latent by contrast of two augmented views, without labels.

    python _main.py --task 1.2.3 --dataset cifar10
    python _main.py --task 1.2.3 --dataset mnist --method vicreg

Two views of each image should agree; what keeps the latent from collapsing to a point differs per method:

    simclr  views of different images must not agree: NT-Xent (Chen et al. 2020)
    dcl     the same, without the positive pair in the denominator (Yeh et al. 2022)
    vicreg  every dimension must vary over the batch, and differently from the others (Bardes et al. 2022)
    byol    a prediction head must foretell a slowly following target (Grill et al. 2020)
    moco    as simclr, against a queue of earlier keys from a slowly following target (He et al. 2020)
    cmc     as dcl, and each view is also to pick its own image among others by what frozen patch features tell of the
            intact images; the latent has dimensions of both (contrastive multiview coding, Tian et al. 2020)

The heads are then thrown away; the 128-d latent below them is frozen and scored by `evaluation/scores.py`.
Departures from the papers: a small encoder with a linear 128-d latent, no blur at this resolution, AdamW, one head of
two layers for every method (VICReg's has three, of 8192); the momentum is 0.99, as training is short, and BYOL's does
not rise.  In cmc the intact images' encoder is fitted to the data, not learned (models/patches.py), and the latent has
its strongest components, not what its linear head makes of them: that learns what the views know anyhow.
"""

import torch
from torch import Generator, Tensor, nn

from models.encoders import build_encoder
from models.heads import ProjectionHead
from training.augment import colour_jitter, random_affine
from training.contrastive_recipe import ContrastiveRecipe
from training.loop import Loop, Setup, Trained, forward_flops, new_encoder
from training.losses import byol_regression, cross_view_info_nce, dcl, info_nce, nt_xent, vicreg
from training.momentum import MomentumEncoder
from training.patch_targets import patch_targets
from utils.compute import distributed
from utils.images.on_device import DeviceData, to_float

OBJECTIVES = {
    "simclr": "NT-Xent at temperature {r.temperature}, nats per anchor",
    "dcl": "decoupled contrastive loss at temperature {r.temperature}, nats per anchor",
    "vicreg": "VICReg, {r.invariance_weight} invariance + {r.variance_weight} variance + {r.covariance_weight} "
              "covariance",
    "byol": "BYOL, 2 - 2 cosine of prediction and target, mean of both directions",
    "moco": "InfoNCE at temperature {r.temperature} against {r.queue_size} queued keys, nats per query",
    "cmc": "decoupled contrastive loss of two views plus InfoNCE between views and patch features, at temperature "
           "{r.temperature}, nats",
}


def train(recipe: ContrastiveRecipe, data: DeviceData, setup: Setup) -> Trained:
    """Train encoder and heads; returns them all."""
    encoder = new_encoder(recipe, data, setup)
    view_encoder, view_dim = encoder, recipe.latent_dim  # what every augmented view passes
    if recipe.method == "cmc":
        view_encoder, view_dim = encoder.conv, encoder.conv_dim
    head = ProjectionHead(view_dim, recipe.projection_hidden_dim, recipe.projection_dim)
    # one that stands on a part of the latent cannot be scored as a projection of it
    modules = {"encoder": encoder, "pair_head" if recipe.method == "cmc" else "projection_head": head}
    if recipe.method == "byol":
        predict = ProjectionHead(recipe.projection_dim, recipe.prediction_hidden_dim, recipe.projection_dim)
        modules["prediction_head"] = predict
    size = view_size(recipe, data)
    # raises where the views are too small for it
    build_encoder(recipe.view_encoder, (data.image_shape[0], *size), recipe.widths, view_dim, recipe.pooling)
    per_view = forward_flops(view_encoder, data.image_shape[0], *size) + forward_flops(head, view_dim)
    # views with and without gradient
    learned, followed = {"byol": (2, 2), "moco": (1, 1)}.get(recipe.method, (2, 0))
    flops = learned * per_view
    if recipe.method == "byol":
        flops += 2 * forward_flops(predict, recipe.projection_dim)
    if recipe.method == "cmc":
        targets, target_flops = patch_targets(encoder.components, data, setup)
        # views meet features in another space than each other
        view_head = ProjectionHead(view_dim, recipe.projection_hidden_dim, recipe.projection_dim)
        feature_head = nn.Linear(targets.shape[1], recipe.projection_dim)
        modules |= {"view_head": view_head, "feature_head": feature_head}
        flops += 2 * forward_flops(view_head, view_dim) + forward_flops(feature_head, targets.shape[1])
    loop = Loop(recipe, data, setup, modules, flops, OBJECTIVES[recipe.method].format(r=recipe),
                frozen_flops=followed * per_view)
    if followed:
        # with averaged statistics BYOL collapsed (see benchmarks/NOTES.md); with a batch's own, MoCo's queries could
        # tell the keys of their batch from older ones by the common mean, against which the paper shuffles devices
        target = MomentumEncoder([encoder, head], loop.optimiser, recipe.target_momentum,
                                 batch_statistics=recipe.method == "byol")
        loop.keep("target", target.tensors())
    if recipe.method == "cmc":
        loop.flops += target_flops
        targets = targets.to(loop.dtype)
    if recipe.method == "moco":
        queue = torch.randn(recipe.queue_size, recipe.projection_dim, generator=loop.generator, device=loop.device)
        loop.keep("moco", {"queue": queue})

    def contrastive_loss(index: Tensor, generator: Generator) -> Tensor:
        view0, view1 = (random_view(data.images[index], recipe, generator, size) for _ in range(2))  # (B, C, H, W) each
        if recipe.method == "moco":
            keys = target(view1)
            loss = info_nce(head(encoder(view0)), keys, queue, recipe.temperature)
            if head.training:  # the newest keys drive out the oldest; validation leaves the queue alone
                queue.copy_(torch.cat([distributed.gather(keys), queue])[: len(queue)])
            return loss
        views = torch.cat([view0, view1])
        latents = view_encoder(views)  # (2 B, view_dim)
        z0, z1 = head(latents).chunk(2)  # (B, projection_dim) each
        if recipe.method != "byol":  # which compares an image with itself alone
            z0, z1 = distributed.gather(z0), distributed.gather(z1)
        match recipe.method:
            case "simclr":
                return nt_xent(z0, z1, recipe.temperature)
            case "dcl":
                return dcl(z0, z1, recipe.temperature)
            case "vicreg":
                return vicreg(z0, z1, recipe.invariance_weight, recipe.variance_weight, recipe.covariance_weight)
            case "cmc":  # the paper's full graph: the two views, and each of them with the features (half the weight)
                told = distributed.gather(feature_head(targets[index]))
                shown = [distributed.gather(z) for z in view_head(latents).chunk(2)]
                with_features = sum(cross_view_info_nce(z, told, recipe.temperature) for z in shown) / 2
                return dcl(z0, z1, recipe.temperature) + with_features
            case "byol":
                target0, target1 = target(views).chunk(2)
                return (byol_regression(predict(z0), target1) + byol_regression(predict(z1), target0)) / 2

    training_loss = loop.data_parallel(contrastive_loss)
    for _ in loop.epochs():
        for index in loop.batches():
            loop.step(training_loss(index, loop.generator))
            if followed:
                target.follow()
        loop.end_epoch(loop.validate(lambda index, generator: (contrastive_loss(index, generator), None)))
    return loop.finished()


def view_size(recipe: ContrastiveRecipe, data: DeviceData) -> tuple[int, int]:
    """(H, W) of the views.

    A crop that is blown up to the image's size shows its object larger than the whole images do that are scored, and
    costs more; views of three quarters of the side show it as large (Touvron et al. 2019, FixRes).
    """
    _, height, width = data.image_shape
    return round(recipe.view_scale * height), round(recipe.view_scale * width)


def random_view(images: Tensor, recipe: ContrastiveRecipe, generator: Generator,
                size: tuple[int, int] | None = None) -> Tensor:
    """(B, H, W, C) uint8 images -> one augmented view of each, (B, C, H, W) in [0, 1]; size: another (H, W)."""
    moved = random_affine(to_float(images), generator, crop_scale=recipe.crop_scale, translate=recipe.translate,
                          degrees=recipe.rotate_degrees, flip=recipe.flip, size=size)
    return colour_jitter(moved, generator, strength=recipe.colour_strength, probability=recipe.colour_probability,
                         grey_probability=recipe.grey_probability)
