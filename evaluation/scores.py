"""The single scores of a latent; scoring.py calls them: MLP classifier, linear probe, kNN, reconstructions, geometry.

All scores except alignment read the same latents: one view per image, no augmentation, the encoder in eval mode and
float32.  Within a run, all selection uses the validation split; the test split is read once, here, after the last
training step.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from models.heads import MLPClassifier
from utils.compute.optimiser import MasterOptimiser, schedule
from utils.compute.precision import cast
from utils.images.on_device import EVALUATION_BATCH, DeviceData, Images, evaluation_batch, evenly_spaced, to_float
from utils.records.schema import SCORES, Confusion, Metric, Split

# version of this scoring; raise it when the score of the same latent may change.  The classifier of version 1 had 25
# epochs, that of version 2 kept the first of equally good epochs; no code here computes those any more
PROTOCOL = 3
SPLITS: tuple[Split, ...] = ("train", "val", "test")
# the classifier of every frozen latent: two hidden layers of 1024 units; 1.2.2 and --finetune train a linear one
CLASSIFIER_HIDDEN, CLASSIFIER_DROPOUT, CLASSIFIER_BATCH = 1024, 0.3, 512
CLASSIFIER_EPOCHS, CLASSIFIER_RATE, CLASSIFIER_DECAY = 15, 2e-3, 0.01
CLASSIFIER_STEPS = 200  # at least this many: with few labels the classifier trains for more epochs
NEIGHBOURS = 20
GEOMETRY_IMAGES = 2000  # test images for alignment (of two views of each) and uniformity (of their latents)


@dataclass(frozen=True)
class Latents:
    """The latents and labels of one split.  z: (N, latent_dim) float32; labels: (N,) int64."""

    z: Tensor
    labels: Tensor


@torch.no_grad()
def encode(encoder: nn.Module, images: Images) -> Tensor:
    """(N, H, W, C) uint8 -> (N, latent_dim) float32.  The encoder runs in eval mode; its own mode is restored."""
    was_training = encoder.training
    encoder.eval()
    size = evaluation_batch((images.shape[3], *images.shape[1:3]))
    z = torch.cat([encoder(to_float(batch)).float() for batch in images.split(size)])
    encoder.train(was_training)
    return z


def encode_splits(encoder: nn.Module, data: DeviceData) -> dict[str, Latents]:
    """Latents of train, val and test; labelled and selection are the parts of train and val whose labels are used."""
    everything = encode(encoder, data.images)
    parts = {"train": data.train, "val": data.val, "labelled": data.labelled, "selection": data.selection}
    return {**{part: Latents(everything[index], data.labels[index]) for part, index in parts.items()},
            "test": Latents(encode(encoder, data.test_images), data.test_labels)}


class Standardised(nn.Module):
    """A classifier, in its own number format, on latents standardised by the training latents' mean and deviation."""

    def __init__(self, classifier: nn.Module, latent_dim: int) -> None:
        super().__init__()
        self.mean = nn.Buffer(torch.zeros(latent_dim))
        self.scale = nn.Buffer(torch.ones(latent_dim))
        self.classifier = classifier

    def fit_to_data(self, z: Tensor) -> "Standardised":
        """Statistics of the training latents, (N, latent_dim)."""
        std = z.std(0)
        self.mean.copy_(z.mean(0))
        # a feature that is constant in training is ignored: elsewhere it would be divided by nearly 0
        self.scale.copy_(torch.where(std > 1e-4 * std.max(), 1 / std.clamp(min=1e-30), 0.0))
        return self

    def forward(self, z: Tensor) -> Tensor:
        weight = next(self.classifier.parameters(), self.mean)
        return self.classifier(((z - self.mean) * self.scale).to(weight.dtype)).float()


