"""A stored split, read in pieces; and tokens of it that take few bytes."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from stages.dataset import stored
from stages.dataset.task import Task
from stages.model import tokens as of_model
from stages.model.tokens import batches, encode, load_tokenizer, pad, windows
from stages.tasks import mrpc
from stages.training.loop import Examples
from tests.building import INPUTS, training_rows

TASK = mrpc.DATASET.task
COLUMNS = list(TASK.text_columns)
RECIPE = SimpleNamespace(max_length=12, inputs=INPUTS)


@pytest.fixture
def rows() -> pd.DataFrame:
    return training_rows(50)


@pytest.fixture
def file(rows: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """In row groups of 20; a piece has at most 7 rows."""
    monkeypatch.setattr(stored, "PIECE_ROWS", 7)
    rows.to_parquet(tmp_path / "train.parquet", index=False, row_group_size=20)
    return tmp_path / "train.parquet"


def joined(pieces: list[pd.DataFrame]) -> pd.DataFrame:
    return pd.concat(pieces, ignore_index=True)


class TestPieces:
    def test_are_all_of_the_rows_in_order(self, file: Path, rows: pd.DataFrame) -> None:
        found = list(stored.pieces(file))
        assert max(map(len, found)) == 7
        pd.testing.assert_frame_equal(joined(found), rows)
        pd.testing.assert_frame_equal(joined(found), pd.read_parquet(file))

    @pytest.mark.parametrize("most", [1, 7, 8, 49, 50, 51])
    def test_are_the_first_so_many(self, file: Path, rows: pd.DataFrame, most: int) -> None:
        found = stored.first_rows(file, most, ["label", "id"])
        pd.testing.assert_frame_equal(found[["id", "label"]], rows.head(most)[["id", "label"]])

    def test_are_small_where_texts_are_long(self, tmp_path: Path) -> None:
        texts = [f"{i} " * 300_000 for i in range(30)]
        long = tmp_path / "long.parquet"
        pd.DataFrame({"text": texts}).to_parquet(long, compression=None)
        sizes = [piece["text"].str.len().sum() for piece in stored.pieces(long)]
        assert max(sizes) < 2 * stored.PIECE_BYTES
        assert len(sizes) > 1

    @pytest.mark.parametrize("chosen", [[], [49], [3, 0, 20, 21, 3], range(50)])
    def test_give_rows_by_their_place(
        self, file: Path, rows: pd.DataFrame, chosen: list[int]
    ) -> None:
        found = stored.rows_at(file, np.array(chosen, dtype=int))
        pd.testing.assert_frame_equal(found, rows.iloc[list(chosen)].reset_index(drop=True))

    def test_hold_the_labels_and_the_texts(self, file: Path, rows: pd.DataFrame) -> None:
        assert stored.count(file) == 50
        assert stored.labels(file).tolist() == rows["label"].tolist()
        texts = stored.Texts(file, TASK.text_columns)
        expected = [text for pair in rows[COLUMNS].itertuples(index=False) for text in pair]
        assert list(texts) == expected
        assert list(texts) == expected  # a second time


class TestTokens:
    def test_are_what_the_tokenizer_gives(
        self, file: Path, rows: pd.DataFrame, tiny_bert: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tokenizer = load_tokenizer(tiny_bert)
        texts = [rows[column].tolist() for column in COLUMNS]
        whole = tokenizer(*texts, truncation=True, max_length=12)
        expected = [{name: whole[name][i] for name in INPUTS} for i in range(len(rows))]
        for at_once in (1000, 3):
            monkeypatch.setattr(of_model, "TEXTS_AT_ONCE", at_once)
            for given in (rows, stored.pieces(file, COLUMNS)):
                found = encode(tokenizer, TASK, given, RECIPE)
                assert list(found) == expected
                assert found[-1] == expected[-1]
                assert found[4:30:5] == expected[4:30:5]
                assert found.lengths.tolist() == [len(row["input_ids"]) for row in expected]
                assert list(found.taken(np.array([9, 2]))) == [expected[9], expected[2]]
                with pytest.raises(IndexError):
                    found[50]

    def test_of_large_vocabularies_keep_their_ids(self) -> None:
        class Letters:
            def __call__(self, texts: list[str], **_: object) -> dict[str, list[list[int]]]:
                return {"input_ids": [[ord(letter) for letter in text] for text in texts]}

        one = Task(
            name="one", text_columns=("text",), labels=("a", "b"), metrics=("f1",),
            licence="", description="",
        )  # fmt: skip
        texts = ["a", "好 a", "\U0001f600", ""]
        recipe = SimpleNamespace(max_length=9, inputs=["input_ids"])
        found = encode(Letters(), one, pd.DataFrame({"text": texts}), recipe)
        assert [row["input_ids"] for row in found] == [list(map(ord, text)) for text in texts]

    @pytest.mark.parametrize(
        ("characters", "expected"),
        [
            ([], []),
            ([1, 1, 1], [(0, 3)]),
            ([1] * 9, [(0, 4), (4, 8), (8, 9)]),
            ([60, 50, 40, 10], [(0, 1), (1, 4)]),
            ([500, 1, 500, 1], [(0, 1), (1, 2), (2, 3), (3, 4)]),
        ],
    )
    def test_are_made_of_few_texts_at_a_time(
        self,
        characters: list[int],
        expected: list[tuple[int, int]],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(of_model, "TEXTS_AT_ONCE", 4)
        monkeypatch.setattr(of_model, "CHARACTERS_AT_ONCE", 100)
        found = [(part.start, part.stop) for part in of_model.portions(characters)]
        assert found == expected


class TestWindows:
    def test_one_holds_a_split_that_is_not_huge(
        self, file: Path, rows: pd.DataFrame, tiny_bert: Path
    ) -> None:
        tokenizer = load_tokenizer(tiny_bert)
        ((kept, tokens),) = windows(tokenizer, TASK, stored.pieces(file), RECIPE)
        pd.testing.assert_frame_equal(kept, rows[["id", "label"]])
        assert list(tokens) == list(encode(tokenizer, TASK, rows, RECIPE))

    @pytest.mark.parametrize("limit", ["WINDOW_ROWS", "WINDOW_TOKENS"])
    def test_more_are_sorted_each_on_its_own(
        self,
        file: Path,
        rows: pd.DataFrame,
        tiny_bert: Path,
        monkeypatch: pytest.MonkeyPatch,
        limit: str,
    ) -> None:
        monkeypatch.setattr(of_model, limit, {"WINDOW_ROWS": 10, "WINDOW_TOKENS": 150}[limit])
        tokenizer = load_tokenizer(tiny_bert)
        found = list(windows(tokenizer, TASK, stored.pieces(file), RECIPE))
        assert len(found) > 2
        assert joined([kept for kept, _ in found])["id"].tolist() == rows["id"].tolist()
        together = [row for _, tokens in found for row in tokens]
        assert together == list(encode(tokenizer, TASK, rows, RECIPE))
        for _, tokens in found:
            fed = list(batches(tokenizer, tokens, 4, "longest", 12))
            positions = np.concatenate([at for at, _ in fed])
            assert sorted(positions.tolist()) == list(range(len(tokens)))
            assert (np.diff(tokens.lengths[positions]) >= 0).all()


def test_examples_are_made_when_asked_for(rows: pd.DataFrame, tiny_bert: Path) -> None:
    tokenizer = load_tokenizer(tiny_bert)
    tokens = encode(tokenizer, TASK, rows, RECIPE)
    logits = np.arange(100, dtype=np.float32).reshape(50, 2)
    learned, taught = Examples(tokens, rows["label"].to_numpy()), Examples(tokens, logits)
    assert learned[3] == tokens[3] | {"labels": int(rows["label"][3])}
    assert taught[3:5] == [tokens[i] | {"labels": [2.0 * i, 2.0 * i + 1]} for i in (3, 4)]
    assert len(list(learned)) == 50
    assert pad(tokenizer, tokens, "longest", 0)["input_ids"].shape == (50, 12)
