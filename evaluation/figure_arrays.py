"""Arrays that the report's figures draw: 2-D maps, neighbours, reconstructions, interpolations.

Each function returns arrays under the names of `ARRAYS` in utils/records and, if there is one, the figure's metric.
"""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evaluation.scores import Latents
from models.encoders import averaged
from utils.images.on_device import DeviceData, evaluation_batch, evenly_spaced, to_float
from utils.records.schema import SCORES, Metric

MAP_POINTS = 1500  # test images on the maps
MAP_SIDE = 64  # pixels, of the images behind the map of raw pixels
MAP_NEIGHBOURS = 6  # of each, to be shown by the explorer
AGREEMENT_NEIGHBOURS = 10
ALIKE = 1e-5  # rows that deviate less, relative to the largest entry, are equal: float32 rounds sums of 100 terms so
RECONSTRUCTIONS = 8  # best, as many median and as many worst
PAIRS_SHOWN, PAIRS_MEASURED = 4, 100  # interpolated within a class, and as many between classes
INTERPOLATION_STEPS = 9  # images from one end to the other
NEIGHBOUR_QUERIES, NEIGHBOURS_SHOWN = 10, 6
PRINCIPAL_AXES, PRINCIPAL_STEPS, FARTHEST = 4, 7, 2.0  # axes, images along each, standard deviations from the mean

Figures = tuple[dict[str, np.ndarray], dict[str, Metric]]


def maps(z: Tensor, data: DeviceData) -> Figures:
    """t-SNE and PCA maps of some test latents and of the same images' raw pixels, and each map's agreement."""
    index = evenly_spaced(len(z), MAP_POINTS).to(z.device)
    shown, images = z[index], data.test_images[index.to(data.test_images.device)]
    latents = shown.cpu().numpy()
    side = min(MAP_SIDE, data.image_shape[1])  # larger images are averaged down, which saves memory
    pixels = torch.cat([averaged(to_float(part), side).flatten(1) for part in images.split(100)]).cpu().numpy()
    points = {"map_points": tsne(latents), "map_pca": first_components(latents),
              "pixel_tsne": tsne(pixels), "pixel_pca": first_components(pixels)}
    labels = data.test_labels[index].cpu()
    scores = {"map_points": "tsne_agreement", "map_pca": "pca_agreement", "pixel_tsne": "pixel_tsne_agreement",
              "pixel_pca": "pixel_pca_agreement"}
    metrics = {f"test/{scores[name]}": Metric(value=agreement(torch.from_numpy(points[name]), labels), n=len(index),
                                              split="test", protocol=SCORES[scores[name]].meaning) for name in points}
    nearest = nearest_rows(shown, shown, MAP_NEIGHBOURS + 1)[0][:, 1:]  # the first is the image itself
    return {"map_index": index.cpu().numpy().astype(np.int32), **points,
            "map_neighbours": nearest.cpu().numpy().astype(np.uint16)}, metrics


def tsne(x: np.ndarray) -> np.ndarray:
    """(M, D) -> (M, 2) float32: t-SNE (van der Maaten and Hinton 2008, scikit-learn); zeros where rows are alike."""
    from sklearn.manifold import TSNE

    return fitted(TSNE(perplexity=min(30.0, (len(x) - 1) / 3), init="pca", random_state=0), x)


def first_components(x: np.ndarray) -> np.ndarray:
    """(M, D) -> (M, 2) float32: the first two principal components, of the (M, D) themselves; zeros where all alike."""
    from sklearn.decomposition import PCA

    return fitted(PCA(2, svd_solver="full"), x)


def fitted(model: Any, x: np.ndarray) -> np.ndarray:
    """model.fit_transform of (M, D) -> (M, 2) float32; zeros where rows are equal except for rounding, or not finite.

    Such rows cannot be drawn: t-SNE would divide its initial axes by 0, and scikit-learn's then ends the process.
    """
    deviation, largest = x.std(0, dtype=np.float64).max(), np.abs(x).max()
    if not (np.isfinite(x).all() and deviation > ALIKE * largest):
        return np.zeros((len(x), 2), np.float32)
    in_range = x if 1e-15 < largest < 1e15 else x / largest  # squares neither overflow nor vanish in float32
    return model.fit_transform(in_range).astype(np.float32)


