"""Every number of the comparisons is derived again from the JSON and the arrays by other code."""

import hashlib
import statistics
from pathlib import Path

import numpy as np
import pytest

from report import tables
from report.load import load_results
from report.summary import summarise
from tests.factory import make_record
from tests.report.pages import (
    CONTROLS,
    ROOT,
    changed,
    close,
    committed,
    expected_rows,
    parse,
    pdf_text,
    raw_runs,
    slow_mcnemar,
    squeeze,
    table_of,
)
from utils.records.schema import HEADLINE

SCORES = {"Linear %": "test/linear_top1", "kNN %": "test/knn_top1", "Effective rank (of 128)": "test/effective_rank",
          "Linear, after the projection head %": "test/projection_linear_top1",
          "Alignment (low is close)": "test/alignment", "Uniformity (low is even)": "test/uniformity",
          "Agreement %: t-SNE, latents": "test/tsne_agreement", "Agreement %: t-SNE, pixels":
          "test/pixel_tsne_agreement", "Agreement %: PCA, latents": "test/pca_agreement",
          "Agreement %: PCA, pixels": "test/pixel_pca_agreement", "Reconstruction MAE, train":
          "train/reconstruction_mae", "Reconstruction MAE, validation": "val/reconstruction_mae",
          "Reconstruction MAE, test": "test/reconstruction_mae", "Step ratio of paths, within a class":
          "test/interpolation_step_within", "Step ratio of paths, between classes": "test/interpolation_step_between"}


@pytest.mark.parametrize(("caption", "task", "dataset", "methods"), [
    ("1.2.1 autoencoding: methods side by side on MNIST", "1.2.1", "mnist", ["plain", "masked"]),
    ("1.2.2 classification-guided: methods side by side on MNIST", "1.2.2", "mnist", ["joint"]),
    ("1.2.3 contrastive: methods side by side on MNIST", "1.2.3", "mnist", ["simclr", "dcl"]),
    ("Control: methods side by side on MNIST", "control", "mnist", []),
])
def test_scores_side_by_side_follow_from_the_json(folder: Path, html: str, caption: str, task: str, dataset: str,
                              methods: list[str]) -> None:
    head, *lines = table_of(html, caption)
    assert head[1:] == [*methods, "control: frozen random encoder", "control: PCA of pixels"]
    groups, seen = expected_rows(folder), set()
    columns = [groups[dataset, "control" if name.startswith("control") else task, name.removeprefix("control: "), ""]
               for name in head[1:]]
    for what, *cells in lines:
        for runs, cell in zip(columns, cells, strict=True):
            if what in SCORES:
                seen.add(SCORES[what])
                values = [run["metrics"].get(SCORES[what], {}).get("value") for run in runs]
                if None in values:
                    assert cell == "–"
                elif what.endswith("%") or "%:" in what:
                    assert close(cell, 100 * statistics.fmean(values))
                else:
                    assert float(cell.replace("\u2212", "-")) == pytest.approx(statistics.fmean(values), rel=1e-3)
    changes = dict((what, cells) for what, *cells in lines).get("Change from plain (points)")
    if task == "1.2.1":
        plain, other = (statistics.fmean(run["metrics"][HEADLINE]["value"] for run in runs) for runs in columns[:2])
        assert changes == ["–", f"{100 * (other - plain):+.2f}".replace("-", "\u2212"), "–", "–"]
    else:
        assert changes is None
    present = {name for runs in columns for run in runs for name in run["metrics"] if name in SCORES.values()}
    assert seen == present


def test_mcnemar_tables_follow_from_the_predictions(folder: Path, html: str) -> None:
    right: dict[tuple, list[bool]] = {}
    for path, raw in raw_runs(folder):
        if not changed(raw) and raw["run"]["dataset"] == "mnist":
            with np.load(path.with_suffix(".npz")) as file:
                hits = [int(a) == int(b) for a, b in zip(file["test_labels"], file["test_predictions"], strict=True)]
            run = raw["run"]
            colon = ":" if run["task"] == "control" else ""
            name = f"{run['task']}{colon} {CONTROLS.get(run['method'], run['method'])}"
            right[name, run["seed"]] = hits
    names = [name for name, _ in right]
    expected = {}
    for i, (a, seed) in enumerate(right):
        for b, other in list(right)[i + 1:]:
            lower = any((a, s) in right and (b, s) in right for s in range(seed))
            if a != b and seed == other and not lower:
                x, y = right[a, seed], right[b, seed]
                only = sum(p and not q for p, q in zip(x, y, strict=True)), sum(q and not p for p, q in
                                                                             zip(x, y, strict=True))
                expected[frozenset((a, b))] = (a, seed, *only)
    rows = table_of(html, "McNemar's test on MNIST")[1:]
    assert len(rows) == len(expected) and {row[0] for row in rows} <= set(names)
    ranked = sorted(float(slow_mcnemar(*entry[2:])) for entry in expected.values())
    for a, b, seed, only_a, only_b, p, corrected in rows:
        first, expected_seed, *only = expected.pop(frozenset((a, b)))
        assert int(seed) == expected_seed
        assert [int(only_a), int(only_b)] == (only if first == a else only[::-1])
        exact = float(slow_mcnemar(*only))
        assert float(p.replace("\u2212", "-")) == pytest.approx(exact, rel=6e-3, abs=6e-5)
        holm = max(min(1, (len(ranked) - k) * value) for k, value in enumerate(ranked) if value <= exact)
        assert float(corrected.replace("\u2212", "-")) == pytest.approx(holm, rel=6e-3, abs=6e-5)


