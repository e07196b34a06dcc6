"""Scores of a latent against scikit-learn, closed forms and invariants."""

import dataclasses
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier

from evaluation import figure_arrays, scores, scoring
from evaluation.scores import Latents
from models.encoders import ConvEncoder
from utils.images import on_device
from utils.images.on_device import DeviceData


def clusters(n: int, classes: int = 4, d: int = 16, spread: float = 1.0, seed: int = 0) -> Latents:
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(classes, d, generator=torch.Generator().manual_seed(99))
    labels = torch.randint(classes, (n,), generator=generator)
    return Latents(centres[labels] + spread * torch.randn(n, d, generator=generator), labels)


def splits(spread: float = 1.0) -> dict[str, Latents]:
    made = {name: clusters(n, spread=spread, seed=i) for i, (name, n) in enumerate(
        {"train": 600, "val": 200, "test": 200}.items())}
    return {**made, "labelled": made["train"], "selection": made["val"]}


def test_weights_that_overflow_are_refused_by_the_name_of_their_module() -> None:
    broken = torch.nn.Linear(2, 2)
    broken.bias.data[0] = float("inf")
    with pytest.raises(scoring.NotFinite, match="weights of the projection head exceed what float16 can hold"):
        scoring.score({"encoder": torch.nn.Linear(2, 2), "projection_head": broken}, Mock(), Mock(), 0, "float32", True)


def test_encode_leaves_the_encoder_bit_identical_and_is_deterministic() -> None:
    encoder = ConvEncoder((1, 8, 8), (8, 8), 16, "max").train()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    images = torch.randint(0, 256, (30, 8, 8, 1), dtype=torch.uint8)
    first, second = scores.encode(encoder, images), scores.encode(encoder, images)
    assert torch.equal(first, second)
    assert encoder.training
    for name, value in encoder.state_dict().items():
        assert torch.equal(value, before[name]), name
    with torch.no_grad():  # the oracle would see it: in train mode the batch norm's buffers move
        encoder(images.permute(0, 3, 1, 2) / 255.0)
    assert any(not torch.equal(value, before[name]) for name, value in encoder.state_dict().items())


def test_encode_does_not_depend_on_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = ConvEncoder((1, 8, 8), (8, 8), 16, "max")
    images = torch.randint(0, 256, (30, 8, 8, 1), dtype=torch.uint8)
    whole = scores.encode(encoder, images)
    monkeypatch.setattr(on_device, "EVALUATION_BATCH", 7)
    torch.testing.assert_close(scores.encode(encoder, images), whole, rtol=1e-5, atol=1e-5)


def test_knn_agrees_with_scikit_learn() -> None:
    train, test = clusters(600, spread=1.5), clusters(300, spread=1.5, seed=1)
    ours = scores.knn_predict(train, test.z, 4)
    theirs = KNeighborsClassifier(20, metric="cosine").fit(train.z.numpy(), train.labels.numpy())
    counts = np.sort(theirs.predict_proba(test.z.numpy()), axis=1)
    untied = counts[:, -1] > counts[:, -2]  # where two classes tie, scikit-learn takes the lower number
    assert untied.mean() > 0.8
    assert (ours.numpy() == theirs.predict(test.z.numpy()))[untied].all()


def test_knn_breaks_a_tie_by_the_nearer_class() -> None:
    train = Latents(torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [-0.1, 1.0]]), torch.tensor([0, 1, 1, 0]))
    query = torch.tensor([[1.0, 0.1]])
    assert scores.knn_predict(train, query, 2, k=2).tolist() == [0]
    swapped = Latents(train.z, 1 - train.labels)  # nor does the lower number win
    assert scores.knn_predict(swapped, query, 2, k=2).tolist() == [1]


def test_linear_probe_separates_what_is_separable_and_not_labels_at_random() -> None:
    latents = splits(spread=0.3)
    probe = scores.linear_probe(latents)
    assert (probe(latents["test"].z) == latents["test"].labels).float().mean() > 0.97
    train, chance, generator = latents["train"], [], torch.Generator().manual_seed(0)
    for _ in range(8):  # one shuffle alone gives two of the four clusters their own label in every fourth case
        shuffled = {**latents, "labelled": Latents(train.z, train.labels[torch.randperm(600, generator=generator)])}
        chance.append(scores.linear_probe(shuffled)(latents["test"].z) == latents["test"].labels)
    assert torch.stack(chance).float().mean() < 0.5


