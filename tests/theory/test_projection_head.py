"""The projection head discards the rotation; without rotations in the views it must not."""

import copy

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from tests.theory.measured import check_committed, generator, measured
from theory import digits
from theory.projection_head import experiment as projection_head


def head_forgets_the_turn(untrained: list[dict], trained: list[dict]) -> bool:
    """The claim: the rotation is lost after the head, hardly before it, and in neither place without training."""
    before, after = trained[1]["turn_accuracy"], trained[2]["turn_accuracy"]
    return (before - after > 0.1 and before > untrained[1]["turn_accuracy"] - 0.1
            and untrained[2]["turn_accuracy"] - after > 0.1)


def test_the_head_forgets_what_the_encoder_keeps() -> None:
    found = measured("projection_head")
    untrained, trained = found["untrained"], found["trained"]
    assert head_forgets_the_turn(untrained, trained)
    assert trained[1]["class_accuracy"] > trained[2]["class_accuracy"]
    assert trained[1]["class_accuracy"] > max(untrained[1]["class_accuracy"], trained[0]["class_accuracy"]) + 0.05
    assert untrained[0] == trained[0]  # pixels do not change
    assert trained[0]["turn_accuracy"] > 0.7 > 2 / found["turns"]
    assert found["test_images"] == 4 * 359
    assert not head_forgets_the_turn(untrained, untrained)


def test_without_turns_in_the_views_the_head_keeps_the_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projection_head, "turned_view", digits.random_view)
    monkeypatch.setattr(projection_head, "STEPS", 120)
    monkeypatch.setattr(projection_head, "BATCH", 128)
    encoder, head = projection_head.build(0)
    projection_head.train(encoder, head, torch.from_numpy(digits.load()[0]).float(), 0)
    found = measured("projection_head")
    assert not head_forgets_the_turn(found["untrained"], projection_head.read_out(encoder, head, 0))


def test_reading_out_leaves_the_network_as_it_was_and_reads_the_pixels_fairly() -> None:
    encoder, head = projection_head.build(0)
    before = copy.deepcopy([encoder.state_dict(), head.state_dict()])
    rows = projection_head.read_out(encoder, head, 0)
    for old, module in zip(before, (encoder, head), strict=True):
        assert all(torch.equal(old[name], value) for name, value in module.state_dict().items())
        assert module.training
    assert rows == measured("projection_head")["untrained"]
    train, train_labels, test, test_labels = digits.load()
    turns = torch.randint(0, 4, (len(train),), generator=generator(0)).numpy()
    fit = np.stack([np.rot90(x.reshape(8, 8), k).ravel() for x, k in zip(train, turns, strict=True)])
    score = np.concatenate([np.stack([np.rot90(x.reshape(8, 8), k).ravel() for x in test]) for k in range(4)])
    scale = StandardScaler().fit(fit)
    model = LogisticRegression(max_iter=1000)
    for field, labels, expected in (("turn_accuracy", turns, np.repeat(range(4), len(test))),
                                    ("class_accuracy", train_labels, np.tile(test_labels, 4))):
        accuracy = model.fit(scale.transform(fit), labels).score(scale.transform(score), expected)
        assert rows[0][field] == pytest.approx(accuracy, abs=0.005)  # float32 against float64


def test_a_turned_view_has_every_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projection_head, "random_view", lambda images, _: images)
    image = torch.from_numpy(digits.load()[0][:1]).float().repeat(200, 1)
    turned = projection_head.turned_view(image, generator())
    expected = {np.rot90(image[0].numpy().reshape(8, 8), k).tobytes() for k in range(4)}
    assert {view.numpy().tobytes() for view in turned} == expected


def test_the_committed_results_are_what_the_code_measures() -> None:
    # training gives other last digits on other processors
    check_committed("projection_head", measured("projection_head"), relative=0, absolute=0.05)
