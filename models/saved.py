"""Weights in and out: safetensors files (no pickle), each tensor named MODULE.PARAMETER.

Tensors of two or more dimensions are stored in float16, vectors (biases, most statistics) in float32.  A run rounds its
weights in the same way before it scores them, so the scores are those of the file.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from models.encoders import Encoder, build_encoder
from utils.compute.precision import stored_type
from utils.errors import RunError, UsageError
from utils.files import sha256_file, write_bytes
from utils.recipe import ENCODER_FIELDS, FIXED_ENCODERS, LatentRecipe, check_fits
from utils.records.schema import Artifact, Record, checkpoint_file, read_record

MOST_NUMBERS = 100_000_000  # in an encoder; the largest here has 11 million
MOST_BLOCKS = 100  # of an encoder: building thousands takes minutes even without memory
TYPES = {torch.float16: "F16", torch.float32: "F32", torch.int64: "I64"}  # safetensors' names of the types saved here


def save_weights(path: Path, modules: Mapping[str, nn.Module]) -> Artifact:
    """Write parameters and buffers of each module, atomically; returns the file's name and digest."""
    tensors = {f"{name}.{key}": value.detach().to("cpu", stored_type(value)).contiguous()
               for name, module in modules.items() for key, value in module.state_dict().items()}
    write_bytes(path, save(tensors))
    return Artifact(name=path.name, sha256=sha256_file(path))


@dataclass(frozen=True, eq=False)
class Saved:
    """A finished run: its record and weights, the record's file name, and its encoder in eval mode on the CPU."""

    record: Record
    name: str
    checkpoint: Path
    encoder: Encoder


def load_encoder(record: str | Path) -> Encoder:
    """The encoder of a record, in eval mode on the CPU.  Raises RunError where record and weights do not match."""
    return load_saved(Path(record)).encoder


def load_saved(path: Path) -> Saved:
    """Record and encoder of a finished run.  Raises RunError where either is missing or does not match."""
    record = read_record(path)
    checkpoint = checkpoint_file(path, record)
    try:
        encoder = _described_encoder(record)
    except (KeyError, TypeError, UsageError) as error:
        raise RunError(f"{path}: its recipe describes no encoder of this project: {error}") from None
    fill(checkpoint, "encoder", encoder)
    return Saved(record, path.name, checkpoint, encoder.eval())


def _described_encoder(record: Record) -> Encoder:
    """The encoder of a record's recipe, not yet filled.  RunError where it would have more than MOST_NUMBERS."""
    known: dict[str, Any] = {name: record.recipe.fields[name] for name in ENCODER_FIELDS}
    known["widths"] = tuple(known["widths"])
    if len(known["widths"]) > MOST_BLOCKS:
        raise TypeError(f"it has {len(known['widths']):,} widths; at most {MOST_BLOCKS} are built")
    if not all(type(number) is int for number in (*known["widths"], known["latent_dim"])):
        raise TypeError("widths and latent_dim must be whole numbers")
    checked = known | {"encoder": "mlp"} if known["encoder"] in FIXED_ENCODERS else known
    check_fits(LatentRecipe(**checked), record.data.image_shape)
    channels, height, width = record.data.image_shape
    described = known["encoder"], (channels, height, width), known["widths"], known["latent_dim"], known["pooling"]
    with torch.device("meta"):  # shapes alone, no memory
        numbers = sum(value.numel() for value in build_encoder(*described).state_dict().values())
    if numbers > MOST_NUMBERS:
        raise RunError(f"its encoder would have {numbers:,} numbers; at most {MOST_NUMBERS:,} are loaded")
    return build_encoder(*described)


def fill(checkpoint: Path, name: str, module: nn.Module) -> None:
    """Load the part of a checkpoint that was saved under `name` into `module`.

    RunError unless names, shapes and types are the module's own and every number is finite.  All except the last are
    checked on the file's header, before any tensor is read.
    """
    expected = {f"{name}.{key}": value for key, value in module.state_dict().items()}
    try:
        with safe_open(checkpoint, "pt") as file:
            own = {key: file.get_slice(key) for key in file.keys() if key.startswith(f"{name}.")}  # noqa: SIM118
            for key in sorted(expected.keys() | own.keys()):
                if key not in own or key not in expected or tuple(own[key].get_shape()) != expected[key].shape:
                    raise RunError(f"{checkpoint}: {key} is missing, unknown or of another shape than the recipe's")
                types = {TYPES[stored_type(expected[key])], TYPES[expected[key].dtype]}
                if own[key].get_dtype() not in types:
                    raise RunError(f"{checkpoint}: {key} is of type {own[key].get_dtype()}, not "
                                   f"{' or '.join(sorted(types))}")
            tensors = {key: file.get_tensor(key) for key in expected}
    except (SafetensorError, OSError) as error:
        raise RunError(f"{checkpoint}: cannot be read as safetensors: {error}") from None
    for key, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise RunError(f"{checkpoint}: {key} is not finite")
    module.load_state_dict({key.removeprefix(f"{name}."): tensor for key, tensor in tensors.items()})
