"""Use a latent afterwards: the encoder of a finished run, from its record and the checkpoint beside it.

    from models.saved import load_encoder
    encoder = load_encoder("results/1.2.3_mnist_simclr_seed0.json")
    z = encoder(images)  # (B, C, H, W) float32 in [0, 1] -> (B, 128)
"""

import shlex
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn

from models.encoder import build_encoder
from utils.errors import RunError, UsageError
from utils.recipe import ENCODER_FIELDS, LatentRecipe
from utils.record import Record, RecordError, read_record, sha256_file


@dataclass(frozen=True, eq=False)
class Saved:
    """A finished run: its record, the record's file name, and its encoder in eval mode on the CPU."""

    record: Record
    name: str
    encoder: nn.Module


def load_encoder(record: str | Path) -> nn.Module:
    """The encoder of a record, in eval mode on the CPU.  Raises RunError where record or checkpoint do not fit."""
    return load_saved(Path(record)).encoder


def load_saved(path: Path) -> Saved:
    """Record and encoder of a finished run.  Raises RunError, in one line, where either is missing or does not fit."""
    try:
        record = read_record(path)
    except RecordError as error:
        raise RunError(f"{path}: no record to start from: {error}") from None
    artifact = record.artifacts.get("checkpoint")
    if artifact is None:
        raise RunError(f"{path}: this run has no checkpoint")
    checkpoint = path.parent / artifact.name
    if not checkpoint.is_file():
        raise RunError(f"{checkpoint}: no such file; weights are not committed, so run the record's command again: "
                       f"{shlex.join(['python', *record.run.argv])}")
    if sha256_file(checkpoint) != artifact.sha256:
        raise RunError(f"{checkpoint}: its SHA-256 is not the one in {path.name}")
    try:
        known = {name: record.recipe.fields[name] for name in ENCODER_FIELDS}
        known["widths"] = tuple(known["widths"])
        if not all(type(number) is int for number in (*known["widths"], known["latent_dim"])):
            raise TypeError("widths and latent_dim must be whole numbers")
        LatentRecipe(**(known | {"encoder": "mlp"} if known["encoder"] == "pca" else known))  # checks the values
        encoder = build_encoder(known["encoder"], tuple(record.data.image_shape), known["widths"], known["latent_dim"],
                                known["pooling"])
    except (KeyError, TypeError, UsageError) as error:
        raise RunError(f"{path}: its recipe describes no encoder of this project: {error}") from None
    encoder.load_state_dict(encoder_weights(checkpoint, encoder))
    return Saved(record, path.name, encoder.eval())


def encoder_weights(checkpoint: Path, encoder: nn.Module) -> dict[str, Tensor]:
    """The encoder's part of a checkpoint.  RunError unless names and shapes are `encoder`'s and all is finite."""
    try:
        tensors = load(checkpoint.read_bytes())
    except (SafetensorError, OSError) as error:
        raise RunError(f"{checkpoint}: cannot be read as safetensors: {error}") from None
    own = {name.removeprefix("encoder."): t for name, t in tensors.items() if name.startswith("encoder.")}
    expected = encoder.state_dict()
    for name in sorted(expected.keys() | own.keys()):
        if name not in own or name not in expected or own[name].shape != expected[name].shape:
            raise RunError(f"{checkpoint}: encoder.{name} is missing, unknown or of another shape than the recipe's")
        if not torch.isfinite(own[name]).all():
            raise RunError(f"{checkpoint}: encoder.{name} is not finite")
    return own
