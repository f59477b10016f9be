"""A user's folder per region."""

from pathlib import Path

import pytest

from peers.corpus.folder import read_folder
from swarm.errors import DataError, UsageError


def write(path: Path, word: str, lines: int = 60) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(f"{word} line number {i} of the file" for i in range(lines)))


def three_regions(folder: Path) -> None:
    write(folder / "eu" / "de.txt", "eins")
    write(folder / "eu" / "es" / "a.txt", "uno")
    write(folder / "eu" / "es" / "b.txt", "dos")
    write(folder / "east-asia" / "notes on ja.txt", "ichi")
    write(folder / "southeast-asia" / "vi.txt", "mot")


def test_languages_come_from_names_and_one_line_in_ten_is_held_out(tmp_path: Path) -> None:
    three_regions(tmp_path / "data")
    found = read_folder(tmp_path / "data", tmp_path / "cache")
    assert {region.name: dict(region.jurisdictions) for region in found.regions} == {
        "eu": {"de": "DE", "es": "DE"},
        "east-asia": {"east-asia": "JP"},
        "southeast-asia": {"vi": "VN"},
    }
    train = found.corpus.train["es"].read_text().splitlines()
    held_out = found.corpus.held_out["es"].read_text().splitlines()
    assert len(train) + len(held_out) == 120
    assert 0 < len(held_out) < 30


@pytest.mark.parametrize(
    ("breakage", "message"),
    [
        ("missing region", "east-asia is missing"),
        ("empty region", "holds no text files"),
        ("short text", "too little text in 'de'"),
        ("shared language", "'de' is a language of another region"),
    ],
)
def test_unusable_folders_are_refused_in_one_line(tmp_path: Path, breakage: str, message: str) -> None:
    data = tmp_path / "data"
    three_regions(data)
    asia = data / "east-asia"
    if breakage in {"missing region", "empty region"}:
        (asia / "notes on ja.txt").unlink()
    if breakage == "missing region":
        asia.rmdir()
    if breakage == "short text":
        write(data / "eu" / "de.txt", "eins", lines=1)
    if breakage == "shared language":
        write(asia / "de.txt", "eins")
    with pytest.raises(DataError, match=message) as caught:
        read_folder(data, tmp_path / "cache")
    assert "\n" not in str(caught.value)


def test_a_path_that_does_not_exist_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a folder"):
        read_folder(tmp_path / "nowhere", tmp_path / "cache")