def test_classifier_learns_what_no_linear_probe_can() -> None:
    """Two-dimensional parity: linear probes stay at chance, the MLP does not; so it really has hidden layers."""
    generator = torch.Generator().manual_seed(0)

    def parity(n: int) -> Latents:
        z = torch.randn(n, 8, generator=generator)
        return Latents(z, ((z[:, 0] > 0) ^ (z[:, 1] > 0)).long())
    latents = {"labelled": parity(1500), "selection": parity(200), "test": parity(500)}
    classifier, epoch = scores.train_classifier(latents, 2, seed=0, epochs=8)
    accuracy = (scores.predict(classifier, latents["test"].z) == latents["test"].labels).float().mean()
    linear = (scores.linear_probe(latents)(latents["test"].z) == latents["test"].labels).float().mean()
    assert 1 <= epoch <= 8
    assert accuracy > 0.9
    assert linear < 0.6


@pytest.mark.parametrize("hidden", ["test", "train", "val"])
def test_classifier_sees_the_labelled_and_the_selection_part_alone(hidden: str) -> None:
    latents = splits()
    poisoned = {**latents, hidden: Latents(torch.full_like(latents[hidden].z, torch.nan), latents[hidden].labels)}
    one, _ = scores.train_classifier(latents, 4, seed=0, epochs=2)
    two, _ = scores.train_classifier(poisoned, 4, seed=0, epochs=2)
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        assert torch.equal(a, b)
    assert torch.equal(*(scores.linear_probe(parts)(clusters(200, seed=9).z) for parts in (latents, poisoned)))


def test_scores_do_not_depend_on_scale_or_shift_of_the_latent() -> None:
    """A latent far from 0 with tiny variance is as good as any other for the standardised probes."""
    latents = splits()
    moved = {name: Latents(1e-3 * part.z + 1.0, part.labels) for name, part in latents.items()}
    a = scores.linear_probe(latents)(latents["test"].z)
    b = scores.linear_probe(moved)(moved["test"].z)
    assert (a == b).float().mean() > 0.99


def test_a_collapsed_latent_scores_at_chance_without_an_error() -> None:
    latents = {name: Latents(torch.ones_like(part.z), part.labels) for name, part in splits().items()}
    classifier, _ = scores.train_classifier(latents, 4, seed=0, epochs=1)
    for predicted in (scores.predict(classifier, latents["test"].z),
                      scores.linear_probe(latents)(latents["test"].z),
                      scores.knn_predict(latents["train"], latents["test"].z, 4)):
        assert (predicted == latents["test"].labels).float().mean() < 0.5
    assert np.isfinite(figure_arrays.tsne(latents["test"].z.numpy())).all()
    assert np.isfinite(figure_arrays.first_components(latents["test"].z.numpy())).all()
    assert scores.effective_rank(latents["test"].z) == 1.0
    assert scores.uniformity(latents["test"].z) == pytest.approx(0, abs=1e-9)


def test_confidence_is_the_probability_of_the_predicted_class() -> None:
    latents = splits()
    classifier, _ = scores.train_classifier(latents, 4, seed=0, epochs=2)
    z = latents["test"].z
    with torch.no_grad():
        odds = classifier(z).double().exp().numpy()
    chosen = scores.predict(classifier, z).numpy()
    expected = odds[np.arange(len(odds)), chosen] / odds.sum(1)
    np.testing.assert_allclose(scores.confidence(classifier, z).numpy(), expected, rtol=1e-5)


def test_confusion_rows_are_true_classes() -> None:
    labels, predicted = torch.tensor([0, 0, 1, 2, 2, 2]), torch.tensor([0, 1, 1, 2, 2, 0])
    confusion, per_class = scores.confusion_of("test/classifier_top1", predicted, labels, ("a", "b", "c"), "p")
    assert confusion.counts == [[1, 1, 0], [0, 1, 0], [1, 0, 2]]
    assert {name: metric.correct for name, metric in per_class.items()} == {
        "test/classifier_top1/a": 1, "test/classifier_top1/b": 1, "test/classifier_top1/c": 2}
    assert per_class["test/classifier_top1/c"].value == 2 / 3


def test_bfloat16_changes_the_classifier_by_rounding_alone() -> None:
    latents = splits()
    one, _ = scores.train_classifier(latents, 4, seed=0, epochs=4)
    two, _ = scores.train_classifier(latents, 4, seed=0, epochs=4, dtype=torch.bfloat16)
    assert all(p.dtype == torch.float32 for p in two.parameters())
    same = scores.predict(one, latents["test"].z) == scores.predict(two, latents["test"].z)
    assert same.float().mean() > 0.95