def classifier_epochs(labelled: int) -> int:
    """Epochs of the classifier for this number of labelled images."""
    return max(CLASSIFIER_EPOCHS, -(-CLASSIFIER_STEPS // max(1, labelled // CLASSIFIER_BATCH)))


def train_classifier(latents: dict[str, Latents], classes: int, seed: int, epochs: int,
                     dtype: torch.dtype = torch.float32) -> tuple[nn.Module, int]:
    """The MLP classifier on frozen latents, from the epoch that is best on validation; returns it and that epoch.

    dtype: number format of its training; it is returned in float32.
    """
    torch.manual_seed(seed)
    train, val = latents["labelled"], latents["selection"]
    device = train.z.device
    latent_dim = train.z.shape[1]
    model = Standardised(MLPClassifier(latent_dim, CLASSIFIER_HIDDEN, classes, CLASSIFIER_DROPOUT), latent_dim)
    model.to(device).fit_to_data(train.z)
    optimiser = MasterOptimiser(cast(model.classifier, dtype), CLASSIFIER_RATE, CLASSIFIER_DECAY)
    generator = Generator(device).manual_seed(seed)
    batch_size = min(CLASSIFIER_BATCH, len(train.z))
    steps = epochs * (len(train.z) // batch_size)
    best, best_epoch, kept, step = -1, 0, {}, 0
    for epoch in range(1, epochs + 1):
        model.train()
        order = torch.randperm(len(train.z), generator=generator, device=device)
        for batch in order[: len(order) // batch_size * batch_size].split(batch_size):
            optimiser.scale_learning_rate(schedule(step, steps, 0.1))
            optimiser.step(F.cross_entropy(model(train.z[batch]), train.labels[batch], label_smoothing=0.1))
            step += 1
        correct = int((predict(model, val.z) == val.labels).sum())
        if correct >= best:  # the last of equally good epochs: with few selection images many are equal
            best, best_epoch = correct, epoch
            kept = {name: value.clone() for name, value in model.state_dict().items()}
    model.load_state_dict(kept)
    return model.float().eval(), best_epoch


@torch.no_grad()
def predict(classifier: nn.Module, z: Tensor) -> Tensor:
    """(N, latent_dim) -> (N,) predicted classes, in eval mode."""
    classifier.eval()
    return torch.cat([classifier(batch).argmax(1) for batch in z.split(4 * EVALUATION_BATCH)])


@torch.no_grad()
def confidence(classifier: nn.Module, z: Tensor) -> Tensor:
    """(N, latent_dim) -> (N,) probabilities that the classifier gives to the classes of predict()."""
    classifier.eval()
    return torch.cat([classifier(batch).softmax(1).amax(1) for batch in z.split(4 * EVALUATION_BATCH)])


def linear_probe(latents: dict[str, Latents]) -> Callable[[Tensor], Tensor]:
    """Multinomial logistic regression (scikit-learn, L2 with C = 1) on standardised latents; returns z -> classes."""
    from sklearn.linear_model import LogisticRegression

    train = latents["labelled"]
    scale = Standardised(nn.Identity(), train.z.shape[1]).to(train.z.device).fit_to_data(train.z)
    model = LogisticRegression(C=1.0, max_iter=2000, tol=1e-3)
    model.fit(scale(train.z).cpu().double().numpy(), train.labels.cpu().numpy())
    return lambda z: torch.from_numpy(model.predict(scale(z).cpu().double().numpy())).to(z.device)


@torch.no_grad()
def knn_predict(train: Latents, z: Tensor, classes: int, k: int = NEIGHBOURS) -> Tensor:
    """(N,) majority class of the k training latents of largest cosine; a tie goes to the class with the larger sum."""
    bank = F.normalize(train.z, dim=1)
    k = min(k, len(bank))
    out = []
    for batch in F.normalize(z, dim=1).split(EVALUATION_BATCH):
        cosine, index = (batch @ bank.T).topk(k, dim=1)  # (B, k)
        votes = F.one_hot(train.labels[index], classes).float()  # (B, k, classes)
        # the second term sums to less than one vote: it only breaks ties
        out.append((votes.sum(1) + (votes * (cosine[:, :, None] + 1) / (4 * k)).sum(1)).argmax(1))
    return torch.cat(out)


def accuracy_metrics(name: str, protocol: str, predict: Callable[[Tensor], Tensor], latents: dict[str, Latents],
                     splits: tuple[Split, ...]) -> dict[str, Metric]:
    """`SPLIT/NAME` for each of the splits.  predict: (N, latent_dim) -> (N,) classes."""
    out = {}
    for split in splits:
        predicted = predict(latents[split].z)
        correct, n = int((predicted == latents[split].labels).sum()), len(predicted)
        out[f"{split}/{name}"] = Metric(value=correct / n, n=n, correct=correct, split=split, protocol=protocol)
    return out


def confusion_of(metric: str, predicted: Tensor, labels: Tensor, classes: tuple[str, ...],
                 protocol: str) -> tuple[Confusion, dict[str, Metric]]:
    """Confusion matrix (row: true class) of the test split and the accuracy of each class."""
    n = len(classes)
    rows = torch.bincount(labels.cpu() * n + predicted.cpu(), minlength=n * n).view(n, n).tolist()
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
        total, size = 0.0, evaluation_batch(data.image_shape)
        for z, batch in zip(latents[split].z.split(size), index.split(size), strict=True):
            if stored is data.images:
                data.read_ahead(batch)
            total += (decoder(z) - to_float(stored[batch])).abs().mean((1, 2, 3)).sum().item()
        out[f"{split}/reconstruction_mae"] = Metric(
            value=total / len(index), n=len(index), split=split,
            protocol="mean absolute error of the pixels, in [0, 1], decoder on the latent, no augmentation")
    return out


@torch.no_grad()
def geometry_metrics(encoder: nn.Module, z: Tensor, data: DeviceData,
                     view: Callable[[Tensor, Generator], Tensor]) -> dict[str, Metric]:
    """Alignment and uniformity (Wang and Isola 2020, eqs. 1 and 2) and effective rank of test latents, (N, latent_dim).

    view: (B, H, W, C) uint8 images -> one augmented view of each, (B, C, H, W) in [0, 1].
    """
    index = evenly_spaced(len(z), GEOMETRY_IMAGES).to(z.device)
    generator = Generator(z.device).manual_seed(0)
    view0, view1 = (torch.cat([encoder(view(data.test_images[part], generator)).float()
                               for part in index.split(evaluation_batch(data.image_shape))]) for _ in range(2))
    values = {"alignment": (alignment(view0, view1), len(index)),
              "uniformity": (uniformity(z[index]), len(index)),
              "effective_rank": (effective_rank(z), len(z))}
    return {f"test/{name}": Metric(value=value, n=n, split="test", protocol=SCORES[name].meaning)
            for name, (value, n) in values.items()}


def alignment(z0: Tensor, z1: Tensor) -> float:
    """Mean squared distance of the normalised rows of z0 and z1, (N, D) each; in [0, 4]."""
    return (F.normalize(z0, dim=1) - F.normalize(z1, dim=1)).square().sum(1).mean().clamp(0, 4).item()


def uniformity(z: Tensor) -> float:
    """Log of the mean of exp(-2 d^2) over the pairs of normalised rows of (N, D); in [-8, 0], lower is more uniform."""
    squared = torch.pdist(F.normalize(z, dim=1).cpu()).double().square()  # float64 is not on every device
    return squared.mul(-2).exp().mean().log().clamp(-8, 0).item()


def effective_rank(z: Tensor, centred: bool = True) -> float:
    """Exponential of the entropy of the normalised singular values of (N, D), centred; 1 where all rows coincide.

    Not centred (RankMe 2023): also about 1 where all rows are nearly the same point.  The centred rank cannot detect
    this: it ignores scale, and small differences about the mean may be spread over nearly all directions.
    """
    singular = torch.linalg.svdvals((z - z.mean(0) if centred else z).cpu().double())
    total = singular.sum()
    if not total > 0:
        return 1.0
    share = singular / total
    return max(1.0, torch.special.entr(share).sum().exp().item())
