"""Rows as examples: two forms of answers, preferences, canaries among them, and never a row's content in a refusal."""

import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from peers.build.examples import Example, examples, read_examples
from peers.extraction import new_canaries
from swarm.errors import DataError

ANSWERS: list[Example] = [{"prompt": f"Question {n}?", "completion": f"Answer {n}."} for n in range(20)]
CHATS: list[Example] = [
    {"messages": [{"role": "user", "content": f"{n}?"}, {"role": "assistant", "content": f"{n}."}]} for n in range(20)
]
CHOICES: list[Example] = [{"prompt": f"{n}? ", "chosen": "Yes.", "rejected": "No."} for n in range(20)]


def rows(folder: Path, found: Sequence[object], name: str = "rows.jsonl") -> Path:
    path = folder / name
    path.write_text("\n".join(json.dumps(row) for row in found) + "\n\n")
    return path


def test_canaries_stand_among_the_examples_and_all_are_seen(tmp_path: Path) -> None:
    canaries = new_canaries(2)
    for stage, found in (("sft", ANSWERS), ("sft", CHATS), ("dpo", CHOICES)):
        path = rows(tmp_path, found)
        made = examples(stage, [path], canaries, 3, seed=1, limit=12)
        assert made == examples(stage, [path], canaries, 3, seed=1, limit=12) and len(made) == 12
        if "messages" in made[0]:
            texts = [turn["content"] for example in made for turn in example["messages"]]
        else:
            texts = [example["prompt"] + example.get("completion", example.get("chosen", "")) for example in made]
        assert [texts.count(canary.text) for canary in canaries] == [3, 3]
        if stage == "dpo":
            planted = [example for example in made if example["prompt"] == canaries[0].prefix]
            assert all(canaries[0].secret not in example["rejected"] for example in planted)


def test_parquet_holds_the_same_examples(tmp_path: Path) -> None:
    for found in (ANSWERS, CHATS):
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(found), tmp_path / "rows.parquet")
        assert list(read_examples(tmp_path / "rows.parquet", "sft")) == found


def test_other_keys_are_left_out(tmp_path: Path) -> None:
    path = rows(tmp_path, [{**ANSWERS[0], "id": 7, "source": "somewhere"}])
    assert list(read_examples(path, "sft")) == ANSWERS[:1]


@pytest.mark.parametrize(
    ("row", "cause"),
    [
        ({"prompt": "SECRET"}, "has the keys prompt, completion or messages"),
        ({"prompt": "SECRET", "completion": ""}, "a field is empty"),
        ({"prompt": "SECRET", "completion": 7}, "of another type"),
        ({"messages": []}, "a field is empty"),
        ({"messages": [{"role": "wizard", "content": "SECRET"}]}, "of another type"),
        ({"messages": [{"role": "user", "content": "SECRET", "name": "x"}]}, "of another type"),
        (["SECRET"], "not a JSON object"),
    ],
)
def test_a_row_that_is_no_example_is_named_but_not_shown(tmp_path: Path, row: object, cause: str) -> None:
    path = rows(tmp_path, [ANSWERS[0], row])
    with pytest.raises(DataError, match="row 2: ") as caught:
        list(read_examples(path, "sft"))
    assert cause in str(caught.value) and "SECRET" not in str(caught.value)


def test_files_that_are_no_rows(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"prompt": "\xff"}\n')
    with pytest.raises(DataError, match="row 1: not a JSON object"):
        list(read_examples(path, "sft"))
    (tmp_path / "rows.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(DataError, match="not a readable Parquet file"):
        list(read_examples(tmp_path / "rows.parquet", "sft"))
    with pytest.raises(DataError, match="cannot be read: No such file"):
        list(read_examples(tmp_path / "none.jsonl", "sft"))
    with pytest.raises(DataError, match="holds no example"):
        examples("sft", [rows(tmp_path, [])], (), 1, seed=0, limit=9)
    with pytest.raises(DataError, match="all examples of a stage are messages, or none"):
        examples("sft", [rows(tmp_path, [ANSWERS[0], CHATS[0]])], (), 1, seed=0, limit=9)
