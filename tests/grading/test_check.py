"""What students learn before they hand in."""

import json
import shutil
from pathlib import Path

from grading.command import main
from tests.factory import HONEST
from utils.command_line import exit_code
from utils.files import sha256_file


def test_a_check_says_what_would_be_accepted_and_why_the_rest_would_not(honest: Path, tmp_path: Path, capsys) -> None:
    shutil.copytree(honest, tmp_path / "s")
    words = ["--check", str(tmp_path / "s"), "--data-dir", str(tmp_path)]
    assert exit_code(lambda: main(words), "") == 0
    out = capsys.readouterr().out.splitlines()
    assert len(out) == 4 and out[-1] == "3 of 3 records accepted"
    assert out[0].startswith(f"accepted: {HONEST['1.2.1']}.json: 1.2.1 on digits, plain, seed 0: ")
    assert "test images correct; its accuracy is confirmed; its reconstructions are verified" in out[0]
    (tmp_path / "s" / f"{HONEST['1.2.3']}.safetensors").unlink()
    (tmp_path / "s" / "notes.docx").write_text("notes")
    assert exit_code(lambda: main(words), "") == 3
    out = capsys.readouterr()
    assert f"NOT accepted: {HONEST['1.2.3']}.json: {HONEST['1.2.3']}.safetensors is missing" in out.out
    assert "left out: notes.docx: not one of" in out.out
    assert "2 of 3 records accepted" in out.out and "1 record would earn nothing" in out.err


def test_a_check_says_which_runs_are_one_seed(honest: Path, tmp_path: Path, capsys) -> None:
    shutil.copytree(honest, tmp_path / "s")
    again = json.loads((honest / f"{HONEST['1.2.2']}.json").read_text())
    again["run"]["seed"] = 1  # the same weights
    (tmp_path / "s" / "again.json").write_text(json.dumps(again))
    assert exit_code(lambda: main(["--check", str(tmp_path / "s"), "--data-dir", str(tmp_path)]), "") == 0
    out = capsys.readouterr().out
    assert f"count as one seed: {HONEST['1.2.2']}.json and again.json\n" in out and out.count("one seed") == 1


def test_a_check_does_not_accept_what_earns_nothing(honest: Path, tmp_path: Path, capsys) -> None:
    shutil.copytree(honest, tmp_path / "s")
    path = tmp_path / "s" / f"{HONEST['1.2.3']}.json"
    record = json.loads(path.read_text())
    record["run"]["init"] = {"record": "x.json", "task": "1.2.2", "dataset": "digits", "method": "joint", "seed": 0,
                             "recipe_hash": "0" * 8, "labels": 1.0,
                             "sha256": sha256_file(tmp_path / "s" / f"{HONEST['1.2.2']}.safetensors")}
    path.write_text(json.dumps(record))
    assert exit_code(lambda: main(["--check", str(tmp_path / "s"), "--data-dir", str(tmp_path)]), "") == 3
    out = capsys.readouterr()
    assert f"verified, but earns nothing: {path.name}: 1.2.3 on digits" in out.out
    assert "trained with labels, so it earns nothing" in out.out and "2 of 3 records accepted" in out.out


def test_a_check_of_nothing_is_one_line(tmp_path: Path, capsys) -> None:
    (tmp_path / "s").mkdir()
    for words, code, expected in (([str(tmp_path / "x")], 2, "no such folder"),
                                  ([str(tmp_path / "s"), "--rubric", "r.yaml"], 2, "--check takes no --rubric"),
                                  ([str(tmp_path / "s")], 1, "contains no record")):
        assert exit_code(lambda words=words: main(["--check", *words]), "") == code
        err = capsys.readouterr().err
        assert expected in err and err.count("\n") == 1