def test_another_classifier_is_another_protocol() -> None:
    """Whoever changes one of these numbers changes the scores, and so raises PROTOCOL."""
    classifier = (scores.CLASSIFIER_HIDDEN, scores.CLASSIFIER_DROPOUT, scores.CLASSIFIER_BATCH,
                  scores.CLASSIFIER_EPOCHS, scores.CLASSIFIER_RATE, scores.CLASSIFIER_DECAY, scores.CLASSIFIER_STEPS)
    assert (scores.PROTOCOL, *classifier, scores.NEIGHBOURS, scores.GEOMETRY_IMAGES) == (
        3, 1024, 0.3, 512, 15, 2e-3, 0.01, 200, 20, 2000)


def test_few_labels_are_repeated_more_often() -> None:
    assert scores.classifier_epochs(54_000) == scores.CLASSIFIER_EPOCHS
    assert scores.classifier_epochs(540) == scores.CLASSIFIER_STEPS
    assert scores.classifier_epochs(1) == scores.CLASSIFIER_STEPS


def test_alignment_is_the_mean_squared_distance_on_the_sphere() -> None:
    generator = np.random.default_rng(0)
    a, b = generator.normal(size=(50, 7)), generator.normal(size=(50, 7))
    unit = [x / np.sqrt((x * x).sum(1, keepdims=True)) for x in (a, b)]
    expected = np.mean([sum((p - q) ** 2) for p, q in zip(*unit, strict=True)])
    assert scores.alignment(torch.from_numpy(a), torch.from_numpy(b)) == pytest.approx(expected, rel=1e-6)
    assert scores.alignment(torch.from_numpy(a), torch.from_numpy(3 * a)) == pytest.approx(0, abs=1e-12)
    assert scores.alignment(torch.from_numpy(a), torch.from_numpy(-a)) == pytest.approx(4)


def test_uniformity_agrees_with_its_definition_and_with_lightly_s_authors() -> None:
    """Equation 2 of Wang and Isola 2020, pair by pair; two opposite points: log exp(-2 * 4) = -8."""
    z = np.random.default_rng(1).normal(size=(40, 5))
    unit = z / np.sqrt((z * z).sum(1, keepdims=True))
    pairs = [np.exp(-2 * ((unit[i] - unit[j]) ** 2).sum()) for i in range(40) for j in range(i)]
    assert scores.uniformity(torch.from_numpy(z)) == pytest.approx(np.log(np.mean(pairs)), rel=1e-6)
    assert scores.uniformity(torch.tensor([[1.0, 0.0], [-2.0, 0.0]])) == pytest.approx(-8)


def test_effective_rank_counts_equal_directions() -> None:
    generator = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(200, 7, generator=generator) - 0)[0]
    basis = torch.linalg.qr(basis - basis.mean(0))[0]  # centred, orthonormal columns: seven equal singular values
    assert scores.effective_rank(basis) == pytest.approx(7, abs=1e-3)
    assert scores.effective_rank(torch.outer(torch.arange(20.0), torch.ones(9))) == pytest.approx(1, abs=1e-5)
    uneven = scores.effective_rank(basis * torch.tensor([1.0, 1, 1, 1, 1, 1, 1e-6]))
    assert 6 <= uneven < 6.01


def small_data(channels: int = 1) -> DeviceData:
    """Random images, of which each part has its own."""
    generator = torch.Generator().manual_seed(5)
    images, test_images = (torch.randint(0, 256, (n, 8, 8, channels), dtype=torch.uint8, generator=generator)
                           for n in (60, 25))
    order = torch.randperm(60, generator=generator)
    return DeviceData(images, torch.arange(60) % 3, order[:40], order[40:], order[5:16], order[42:51], test_images,
                      torch.arange(25) % 3, (channels, 8, 8), ("a", "b", "c"), "digits")


def flat(images: torch.Tensor) -> torch.Tensor:
    """The latents of nn.Flatten."""
    return images.permute(0, 3, 1, 2).flatten(1) / 255