def agreement(points: Tensor, labels: Tensor, k: int = AGREEMENT_NEIGHBOURS) -> float:
    """Mean share of each point's k nearest others, (M, 2) by Euclidean distance, that have its label; in [0, 1]."""
    distance = torch.cdist(points.double(), points.double(), compute_mode="donot_use_mm_for_euclid_dist")
    distance.fill_diagonal_(float("inf"))
    nearest = distance.topk(min(k, len(points) - 1), largest=False).indices
    return (labels[nearest] == labels[:, None]).double().mean().item()


def nearest_rows(bank: Tensor, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """(Q, k) indices into bank (N, D) and cosines, nearest first; an exact copy of the query comes first."""
    cosine = F.normalize(queries, dim=1).float() @ F.normalize(bank, dim=1).float().T  # (Q, N)
    if bank is queries:
        cosine.fill_diagonal_(2.0)  # itself first, even among copies
    values, index = cosine.topk(min(k, len(bank)), dim=1)
    return index, values


def neighbours(latents: dict[str, Latents], data: DeviceData) -> dict[str, np.ndarray]:
    """Some test images, evenly spaced, and their nearest training images by cosine of the latents."""
    index = evenly_spaced(len(latents["test"].z), NEIGHBOUR_QUERIES).to(data.test_images.device)
    nearest, cosine = nearest_rows(latents["train"].z, latents["test"].z[index], NEIGHBOURS_SHOWN)
    stored = data.train[nearest]  # (Q, k) into data.images
    return {"neighbour_index": index.cpu().numpy().astype(np.int32),
            "neighbour_inputs": data.test_images[index].cpu().numpy(),
            "neighbour_images": data.images[stored].cpu().numpy(),
            "neighbour_labels": data.labels[stored].cpu().numpy().astype(np.uint16),
            "neighbour_cosine": cosine.cpu().numpy().astype(np.float32)}


@torch.no_grad()
def reconstructions(decoder: nn.Module, z: Tensor, data: DeviceData) -> dict[str, np.ndarray]:
    """The best, the median and the worst reconstructions of the test images, by mean absolute error, rising.

    And those of the test images whose neighbours are shown, which are the same for every run.
    """
    size = evaluation_batch(data.image_shape)
    errors = torch.cat([(decoder(part) - to_float(images)).abs().mean((1, 2, 3)) for part, images in zip(
        z.split(size), data.test_images.split(size), strict=True)])
    order, k = errors.argsort(), max(1, min(RECONSTRUCTIONS, len(errors) // 3))
    middle = (len(order) - k) // 2
    index = torch.cat([order[:k], order[middle:middle + k], order[-k:]])
    return {"reconstruction_index": index.cpu().numpy().astype(np.int32),
            "reconstruction_inputs": data.test_images[index].cpu().numpy(),
            "reconstruction_outputs": to_uint8(decoder(z[index])),
            "reconstruction_error": errors[index].cpu().numpy().astype(np.float32),
            "neighbour_outputs": to_uint8(decoder(z[evenly_spaced(len(z), NEIGHBOUR_QUERIES).to(z.device)]))}


@torch.no_grad()
def principal_axes(decoder: nn.Module, z: Tensor) -> dict[str, np.ndarray]:
    """Latents along the first principal axes of (N, D) through their mean, and on the plane of two, decoded."""
    mean = z.mean(0).cpu().double()  # not every device has float64
    variance, axes = torch.linalg.eigh((z.cpu().double() - mean).T.cov(correction=0))  # rising, in columns
    variance, axes = variance.flip(0).clamp(min=0), axes.flip(1).T[:PRINCIPAL_AXES]  # (A, D)
    axes = axes * axes.gather(1, axes.abs().argmax(1, keepdim=True)).sign()  # of two signs always the same
    axes = axes * variance[:len(axes), None].sqrt()
    steps = FARTHEST * (2.0 * torch.arange(PRINCIPAL_STEPS) / (PRINCIPAL_STEPS - 1) - 1).double()
    lines = mean + steps[:, None] * axes[:, None]  # (A, T, D)
    plane = mean + steps[:, None] * axes[0] - steps[:, None, None] * axes[min(1, len(axes) - 1)]  # (T, T, D)
    images, more = (to_uint8(torch.stack([decoder(row.float().to(z.device)) for row in grid]))
                    for grid in (lines, plane))
    return {"principal_share": (variance / variance.sum().clamp(min=1e-300))[:len(axes)].float().numpy(),
            "principal_steps": steps.float().numpy(), "traversal_images": images, "plane_images": more}


def to_uint8(images: Tensor) -> np.ndarray:
    """(..., C, H, W) floats in [0, 1] -> (..., H, W, C) uint8."""
    return (images * 255).round().to(torch.uint8).movedim(-3, -1).cpu().contiguous().numpy()


@torch.no_grad()
def interpolations(decoder: nn.Module, z: Tensor, data: DeviceData) -> Figures:
    """Straight lines from one test latent to another, decoded: within a class and between classes; how even they are.

    The measure is the largest step between successive images over the mean step (both root mean squared over pixels),
    mean over pairs: 1 where each step changes the image as much, INTERPOLATION_STEPS - 1 where one step does it all.
    """
    pairs = interpolation_pairs(data.test_labels.cpu())
    shown, metrics = [], {}
    for kind, chosen in pairs.items():
        if not len(chosen):  # a test set with one image per class
            return {}, {}
        mix = torch.linspace(0, 1, INTERPOLATION_STEPS, device=z.device)[:, None]
        paths = torch.stack([decoder(z[a] * (1 - mix) + z[b] * mix) for a, b in chosen.tolist()])  # (P, S, C, H, W)
        shown.append(to_uint8(paths[:PAIRS_SHOWN]))
        metrics[f"test/interpolation_step_{kind}"] = Metric(
            value=unevenness(paths), n=len(chosen), split="test", protocol=SCORES[f"interpolation_step_{kind}"].meaning)
    index = torch.cat([chosen[:PAIRS_SHOWN] for chosen in pairs.values()])
    return {"interpolation_index": index.numpy().astype(np.int32),
            "interpolation_images": np.concatenate(shown)}, metrics


def interpolation_pairs(labels: Tensor) -> dict[str, Tensor]:
    """(P, 2) pairs of images of one class, and as many of two classes, always the same ones."""
    order = np.random.RandomState(0).permutation(len(labels))
    shuffled = labels.numpy()[order]
    places = [np.flatnonzero(shuffled == label) for label in np.unique(shuffled)]
    same = np.concatenate([one[:len(one) // 2 * 2].reshape(-1, 2) for one in places])  # neighbours within a class
    same = order[same[same[:, 1].argsort()]]
    other = np.stack([order, np.roll(order, -1)], axis=1)[shuffled != np.roll(shuffled, -1)]
    count = min(PAIRS_MEASURED, len(same), len(other))
    return {"within": torch.from_numpy(same[:count]), "between": torch.from_numpy(other[:count])}


def unevenness(paths: Tensor) -> float:
    """(P, S, C, H, W) -> largest over mean step, mean over the P paths; a path that does not move counts as even."""
    steps = (paths[:, 1:] - paths[:, :-1]).cpu().double().square().mean((2, 3, 4)).sqrt()  # (P, S - 1)
    mean = steps.mean(1)
    return torch.where(mean > 0, steps.amax(1) / mean.clamp(min=1e-12), 1.0).mean().clamp(min=1.0).item()
