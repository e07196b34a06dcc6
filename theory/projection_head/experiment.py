"""Why the projection head is discarded (Chen et al. 2020, section 4.2 and table 3): probes before and after it.

A small encoder with a head is trained with NT-Xent on views of digits that are rotated, shifted and noisy.  A linear
probe reads class and rotation from the pixels, the encoder's output h and the head's g(h), before and after training.
"""

from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor, nn
from torchvision.ops import MLP

from theory.digits import PIXELS, load, probe_accuracy, random_view, turn
from theory.projection_head.result import FEATURES
from training.losses import nt_xent

WIDTH, HIDDEN = 64, 256
STEPS, BATCH, LEARNING_RATE, TEMPERATURE = 250, 256, 3e-3, 0.2
TURNS = 4


def build(seed: int) -> tuple[nn.Module, nn.Module]:
    """Encoder 64 -> WIDTH and head WIDTH -> WIDTH."""
    torch.manual_seed(seed)
    encoder = nn.Sequential(MLP(PIXELS, [HIDDEN, WIDTH], nn.BatchNorm1d), nn.BatchNorm1d(WIDTH), nn.ReLU())
    return encoder, MLP(WIDTH, [WIDTH, WIDTH], nn.BatchNorm1d)


def turned_view(images: Tensor, generator: Generator) -> Tensor:
    """A random quarter turn of each of (B, 64) images, then shift and noise."""
    quarters = torch.randint(0, TURNS, (len(images),), generator=generator)
    return random_view(turn(images, quarters), generator)


def train(encoder: nn.Module, head: nn.Module, images: Tensor, seed: int) -> None:
    """STEPS of Adam on NT-Xent of the head's output.  images: (N, 64) float32."""
    generator = Generator().manual_seed(seed)
    optimiser = torch.optim.Adam([*encoder.parameters(), *head.parameters()], LEARNING_RATE, fused=True)
    for _ in range(STEPS):
        batch = images[torch.randint(0, len(images), (BATCH,), generator=generator)]
        z0, z1 = (head(encoder(turned_view(batch, generator))) for _ in range(2))
        optimiser.zero_grad()
        nt_xent(z0, z1, TEMPERATURE).backward()
        optimiser.step()


@torch.no_grad()
def read_out(encoder: nn.Module, head: nn.Module, seed: int) -> list[dict[str, Any]]:
    """Accuracy for class and rotation from pixels, h and g(h), by probes fitted to rotated training digits.

    Each training digit is rotated once, at random, and each test digit in all four ways.
    """
    train_images, train_labels, test_images, test_labels = load()
    turns = torch.randint(0, TURNS, (len(train_images),), generator=Generator().manual_seed(seed))
    test_turns = torch.arange(TURNS).repeat_interleave(len(test_images))
    pixels = [turn(torch.from_numpy(train_images).float(), turns),
              turn(torch.from_numpy(test_images).float().repeat(TURNS, 1), test_turns)]
    encoder.eval()
    head.eval()
    before = [encoder(x) for x in pixels]
    after = [head(h) for h in before]
    encoder.train()
    head.train()
    return [{"features": name,
             "class_accuracy": probe_accuracy(fit.numpy(), train_labels, score.numpy(), np.tile(test_labels, TURNS)),
             "turn_accuracy": probe_accuracy(fit.numpy(), turns.numpy(), score.numpy(), test_turns.numpy())}
            for name, (fit, score) in zip(FEATURES, (pixels, before, after), strict=True)]


def run(seed: int) -> dict[str, Any]:
    """Train one network with its head, and fit linear probes before and after."""
    encoder, head = build(seed)
    untrained = read_out(encoder, head, seed)
    train(encoder, head, torch.from_numpy(load()[0]).float(), seed)
    return {"width": WIDTH, "steps": STEPS, "turns": TURNS, "test_images": TURNS * len(load()[2]),
            "untrained": untrained, "trained": read_out(encoder, head, seed)}
