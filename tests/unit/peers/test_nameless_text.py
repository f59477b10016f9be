"""Text made from rows by a peer's trainer has no name that another process could open, and none is left behind."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from peers.ecosystem.rows import as_nameless_text, as_text
from swarm.errors import DataError

SECRET = "the treasury is behind the third fresco"


def rows(folder: Path) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps({"body": f"{SECRET} {number}"}) + "\n" for number in range(3)))
    return path


def test_it_reads_like_any_file_and_lies_in_no_folder(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "scratch").mkdir()
    source, plain = rows(tmp_path / "data"), tmp_path / "data" / "plain.txt"
    plain.write_text("as it is")
    (named,) = as_text([source], {str(source): "body"}, tmp_path / "scratch")  # as an earlier version has left it
    made, same = as_nameless_text([source, plain], {str(source): "body"}, tmp_path / "scratch")
    assert same == plain and not named.exists()
    expected = "".join(f"{SECRET} {number}\n" for number in range(3)).encode()
    assert made.read_bytes() == expected and made.stat().st_size == len(expected)
    assert bytes(np.memmap(made, dtype=np.uint8, mode="r")) == expected
    for path in (tmp_path / "scratch").rglob("*"):
        assert path.is_dir() or SECRET.encode() not in path.read_bytes(), path


def test_a_bad_row_leaves_nothing_behind_either(tmp_path: Path) -> None:
    source = rows(tmp_path)
    source.write_text(source.read_text() + "{\n")
    (tmp_path / "scratch").mkdir()
    with pytest.raises(DataError, match="line 4") as caught:
        as_nameless_text([source], {str(source): "body"}, tmp_path / "scratch")
    assert SECRET not in str(caught.value) and not list((tmp_path / "scratch").iterdir())
    with pytest.raises(DataError, match="no text can be kept"):
        as_nameless_text([rows(tmp_path)], {str(source): "body"}, tmp_path / "none")


def test_no_other_process_opens_it_by_that_name(tmp_path: Path) -> None:
    source = rows(tmp_path)
    (made,) = as_nameless_text([source], {str(source): "body"}, tmp_path)
    code = f"import sys; sys.stdout.write(open({str(made)!r}, errors='replace').read())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert SECRET not in done.stdout
