"""Export trained modules as lists of layers for network.js, and arrays as text for the page.

A layer is a dict of its kind, its sizes, and references to its arrays in the Store.  Images are (H, W, C) in the page.
Nothing is rounded: the page computes with the weights of the checkpoint.
"""

import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from evaluation.scores import Standardised
from models.decoders import ConvDecoder, MLPDecoder
from models.encoders import ConvBlock, ConvDepthsEncoder, ConvEncoder, MLPEncoder, Normalise
from models.heads import LinearHead, MLPClassifier

Layer = dict[str, Any]
ESCAPE = 0xE000  # before a character whose highest bit is flipped


class Store:
    """Arrays of a page, concatenated by type.  A reference is (part, first number, how many)."""

    def __init__(self) -> None:
        self.parts: dict[str, list[np.ndarray]] = {"single": [], "half": [], "bytes": []}
        self.sizes = dict.fromkeys(self.parts, 0)

    def put(self, array: Tensor | np.ndarray) -> tuple[str, int, int]:
        """Add an array: 8-bit integers unchanged, others as float16 if this rounds none of them, else as float32."""
        flat = np.ascontiguousarray(array.detach().numpy() if isinstance(array, Tensor) else array).reshape(-1)
        part = "bytes"
        if flat.dtype.itemsize > 1:
            flat = flat.astype("<f4")
            with np.errstate(over="ignore"):  # beyond float16's range is infinity, which is not equal
                part = "half" if np.array_equal(flat.astype("<f2"), flat) else "single"
        start = self.sizes[part]
        self.parts[part].append(flat.astype("<f2") if part == "half" else flat)
        self.sizes[part] += len(flat)
        return part, start, len(flat)

    def text(self) -> tuple[str, int]:
        """All parts, deflated, as UTF-16 text that HTML's parser leaves unchanged, and the number of deflated bytes.

        The low bytes of all float16 numbers come before their high bytes, which then compress well.
        """
        parts = {name: np.concatenate([np.empty(0, np.uint8), *(array.view(np.uint8) for array in arrays)])
                 for name, arrays in self.parts.items()}
        parts["half"] = parts["half"].reshape(-1, 2).T.reshape(-1)
        packed = zlib.compress(b"".join(part.tobytes() for part in parts.values()), 9)
        words = np.frombuffer(packed + b"\0" * (len(packed) % 2), "<u2")
        # surrogates, and characters that the HTML parser would replace or interpret as markup
        escaped = (words >> 11 == 0xD800 >> 11) | np.isin(words, [0, ord("\r"), ord("<"), ESCAPE])
        ends = np.cumsum(1 + escaped) - 1
        out = np.full(ends[-1] + 1, ESCAPE, "<u2")
        out[ends] = np.where(escaped, words ^ 0x8000, words)
        return out.tobytes().decode("utf-16-le"), len(packed)


def encoder_layers(encoder: nn.Module, store: Store) -> list[Layer] | None:
    """The layers from an image to its latent; None where the page lacks a layer of this encoder."""
    if isinstance(encoder, MLPEncoder):
        return [*_normalise(encoder.normalise, store), {"kind": "pool", "how": "flatten"},
                *_dense_layers(encoder.hidden, store), _dense(encoder.latent, store)]
    if isinstance(encoder, ConvEncoder):
        return [*_conv_layers(encoder, store, []), {"kind": "pool", "how": encoder.pooling},
                _dense(encoder.latent, store)]
    if isinstance(encoder, ConvDepthsEncoder):
        return [*_conv_layers(encoder.conv, store, encoder.grids), {"kind": "pool", "how": "max"}, {"kind": "kept"},
                {"kind": "affine", "shift": store.put(-encoder.mean)},
                {"kind": "dense", "outputs": encoder.components.shape[1], "weight": store.put(encoder.components.T)}]
    return None


