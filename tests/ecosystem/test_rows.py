"""JSON lines and Parquet as text: every row, in order; a bad one is named and its content is not shown."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from peers.ecosystem.rows import as_text
from swarm.errors import DataError

DOCUMENTS = ["the first", "zweites\nmit Umbruch", "三つ目", ""]


def write(path: Path, field: str = "text", documents: list = DOCUMENTS) -> Path:
    if path.suffix == ".jsonl":
        lines = [json.dumps({field: text, "id": number}) for number, text in enumerate(documents)]
        path.write_text("\n".join(lines) + "\n\n")
    else:
        table = pyarrow.table({"id": range(len(documents)), field: documents})
        pyarrow.parquet.write_table(table, path, row_group_size=2)
    return path


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
@pytest.mark.parametrize("field", ["text", "body"])
def test_rows_become_text_in_order(tmp_path: Path, suffix: str, field: str) -> None:
    rows = write(tmp_path / f"rows{suffix}", field)
    plain = tmp_path / "plain.txt"
    plain.write_text("as it is")
    fields = {} if field == "text" else {str(rows): field}
    made, same = as_text([rows, plain], fields, tmp_path)
    assert same == plain
    assert made.read_text() == "".join(f"{text}\n" for text in DOCUMENTS)


def test_a_text_is_on_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A text that is there is not made again, so none may be there that a power cut has torn."""
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_ino))
    (made,) = as_text([write(tmp_path / "rows.jsonl")], {}, tmp_path)
    assert made.stat().st_ino in synced


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_text_is_made_once_and_again_when_its_file_has_changed(tmp_path: Path, suffix: str) -> None:
    rows = write(tmp_path / f"rows{suffix}")
    (first,) = as_text([rows], {}, tmp_path)
    made_at = first.stat().st_mtime_ns
    assert as_text([rows], {}, tmp_path) == [first] and first.stat().st_mtime_ns == made_at
    write(rows, documents=[*DOCUMENTS, "one more"])
    (second,) = as_text([rows], {}, tmp_path)
    assert second != first and second.read_text().endswith("one more\n") and not first.exists()


@pytest.mark.parametrize(
    ("content", "where"),
    [
        ('{"text": "fine"}\n{"text": 3}\n', "line 2: 'text' is a number"),
        ('{"text": "fine"}\n\n{"body": "secret"}\n', "line 3: no field 'text'"),
        ('{"text": "fine"}\n{"text": "secr', "line 2: not a JSON object"),
        ('["secret"]\n', "line 1: not a JSON object"),
        ('{"text": null}\n', "line 1: 'text' is null"),
        ("[" * 100_000, "line 1: not a JSON object"),
    ],
)
def test_a_bad_line_is_named_and_not_shown(tmp_path: Path, content: str, where: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(content)
    with pytest.raises(DataError) as refusal:
        as_text([path], {}, tmp_path)
    assert where in str(refusal.value) and "secr" not in str(refusal.value)
    assert not list((tmp_path / "texts").glob("*.txt")), "half a text is none"


def test_a_bad_table_is_named(tmp_path: Path) -> None:
    other = write(tmp_path / "other.parquet", "body")
    with pytest.raises(DataError, match="no column 'text', but id, body"):
        as_text([other], {}, tmp_path)
    nothing = write(tmp_path / "null.parquet", documents=["fine", None])
    with pytest.raises(DataError, match="row 2: 'text' is null"):
        as_text([nothing], {}, tmp_path)
    torn = tmp_path / "torn.parquet"
    torn.write_bytes(other.read_bytes()[:-20])
    with pytest.raises(DataError, match="not a readable Parquet file"):
        as_text([torn], {}, tmp_path)
    with pytest.raises(DataError, match="cannot be read"):
        as_text([tmp_path / "gone.jsonl"], {}, tmp_path)


def test_datasets_is_imported_for_parquet_and_for_nothing_else(tmp_path: Path) -> None:
    rows = write(tmp_path / "rows.jsonl")
    code = (
        "import sys, pathlib; from peers.ecosystem.rows import as_text; "
        f"as_text([pathlib.Path({str(rows)!r})], {{}}, pathlib.Path({str(tmp_path)!r})); "
        "sys.exit(sorted({'datasets', 'pyarrow', 'torch'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
