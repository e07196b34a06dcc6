"""The contrastive methods: each one's heads, its loss, and its update after a step.

A method is a class here, with the attributes and methods of TwoViews, and an entry in METHODS, or only a loss in
COMPARISONS; its texts, its equation and its hyper-parameters are in contrastive_recipe.py.

Departures from the papers: projection heads have two layers in every method (VICReg's has three, of 8192); the momentum
is 0.99 because training is short, and BYOL's momentum does not increase.
"""

import copy
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn

from models.encoders import ConvPatchEncoder, Encoder
from models.heads import ProjectionHead
from models.patches import patch_targets
from training.contrastive_recipe import ContrastiveRecipe
from training.loop import Loop, Setup
from training.losses import byol_regression, cross_view_info_nce, dcl, info_nce, nt_xent, vicreg
from utils.compute import distributed
from utils.compute.optimiser import MasterOptimiser
from utils.images.on_device import DeviceData


class TwoViews:
    """Two views of each image pass encoder and projection head, and a symmetric loss compares the projections."""

    def __init__(self, encoder: Encoder, recipe: ContrastiveRecipe, data: DeviceData, setup: Setup) -> None:
        self.encoder, self.recipe = encoder.trunk, recipe
        self.head = ProjectionHead(recipe.latent_dim, recipe.projection_hidden_dim, recipe.projection_dim)
        # trained along with the encoder, by name, in the order of their initialisation; this head has another name
        # where it does not project the scored latent: scoring.py scores only "projection_head"
        self.heads: dict[str, nn.Module] = {"projection_head" if encoder.trunk is encoder else "pair_head": self.head}
        self.flops_once = 0.0  # spent before the first step

    def start(self, loop: Loop) -> None:
        """Set up what needs the optimiser or the loop's generator: here nothing."""

    def after_step(self) -> None:
        """Called after each optimiser step: here nothing to update."""

    def loss(self, view0: Tensor, view1: Tensor, index: Tensor) -> Tensor:
        """Mean loss over the whole batch, across all processes.  Views: (B, C, H, W) each; index: (B,), of images."""
        z0, z1 = self.head(self.encoder(torch.cat([view0, view1]))).chunk(2)  # (B, projection_dim) each
        return COMPARISONS[self.recipe.method](self.recipe, distributed.gather(z0), distributed.gather(z1))


# the loss of two (B, projection_dim) projections, for the methods that differ in nothing else
COMPARISONS: dict[str, Callable[[ContrastiveRecipe, Tensor, Tensor], Tensor]] = {
    "simclr": lambda r, z0, z1: nt_xent(z0, z1, r.temperature),
    "dcl": lambda r, z0, z1: dcl(z0, z1, r.temperature),
    "vicreg": lambda r, z0, z1: vicreg(z0, z1, r.invariance_weight, r.variance_weight, r.covariance_weight)}


class MomentumEncoder:
    """An exponential moving average of a part of the trained network, without gradients (He et al. 2020, eq. 2).

    The average is kept in float32 and rounded to the compute precision: in bfloat16, a step of 1 % would round away.
    batch_statistics: the norms use the batch's mean and deviation, as in training; False: their running averages.
    """

    def __init__(self, online: nn.Module, optimiser: MasterOptimiser, momentum: float, batch_statistics: bool) -> None:
        self.momentum, self.online = momentum, online
        self.network = copy.deepcopy(self.online).train(batch_statistics).requires_grad_(False)
        self.online_masters = optimiser.masters_of(online)
        self.masters = [master.detach().clone() for master in self.online_masters]

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, D), without a gradient."""
        return self.network(images)

    @torch.no_grad()
    def follow(self) -> None:
        """Move one step towards the online network; call it after each optimiser step."""
        for parameter, master, online in zip(self.network.parameters(), self.masters, self.online_masters, strict=True):
            master.lerp_(online.detach(), 1 - self.momentum)
            parameter.copy_(master)
        for mine, other in zip(self.network.buffers(), self.online.buffers(), strict=True):
            if mine.is_floating_point():
                mine.lerp_(other, 1 - self.momentum)
            else:
                mine.copy_(other)

    def tensors(self) -> dict[str, Tensor]:
        """The tensors that the next step depends on, by name, without a copy."""
        masters = {f"master.{i}": master for i, master in enumerate(self.masters)}
        return self.network.state_dict() | masters


class WithTarget(TwoViews):
    """A momentum target network follows encoder and head.  batch_statistics: whether its norms use the batch's own."""

    batch_statistics: ClassVar[bool]

    def start(self, loop: Loop) -> None:
        self.target = MomentumEncoder(nn.Sequential(self.encoder, self.head), loop.optimiser,
                                      self.recipe.target_momentum, self.batch_statistics)
        loop.keep("target", self.target.tensors())

    def after_step(self) -> None:
        self.target.follow()


