"""`make score` beside a plain script: the arithmetic, and that each way is run file to file."""

from pathlib import Path

import pandas as pd
import pytest

from bench import scoring
from bench.environments import Environment
from bench.scoring import ALL, ALONE, BATCHED, ONE, PLAIN


def test_the_table_has_each_way_beside_the_model_alone_and_all_cores() -> None:
    seconds = {ALONE: [0.01, 0.02, 0.01], ONE: [0.0125], ALL: [0.005], PLAIN: [0.1, 0.3, 0.05]}
    lines = scoring.markdown({"seconds_per_text": seconds}).splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert rows[0] == ["way", "texts per second", "of the model alone", "all cores as fast"]
    assert rows[2:] == [
        [ALONE, "100", "1.00", "2.00x"],
        [ONE, "80", "0.80", "2.50x"],
        [ALL, "200", "2.00", "1.00x"],
        [PLAIN, "10", "0.10", "20.00x"],
    ]


def test_rows_are_repeated_to_as_many_as_asked_for(tmp_path: Path) -> None:
    texts = pd.DataFrame({"sentence1": ["a", "b", "c"], "sentence2": ["d", "e", "f"]})
    assert scoring.repeated(texts, 7, tmp_path / "in.parquet") == 7
    assert pd.read_parquet(tmp_path / "in.parquet")["sentence1"].tolist() == list("abcabca")


def test_our_own_ways_run_and_the_plain_one_is_left_out_where_it_cannot_be_had(
    integer_exports: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    lacking = Environment(Path("python"), "no index")
    monkeypatch.setattr("bench.environments.own", lambda *_: lacking)
    texts = pd.DataFrame({"sentence1": ["bab"] * 5, "sentence2": ["cob dib"] * 5})
    scoring.repeated(texts, 5, tmp_path / "in.parquet")
    ways = scoring.commands(integer_exports["mrpc"], tmp_path, tmp_path)
    assert set(ways) == {ALONE, ONE, ALL}
    assert f"{PLAIN}: left out, no index" in capsys.readouterr().out
    for way in (ALONE, ONE):
        assert scoring.timed(way, ways[way], tmp_path) > 0
    assert len(pd.read_parquet(tmp_path / "out.parquet")) == 5
    assert BATCHED not in ways