def test_the_classifier_is_that_of_the_last_of_the_best_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    seen, right = [], iter((30, 40, 40, 35))
    selection = clusters(50, seed=1)

    def predict(model: torch.nn.Module, z: torch.Tensor) -> torch.Tensor:
        assert z is selection.z
        seen.append({name: value.clone() for name, value in model.state_dict().items()})
        return torch.where(torch.arange(50) < next(right), selection.labels, selection.labels + 1)

    monkeypatch.setattr(scores, "predict", predict)
    monkeypatch.setattr(scores, "CLASSIFIER_HIDDEN", 16)
    classifier, epoch = scores.train_classifier({"labelled": clusters(60), "selection": selection}, 4, 0, epochs=4)
    assert epoch == 3 and len(seen) == 4
    torch.testing.assert_close(classifier.state_dict(), seen[2], rtol=0, atol=0)
    assert not torch.equal(seen[2]["classifier.layers.0.weight"], seen[3]["classifier.layers.0.weight"])


def test_every_classifier_gets_each_part_of_the_data_and_the_run_s_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    data, asked, identity = small_data(), [], torch.nn.Linear(64, 64, bias=False)
    torch.nn.init.eye_(identity.weight)

    def train_classifier(latents: dict[str, Latents], classes: int, seed: int, *_) -> None:
        asked.append((latents, classes, seed))
        raise InterruptedError

    monkeypatch.setattr(scores, "train_classifier", train_classifier)
    with pytest.raises(InterruptedError):
        scoring.score({"encoder": torch.nn.Sequential(torch.nn.Flatten(), identity)}, data, Mock(), 7, "float32", True)
    [(latents, classes, seed)] = asked
    assert (classes, seed, len(latents)) == (3, 7, 5)
    for part in ("train", "val", "labelled", "selection"):
        index = getattr(data, part)
        torch.testing.assert_close(latents[part].z, flat(data.images[index]))
        assert torch.equal(latents[part].labels, data.labels[index])
    torch.testing.assert_close(latents["test"].z, flat(data.test_images))
    assert torch.equal(latents["test"].labels, data.test_labels)
    with pytest.raises(InterruptedError):  # the learned dimensions come first
        scoring.learned_metrics(Mock(conv_dim=9), latents, data, 7, 1, "float32")
    learned, classes, seed = asked[1]
    assert (classes, seed, set(learned)) == (3, 7, set(latents))
    for name, part in latents.items():
        assert torch.equal(learned[name].z, part.z[:, :9]) and torch.equal(learned[name].labels, part.labels)


def test_the_mean_error_of_reconstructions_counts_every_image_of_a_split_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Image i is grey of level i, and the k-th reconstruction of a split is of level k."""
    monkeypatch.setattr(on_device, "EVALUATION_BATCH", 7)  # the last batch is smaller
    data = small_data()
    grey = [torch.arange(n, dtype=torch.uint8)[:, None, None, None].expand(n, 8, 8, 1) for n in (60, 25)]
    data = dataclasses.replace(data, images=grey[0], test_images=grey[1])
    latents = {name: Latents(torch.arange(n) / 255, torch.zeros(n)) for name, n in
               (("train", 40), ("val", 20), ("test", 25))}

    def decoder(z: torch.Tensor) -> torch.Tensor:
        return z.view(-1, 1, 1, 1).expand(-1, 1, 8, 8)

    metrics = scores.reconstruction_metrics(decoder, latents, data)
    for split, index in (("train", data.train), ("val", data.val), ("test", torch.arange(25))):
        metric, n = metrics[f"{split}/reconstruction_mae"], len(index)
        assert metric.value == pytest.approx(sum(abs(i - k) for k, i in enumerate(index.tolist())) / n / 255, rel=1e-5)
        assert metric.n == n


def test_alignment_is_of_two_different_views_of_the_same_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scores, "GEOMETRY_IMAGES", 10)
    monkeypatch.setattr(on_device, "EVALUATION_BATCH", 4)
    data = small_data()

    def view(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        noise = torch.rand(len(images), 1, 8, 8, generator=generator)
        return on_device.to_float(images) + noise

    metrics = scores.geometry_metrics(torch.nn.Flatten(), flat(data.test_images), data, view)
    generator = torch.Generator().manual_seed(0)
    first, second = (torch.cat([flat(data.test_images[index]) + torch.rand(len(index), 64, generator=generator)
                                for index in torch.tensor([0, 2, 5, 7, 10, 12, 15, 17, 20, 22]).split(4)])
                     for _ in range(2))
    unit = [z / z.norm(dim=1, keepdim=True) for z in (first, second)]
    distance = (unit[0] - unit[1]).square().sum(1).mean().item()
    assert distance > 0.05
    assert metrics["test/alignment"].value == pytest.approx(distance, rel=1e-4) and metrics["test/alignment"].n == 10