class BYOL(WithTarget):
    """A prediction head predicts the output of a momentum target network (Grill et al. 2020)."""

    batch_statistics = True  # with averaged statistics it collapsed (benchmarks/NOTES.md)

    def __init__(self, encoder: Encoder, recipe: ContrastiveRecipe, data: DeviceData, setup: Setup) -> None:
        super().__init__(encoder, recipe, data, setup)
        self.predict = ProjectionHead(recipe.projection_dim, recipe.prediction_hidden_dim, recipe.projection_dim)
        self.heads["prediction_head"] = self.predict

    def loss(self, view0: Tensor, view1: Tensor, index: Tensor) -> Tensor:
        """No gathering: an image is compared only with itself."""
        views = torch.cat([view0, view1])
        z0, z1 = self.head(self.encoder(views)).chunk(2)
        target0, target1 = self.target(views).chunk(2)
        return (byol_regression(self.predict(z0), target1) + byol_regression(self.predict(z1), target0)) / 2


class MoCo(WithTarget):
    """InfoNCE against a queue of earlier keys from a momentum encoder (He et al. 2020)."""

    # with the batch's own statistics, queries could recognise the keys of their batch by the common mean; to prevent
    # this, the paper shuffles images between devices
    batch_statistics = False

    def start(self, loop: Loop) -> None:
        super().start(loop)
        self.queue = torch.randn(self.recipe.queue_size, self.recipe.projection_dim, generator=loop.generator,
                                 device=loop.device)
        loop.keep("moco", {"queue": self.queue})

    def loss(self, view0: Tensor, view1: Tensor, index: Tensor) -> Tensor:
        """Queries are of view 0, keys of view 1."""
        keys = self.target(view1)
        loss = info_nce(self.head(self.encoder(view0)), keys, self.queue, self.recipe.temperature)
        if self.head.training:  # the newest keys replace the oldest; validation leaves the queue unchanged
            self.queue.copy_(torch.cat([distributed.gather(keys), self.queue])[: len(self.queue)])
        return loss


class CMC(TwoViews):
    """DCL of two views, plus InfoNCE between each view and the intact image's patch features (after Tian et al. 2020).

    This is the paper's full graph of three views; each of the two edges to the features has half the weight.
    Departures: the intact images' encoder is fitted to the data, not learned (models/patches.py), and the latent holds
    its strongest components instead of its linear head's output, which would only duplicate the convolutional half.
    """

    def __init__(self, encoder: ConvPatchEncoder, recipe: ContrastiveRecipe, data: DeviceData, setup: Setup) -> None:
        def head() -> ProjectionHead:
            return ProjectionHead(encoder.conv_dim, recipe.projection_hidden_dim, recipe.projection_dim)
        self.encoder, self.recipe = encoder.conv, recipe  # augmented views pass only the convolutional half
        self.head = head()
        self.targets, self.flops_once = patch_targets(encoder.components, data, setup.precision)
        self.view_head = head()  # views are compared with features in a different space than with each other
        self.feature_head = nn.Linear(self.targets.shape[1], recipe.projection_dim)
        self.heads = {"pair_head": self.head, "view_head": self.view_head, "feature_head": self.feature_head}

    def start(self, loop: Loop) -> None:
        self.targets = self.targets.to(loop.dtype)

    def loss(self, view0: Tensor, view1: Tensor, index: Tensor) -> Tensor:
        """The pair's loss plus the mean over both views of their loss with the features."""
        temperature = self.recipe.temperature
        latents = self.encoder(torch.cat([view0, view1]))  # (2 B, conv_dim)
        z0, z1 = (distributed.gather(z) for z in self.head(latents).chunk(2))
        features = distributed.gather(self.feature_head(self.targets[index]))
        views = [distributed.gather(z) for z in self.view_head(latents).chunk(2)]
        with_features = sum(cross_view_info_nce(z, features, temperature) for z in views) / 2
        return dcl(z0, z1, temperature) + with_features


METHODS: dict[str, type] = dict.fromkeys(COMPARISONS, TwoViews) | {"byol": BYOL, "moco": MoCo, "cmc": CMC}
