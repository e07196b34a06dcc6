"""Scores of a frozen latent: MLP classifier (the headline), linear probe, k nearest neighbours, reconstructions.

All scores read the same latents: one view an image, no augmentation, the encoder in eval mode and float32.  Whatever
is chosen is chosen on the validation split; the test split is read once, here, after the last training step.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from models.heads import MLPClassifier
from training.loop import EVALUATION_BATCH, DeviceData, evenly_spaced, learning_rate_at
from utils.augment import to_float
from utils.record import Confusion, Metric

SPLITS = ("train", "val", "test")
# the classifier of every task, method and data set: two hidden layers of 1024 units
CLASSIFIER_HIDDEN, CLASSIFIER_DROPOUT, CLASSIFIER_BATCH = 1024, 0.3, 512
CLASSIFIER_EPOCHS, CLASSIFIER_RATE, CLASSIFIER_DECAY = 25, 2e-3, 0.01
NEIGHBOURS = 20
MAP_POINTS = 1500  # test images on the 2-D map
RECONSTRUCTIONS = 16  # test images shown beside their reconstructions


@dataclass(frozen=True)
class Latents:
    """Of one split.  z: (N, latent_dim) float32; labels: (N,) int64."""

    z: Tensor
    labels: Tensor


@torch.no_grad()
def encode(encoder: nn.Module, images: Tensor) -> Tensor:
    """(N, H, W, C) uint8 -> (N, latent_dim) float32.  The encoder is used in eval mode and handed back as it came."""
    was_training = encoder.training
    encoder.eval()
    z = torch.cat([encoder(to_float(batch)).float() for batch in images.split(EVALUATION_BATCH)])
    encoder.train(was_training)
    return z


def encode_splits(encoder: nn.Module, data: DeviceData) -> dict[str, Latents]:
    """Latents of train, validation and test."""
    everything = encode(encoder, data.images)
    return {"train": Latents(everything[data.train], data.labels[data.train]),
            "val": Latents(everything[data.val], data.labels[data.val]),
            "test": Latents(encode(encoder, data.test_images), data.test_labels)}


class Standardised(nn.Module):
    """A classifier behind (z - mean) / std with the statistics of the training latents."""

    def __init__(self, classifier: nn.Module, z: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", z.mean(0))
        self.register_buffer("std", z.std(0) + 1e-6 * z.std() + 1e-12)  # a dead dimension stays 0
        self.classifier = classifier

    def forward(self, z: Tensor) -> Tensor:
        return self.classifier((z - self.mean) / self.std)


def train_classifier(latents: dict[str, Latents], classes: int, seed: int, epochs: int) -> tuple[nn.Module, int]:
    """The MLP classifier on frozen latents, from the epoch that is best on validation; returns it and that epoch."""
    torch.manual_seed(seed)
    train, val = latents["train"], latents["val"]
    device = train.z.device
    model = Standardised(MLPClassifier(train.z.shape[1], CLASSIFIER_HIDDEN, classes, CLASSIFIER_DROPOUT), train.z)
    model.to(device)
    optimiser = torch.optim.AdamW(model.parameters(), CLASSIFIER_RATE, weight_decay=CLASSIFIER_DECAY)
    generator = Generator(device).manual_seed(seed)
    batch_size = min(CLASSIFIER_BATCH, len(train.z))
    steps = epochs * (len(train.z) // batch_size)
    best, best_epoch, kept, step = -1, 0, {}, 0
    for epoch in range(1, epochs + 1):
        model.train()
        order = torch.randperm(len(train.z), generator=generator, device=device)
        for batch in order[: len(order) // batch_size * batch_size].split(batch_size):
            for group in optimiser.param_groups:
                group["lr"] = learning_rate_at(step, steps, CLASSIFIER_RATE, 0.1)
            optimiser.zero_grad()
            F.cross_entropy(model(train.z[batch]), train.labels[batch], label_smoothing=0.1).backward()
            optimiser.step()
            step += 1
        correct = int((predict(model, val.z) == val.labels).sum())
        if correct > best:
            best, best_epoch = correct, epoch
            kept = {name: value.clone() for name, value in model.state_dict().items()}
    model.load_state_dict(kept)
    return model.eval(), best_epoch


@torch.no_grad()
def predict(classifier: nn.Module, z: Tensor) -> Tensor:
    """(N, latent_dim) -> (N,) predicted classes, in eval mode."""
    classifier.eval()
    return torch.cat([classifier(batch).argmax(1) for batch in z.split(4 * EVALUATION_BATCH)])


def linear_probe(latents: dict[str, Latents]) -> Callable[[Tensor], Tensor]:
    """Multinomial logistic regression (scikit-learn, L2 with C = 1) on standardised latents; returns z -> classes."""
    from sklearn.linear_model import LogisticRegression

    train = latents["train"]
    scale = Standardised(nn.Identity(), train.z)
    model = LogisticRegression(C=1.0, max_iter=2000, tol=1e-3)
    model.fit(scale(train.z).cpu().double().numpy(), train.labels.cpu().numpy())
    return lambda z: torch.from_numpy(model.predict(scale(z).cpu().double().numpy())).to(z.device)


@torch.no_grad()
def knn_predict(train: Latents, z: Tensor, classes: int, k: int = NEIGHBOURS) -> Tensor:
    """(N,) majority class of the k training latents of largest cosine; a tie goes to the class nearer in sum."""
    bank = F.normalize(train.z, dim=1)
    k = min(k, len(bank))
    out = []
    for batch in F.normalize(z, dim=1).split(EVALUATION_BATCH):
        cosine, index = (batch @ bank.T).topk(k, dim=1)  # (B, k)
        votes = F.one_hot(train.labels[index], classes).float()  # (B, k, classes)
        # the second term is below one vote in all: it only breaks ties
        out.append((votes.sum(1) + (votes * (cosine[:, :, None] + 1) / (4 * k)).sum(1)).argmax(1))
    return torch.cat(out)


def accuracy_metrics(name: str, protocol: str, predictions: dict[str, Tensor], latents: dict[str, Latents],
                     ) -> dict[str, Metric]:
    """`SPLIT/NAME` for every split predicted."""
    out = {}
    for split, predicted in predictions.items():
        correct, n = int((predicted == latents[split].labels).sum()), len(predicted)
        out[f"{split}/{name}"] = Metric(value=correct / n, n=n, correct=correct, split=split, protocol=protocol)
    return out


def confusion_of(metric: str, predicted: Tensor, labels: Tensor, classes: tuple[str, ...],
                 protocol: str) -> tuple[Confusion, dict[str, Metric]]:
    """Confusion matrix (row: true class) of the test split and the accuracy of each class."""
    counts = torch.zeros(len(classes), len(classes), dtype=torch.int64)
    counts.index_put_((labels.cpu(), predicted.cpu()), torch.ones(len(labels), dtype=torch.int64), accumulate=True)
    rows = counts.tolist()
    per_class = {f"{metric}/{name}": Metric(value=row[i] / sum(row), n=sum(row), correct=row[i], split="test",
                                            protocol=protocol)
                 for i, (name, row) in enumerate(zip(classes, rows, strict=True)) if sum(row)}
    return Confusion(metric=metric, counts=rows), per_class


@torch.no_grad()
def reconstruction_metrics(decoder: nn.Module, latents: dict[str, Latents], data: DeviceData) -> dict[str, Metric]:
    """Mean absolute error of the pixels, in [0, 1], on every split."""
    images = {"train": (data.images, data.train), "val": (data.images, data.val),
              "test": (data.test_images, torch.arange(len(data.test_images), device=data.test_images.device))}
    out = {}
    for split in SPLITS:
        stored, index = images[split]
        total = 0.0
        for z, batch in zip(latents[split].z.split(EVALUATION_BATCH), index.split(EVALUATION_BATCH), strict=True):
            total += (decoder(z) - to_float(stored[batch])).abs().mean((1, 2, 3)).sum().item()
        out[f"{split}/reconstruction_mae"] = Metric(
            value=total / len(index), n=len(index), split=split,
            protocol="mean absolute error of the pixels, in [0, 1], decoder on the latent, no augmentation")
    return out


@torch.no_grad()
def reconstructions(decoder: nn.Module, z: Tensor, data: DeviceData) -> dict[str, np.ndarray]:
    """The record's reconstruction arrays, for a few evenly spaced test images."""
    index = evenly_spaced(len(z), RECONSTRUCTIONS).numpy()
    outputs = (decoder(z[index]) * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
    return {"reconstruction_index": index.astype(np.int32),
            "reconstruction_inputs": data.test_images[index].cpu().numpy(),
            "reconstruction_outputs": outputs.cpu().contiguous().numpy()}


def latent_map(z: Tensor) -> dict[str, np.ndarray]:
    """The record's map arrays: t-SNE (van der Maaten and Hinton 2008, scikit-learn) of some test latents."""
    from sklearn.manifold import TSNE

    index = evenly_spaced(len(z), MAP_POINTS).numpy()
    shown = z[index].cpu().numpy()
    start = "pca" if shown.std(0).max() > 0 else "random"  # a collapsed latent has no principal axes to start from
    points = TSNE(perplexity=min(30.0, (len(index) - 1) / 3), init=start, random_state=0).fit_transform(shown)
    return {"map_index": index.astype(np.int32), "map_points": points.astype(np.float32)}
