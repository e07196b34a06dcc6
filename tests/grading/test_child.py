"""What the child measures on latents and reconstructions."""

from pathlib import Path

import numpy as np
import torch

from grading.child import are_reconstructions, clustered
from tests.factory import HONEST
from utils.images.datasets import load_dataset


def test_latents_nearest_to_the_mean_of_their_class_are_counted() -> None:
    generator = torch.Generator().manual_seed(0)
    classes = torch.arange(300) % 3
    z = torch.eye(3, 8)[classes] + 0.1 * torch.randn(300, 8, generator=generator)
    assert clustered(5 * z, classes) == 300
    assert clustered(z, classes.roll(150).where(torch.arange(300) < 30, classes)) == 300
    astray = classes.clone()
    astray[:10] = (astray[:10] + 1) % 3  # ten are predicted as another class, whose mean is far
    assert clustered(z, astray) == 290


def test_reconstructions_must_be_of_the_real_images_and_close_to_them(honest: Path) -> None:
    images = torch.from_numpy(load_dataset("digits", honest).test_images)
    with np.load(honest / f"{HONEST['1.2.1']}.npz") as file:
        arrays = {name: file[name] for name in file.files if name.startswith("reconstruction_")}
    assert are_reconstructions(arrays, images)
    rng = np.random.default_rng(0)
    shape = arrays["reconstruction_outputs"].shape
    for name, forged in (("outputs", rng.integers(0, 256, shape, np.uint8)),
                         ("inputs", arrays["reconstruction_outputs"]),
                         ("index", arrays["reconstruction_index"] + len(images)),
                         ("index", arrays["reconstruction_index"][:0])):
        assert not are_reconstructions(arrays | {f"reconstruction_{name}": forged}, images), name
    assert not are_reconstructions({}, images)