def decoder_layers(decoder: ConvDecoder | MLPDecoder, store: Store) -> list[Layer]:
    """The layers from a latent to an image with values in [0, 1]."""
    if isinstance(decoder, MLPDecoder):
        channels, height, width = decoder.image_shape
        return [*_dense_layers(decoder.hidden, store), _dense(decoder.pixels, store, act="sigmoid"),
                {"kind": "image", "shape": [height, width, channels]}]
    channels, height, width = decoder.start
    assert decoder.pixels.bias is not None
    return [_dense(decoder.expand, store), {"kind": "image", "shape": [height, width, channels]},
            {"kind": "affine", **_norm(decoder.norm0, store), "act": "gelu"},
            {"kind": "double"}, _conv(decoder.conv1.weight, store, act="gelu", **_norm(decoder.norm1, store)),
            {"kind": "double"}, _conv(decoder.conv2.weight, store, act="gelu", **_norm(decoder.norm2, store)),
            _conv(decoder.pixels.weight, store, act="sigmoid", shift=store.put(decoder.pixels.bias))]


def classifier_layers(classifier: nn.Module, store: Store) -> list[Layer]:
    """The layers from a latent to the classes' logits."""
    if isinstance(classifier, LinearHead):
        return [_dense(classifier.linear, store)]
    assert isinstance(classifier, Standardised) and isinstance(classifier.classifier, MLPClassifier)
    first, norm0, _, _, second, norm1, _, _, last = classifier.classifier.layers
    return [{"kind": "affine", "shift": store.put(-classifier.mean)},
            {"kind": "affine", "scale": store.put(classifier.scale)},
            _dense(first, store, act="relu", norm=norm0), _dense(second, store, act="relu", norm=norm1),
            _dense(last, store)]


def _normalise(module: Normalise, store: Store) -> list[Layer]:
    return [{"kind": "affine", "shift": store.put(-module.mean)},
            {"kind": "affine", "scale": store.put(1 / module.std)}]


def _norm(norm: nn.Module, store: Store, bias: Tensor | float = 0.0) -> Layer:
    """Scale and shift of a batch norm in eval mode, of x + bias."""
    assert isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d)
    assert norm.running_mean is not None and norm.running_var is not None
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    return {"scale": store.put(scale), "shift": store.put(norm.bias + (bias - norm.running_mean) * scale)}


def _dense(linear: nn.Module, store: Store, act: str = "", norm: nn.Module | None = None) -> Layer:
    assert isinstance(linear, nn.Linear)
    after = _norm(norm, store, linear.bias) if norm else {"shift": store.put(linear.bias)}
    return {"kind": "dense", "outputs": linear.out_features, "weight": store.put(linear.weight), "act": act, **after}


def _dense_layers(hidden: nn.Sequential, store: Store) -> Iterator[Layer]:
    """Of models.encoders.hidden_layers."""
    return (_dense(layer, store, act="gelu") for layer in hidden if isinstance(layer, nn.Linear))


def _conv(weight: Tensor, store: Store, padding: int = 1, **more: Any) -> Layer:
    """weight: (outputs, C, k, k); more: act, and pooled, scale and shift, which come before it."""
    return {"kind": "conv", "outputs": len(weight), "side": weight.shape[2], "padding": padding,
            "weight": store.put(weight.permute(0, 2, 3, 1)), **more}


def _conv_layers(encoder: ConvEncoder, store: Store, grids: list[int]) -> list[Layer]:
    """All layers of ConvEncoder.maps.  grids: of each block's output, the averages over such a grid are kept."""
    layers = [*_normalise(encoder.normalise, store), _conv(encoder.whitening.weight, store, padding=0, act="gelu")]
    for depth, block in enumerate(encoder.blocks):
        assert isinstance(block, ConvBlock)
        layers += [_conv(block.conv1.weight, store, pooled=True, act="gelu", **_norm(block.norm1, store)),
                   _conv(block.conv2.weight, store, act="gelu", **_norm(block.norm2, store))]
        layers += [{"kind": "keep", "grid": grid} for grid in grids[depth:depth + 1]]
    return layers
