"""Weights in and out of a file: what is rounded, what is not, and that the file holds what was scored."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from models.saved import _described_encoder, fill, save_weights
from utils.compute.precision import round_as_saved
from utils.errors import UsageError
from utils.recipe import ENCODER_WIDTHS


def network() -> nn.Sequential:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8, 4))
    layers[1].running_var.copy_(torch.rand(8) * 1e-6)  # below float16's normal numbers
    return layers


def test_the_file_holds_the_rounded_weights_bit_for_bit(tmp_path: Path) -> None:
    module, loaded = network(), network()
    exact = {name: value.clone() for name, value in module.state_dict().items()}
    round_as_saved(module)
    save_weights(tmp_path / "w.safetensors", {"encoder": module})
    nn.init.zeros_(loaded[0].weight)
    fill(tmp_path / "w.safetensors", "encoder", loaded)
    stored = load_file(tmp_path / "w.safetensors")
    for name, value in loaded.state_dict().items():
        assert value.dtype == exact[name].dtype and torch.equal(value, module.state_dict()[name])
        assert stored[f"encoder.{name}"].dtype == (torch.float16 if value.ndim > 1 else value.dtype)
        if value.ndim > 1:  # float16 has 11 significant bits
            assert ((value - exact[name]).abs() <= exact[name].abs() * 2**-11 + 2**-25).all()
            assert not torch.equal(value, exact[name])
        else:
            assert torch.equal(value, exact[name])


def test_weights_of_an_older_file_in_float32_are_read_as_they_are(tmp_path: Path) -> None:
    module, loaded = network(), network()
    save_file({f"encoder.{name}": value for name, value in module.state_dict().items()}, tmp_path / "w.safetensors")
    fill(tmp_path / "w.safetensors", "encoder", loaded)
    assert all(torch.equal(value, module.state_dict()[name]) for name, value in loaded.state_dict().items())


@pytest.mark.parametrize("encoder, widths, words", [
    ("conv", [8] * 4, "--widths names 4 blocks"), ("conv", [8, 0], "--widths 0: must be"),
    *((kind, [], f"--widths: {kind} takes") for kind in ENCODER_WIDTHS if kind.startswith("conv"))])
def test_a_record_whose_widths_cannot_be_is_refused(encoder: str, widths: list[int], words: str) -> None:
    fields = {"encoder": encoder, "widths": widths, "pooling": "max", "latent_dim": 128}
    record = SimpleNamespace(recipe=SimpleNamespace(fields=fields), data=SimpleNamespace(image_shape=[1, 8, 8]))
    with pytest.raises(UsageError, match=words):
        _described_encoder(record)
