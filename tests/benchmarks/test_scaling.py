"""Exponents against closed forms and NumPy, the sweeps, and what larger runs cost."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import contestants, scaling
from benchmarks.common import even_recipe
from training.loop import Setup
from utils.errors import UsageError

CPU = Setup(torch.device("cpu"), "float32", {"float32": 100.0, "bfloat16": 0.0}, seed=0)


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks that take no time: these tests look at the form of a measurement."""
    monkeypatch.setattr(scaling, "even_recipe", lambda task: replace(even_recipe(task), widths=(8, 8)))


@pytest.mark.parametrize("slope", [0.0, 1.0, 1.7, -2.0])
def test_a_power_law_is_recovered_exactly(slope: float) -> None:
    x = [32, 64, 128, 500, 4000]
    exponent = scaling.fit(x, [3.5 * value ** slope for value in x])
    assert exponent.slope == pytest.approx(slope, abs=1e-12)
    assert exponent.last == pytest.approx(slope, abs=1e-12)
    assert exponent.error == pytest.approx(0, abs=1e-12)


def test_with_noise_the_standard_error_is_numpy_s_and_matches_the_scatter_of_the_slope() -> None:
    rng, x, slopes, errors = np.random.default_rng(0), 2.0 ** np.arange(8), [], []
    for _ in range(300):
        y = 0.2 * x ** 2 * np.exp(rng.normal(0, 0.1, len(x)))
        exponent = scaling.fit(x.tolist(), y.tolist())
        (slope, _), covariance = np.polyfit(np.log(x), np.log(y), 1, cov=True)
        assert (exponent.slope, exponent.error) == pytest.approx((slope, math.sqrt(covariance[0, 0])))
        slopes.append(exponent.slope)
        errors.append(exponent.error)
    assert np.mean(slopes) == pytest.approx(2, abs=0.01)
    assert np.std(slopes) == pytest.approx(np.mean(errors), rel=0.15)


@pytest.mark.parametrize("x, y", [([1, 2], [1, 2]), ([1, 2, 3], [1, 0, 2]), ([0, 1, 2], [1, 2, 3]),
                                  ([1, 2, 3], [1, 2])])
def test_a_fit_needs_three_positive_points(x: list[float], y: list[float]) -> None:
    with pytest.raises(ValueError, match="three points"):
        scaling.fit(x, y)


def test_every_sweep_has_its_points_and_is_drawn(tmp_path: Path, capsys) -> None:
    jobs = scaling.sweeps("1.2.3", 3, {"precision": "float32", "conv_gflops": {"float32": 1.0}})
    assert set(jobs) == set(scaling.FIRST) == set(scaling.MEASURED)
    for name, sweep in jobs.items():
        assert [job.x for job in sweep] == [scaling.FIRST[name] * k for k in (1, 2, 4)]
    points = {name: [scaling.Point(job.x, 1e-3 * job.x, 2**20 * job.x ** 2) for job in sweep]
              for name, sweep in jobs.items()}
    fits = {name: {key: scaling.fit([p.x for p in sweep], [getattr(p, key) for p in sweep])
                   for key in ("seconds", "bytes")} for name, sweep in points.items()}
    figure = scaling.draw(points, fits)
    figure.savefig(tmp_path / "scaling.svg")
    assert [ax.get_title() for ax in figure.axes] == ["exponent 1.00 ± 0.00"] * 4 + ["exponent 2.00 ± 0.00"] * 4
    scaling.show(points, fits)
    assert "NT-Xent alone, by pairs" in capsys.readouterr().out


def test_each_measurement_returns_seconds_and_bytes(narrow: None) -> None:
    for seconds, growth in (scaling.loss(16), scaling.epoch("1.2.2", "float32", CPU.conv_gflops, 8, 4, 8)):
        assert seconds > 0
        assert growth >= 0  # 0 if this process has had a higher peak before
    assert scaling.peak_memory() > 2**20


def test_a_measurement_records_the_network_that_the_extrapolation_needs(narrow: None, monkeypatch) -> None:
    monkeypatch.setattr(contestants, "set_up", lambda *_: CPU)
    _, network = scaling.look_at_machine("1.2.3")
    committed = json.loads((Path(scaling.__file__).parent / "scaling.json").read_text())["network"]
    assert network.keys() == committed.keys() and all(value > 0 for value in network.values())


def a_measurement(each: float = 12.0, step_seconds: float = 2.0) -> dict:
    """A measurement as in scaling.json, with round numbers.  each: bytes per entry of NT-Xent's similarities."""
    fit = {"slope": 1.0, "error": 0.0, "last": 1.0}
    points = {"images": [(500, 4.0, 1e6)], "batch size": [(256, step_seconds, 1e6)],
              "latent size": [(128, 1.0, 1e6)], "pairs": [(1024, 0.1, each * 2048 ** 2)]}
    return {"task": "1.2.3", "machine": {"cpu": "a processor", "threads": 2, "precision": "float32"},
            "network": {"flops_per_image": 1e9, "parameters": 1e6, "norm_channels": 100},
            "sweeps": {name: {"points": [dict(zip(("x", "seconds", "bytes"), point, strict=True)) for point in sweep],
                              "exponents": {"seconds": fit, "bytes": fit}} for name, sweep in points.items()}}


def test_a_ring_sends_twice_what_it_reduces_and_a_single_process_sends_nothing() -> None:
    network = scaling.Network("x", flops=1e9, parameters=1e6, channels=100, rate=1e12)
    assert scaling.step_bytes(network, 256, 1) == (0, 0, 0)
    gradients, projections, norms = scaling.step_bytes(network, 256, 2)
    assert gradients == 4e6  # two halves of four million bytes
    assert projections == 2 * 256 * 128 * 4  # half of 512 projections, half of their gradients
    assert norms == 2 * 2 * 100 * 4
    enough = scaling.images_that_pay(network, speed=1e9)
    assert enough * network.flops / network.rate == pytest.approx(2 * 4e6 / 1e9)  # computing takes as long as sending


def test_the_page_is_computed_from_the_measurement(tmp_path: Path) -> None:
    (tmp_path / "in.json").write_text(json.dumps(a_measurement()))
    scaling.main(["--extrapolate", str(tmp_path / "in.json"), "--out", str(tmp_path / "out.md")])
    text = (tmp_path / "out.md").read_text()
    assert "12.0 bytes for each" in text
    assert "| 32,768 | 48 GiB | 768 MiB |" in text  # 12 bytes x 65,536^2 are 48 x 2^30
    own = scaling.own_network(a_measurement())
    assert own.rate == pytest.approx(256 * own.flops / 2)
    assert f"runs at {own.rate / 1e9:.3g} GFLOP/s" in text.replace("\n", " ")


def test_a_file_that_is_no_measurement_is_refused_in_one_line(tmp_path: Path) -> None:
    for text in ("{", "[]", "{}", json.dumps(a_measurement() | {"task": "1.2.1"})):
        (tmp_path / "in.json").write_text(text)
        with pytest.raises(UsageError, match="not a measurement of task 1.2.3"):
            scaling.main(["--extrapolate", str(tmp_path / "in.json"), "--out", str(tmp_path / "out.md")])
    assert not (tmp_path / "out.md").exists()


def test_the_committed_page_is_what_the_committed_measurement_gives(tmp_path: Path) -> None:
    folder = Path(scaling.__file__).parent
    scaling.main(["--extrapolate", str(folder / "scaling.json"), "--out", str(tmp_path / "out.md")])
    assert (tmp_path / "out.md").read_text() == (folder / "SCALING.md").read_text()