def test_label_fractions_follow_from_the_json(folder: Path, html: str) -> None:
    rows = table_of(html, "Accuracy against label fraction on MNIST")[1:]
    shown: dict[str, list[tuple[float, float]]] = {}
    for name, share, images, accuracy, *_ in rows:
        shown.setdefault(name, []).append((float(share), float(accuracy)))
        assert int(images.replace(",", "")) == (4500 if share == "100" else 10 * max(1, round(4.5 * float(share))))
    raw = expected_rows(folder)
    groups = {key: 100 * runs[0]["metrics"][HEADLINE]["value"] for key, runs in raw.items()}
    origin = f"from 1.2.3 simclr recipe {raw['mnist', '1.2.3', 'simclr', ''][0]['recipe']['hash']}"
    at = {}
    for share in (0.01, 0.1):
        at["joint", share] = groups["mnist", "1.2.2", "joint", f"labels={share}"]
        for tuned in ("", "finetune=true, "):
            at[tuned, share] = groups["mnist", "1.2.3", "simclr", f"{origin}, epochs=0, {tuned}labels={share}"]
    expected = {
        "random initialisation, trained end to end": [(1, at["joint", 0.01]), (10, at["joint", 0.1]), (100, 100.0)],
        "contrastive simclr, frozen": [(1, at["", 0.01]), (10, at["", 0.1]), (100, 96.0)],
        "contrastive simclr, fine-tuned": [(1, at["finetune=true, ", 0.01]), (10, at["finetune=true, ", 0.1])],
    }
    assert set(shown) == set(expected)
    for name, points in expected.items():
        assert np.array(shown[name]) == pytest.approx(np.array(points), abs=0.005001)
    alt = next(attributes["aria-label"] for tag, attributes in parse(html).tags
               if tag == "svg" and "of the labels" in attributes.get("aria-label", ""))
    assert all(f"{name} {points[0][1]:.2f} % with 1 % of the labels" in alt for name, points in expected.items())


def test_a_subset_is_named_where_it_counts(tmp_path: Path) -> None:
    make_record(tmp_path, "1.2.2", "mnist", "joint", n=60, fields={"subset": 5000})
    found, = tables.balance_tables(summarise(load_results(tmp_path)[0]))
    assert found["head"] == ["Class", "Train (subset 5,000)", "Validation", "Test"]


def test_class_balance_follows_from_the_json(folder: Path, html: str) -> None:
    head, *lines, total = table_of(html, "Images of each class in each split of MNIST")
    assert head == ["Class", "Train", "Validation", "Test", "Labelled (10 %)", "Labelled (1 %)"]
    counts = [raw["data"]["class_counts"] for _, raw in raw_runs(folder) if raw["run"]["dataset"] == "mnist"]
    labelled = {tuple(one["labelled"]) for one in counts if "labelled" in one}
    columns = [counts[0]["train"], counts[0]["val"], counts[0]["test"], *sorted(labelled, reverse=True)]
    for i, line in enumerate(lines):
        assert line == [str(i), *[f"{column[i]:,}" for column in columns]]
    assert total == ["all", *[f"{sum(column):,}" for column in columns]]


def test_html_and_pdf_show_every_table_of_the_comparisons(html: str, pdf: bytes, content: tuple) -> None:
    content = content[0]
    compared = [one for task in content["tasks"] for one in task["comparison"]["tables"]]
    assert len(compared) == 4
    shown, text = parse(html).tables, squeeze(pdf_text(pdf))
    for one in [content["variations"], *content["mcnemar"], *content["labels"]["tables"], *content["balance"],
                *content["runs"], *compared]:
        assert shown[one["caption"]] == [one["head"], *one["rows"]]
        for row in one["rows"]:
            assert squeeze("".join(row)) in text, row


def test_tables_of_all_runs_give_each_run_s_scores_and_digest(folder: Path, html: str) -> None:
    scores = table_of(html, "Scores of every complete run")[1:]
    origins = table_of(html, "Provenance of every complete run")[1:]
    runs = {path.relative_to(folder).as_posix(): (path, raw) for path, raw in raw_runs(folder)}
    assert {row[0] for row in scores} == {row[0] for row in origins} == set(runs)
    for name, *_, seed, accuracy, linear, knn, minutes in scores:
        raw = runs[name][1]
        metric = raw["metrics"][HEADLINE]
        assert accuracy == f"{100 * metric['correct'] / metric['n']:.2f} ({metric['correct']} of {metric['n']})"
        assert int(seed) == raw["run"]["seed"] and close(minutes, raw["run"]["seconds"] / 60, digits=1)
        assert close(linear, 100 * raw["metrics"]["test/linear_top1"]["value"])
        assert close(knn, 100 * raw["metrics"]["test/knn_top1"]["value"])
    for name, command, *_, recipe, digest in origins:
        path, raw = runs[name]
        assert digest == hashlib.sha256(path.read_bytes()).hexdigest() and recipe == raw["recipe"]["hash"]
        assert command.startswith("python _main.py --task")


def test_markdown_of_a_record_is_escaped() -> None:
    assert tables.markdown_text("a|b <i> `c` [d](e)") == "a\\|b &lt;i&gt; \\`c\\` \\[d\\](e)"


def test_the_readme_s_table_is_that_of_the_committed_records() -> None:
    loaded = committed()
    block = (ROOT / "README.md").read_text(encoding="utf-8").partition("<!-- results:begin -->")[2].partition(
        "<!-- results:end -->")[0]
    assert block.strip() == tables.readme_table(summarise(loaded)).strip() and len(loaded) > 20
