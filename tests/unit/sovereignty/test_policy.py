"""Labels and policy files: every data file has exactly one label, or nothing is used."""

import os
from itertools import permutations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.errors import DataError, PolicyError, UnlabelledDataError, UsageError
from swarm.isolation.levels import LADDER
from swarm.sovereignty.labels import Label, strictest
from swarm.sovereignty.policy import find_policy, label_folder, read_policy

GERMAN = """
[[dataset]]
name = "manuals"
files = ["de/**/*.txt"]
label = "sovereign"
residency = "DE"
licence = "GPL-2.0"
language = "de"
"""
FRENCH = """
[[dataset]]
name = "notes"
files = ["fr.jsonl", "fr-*.jsonl"]
label = "open"
residency = "FR"
licence = "CC0-1.0"
language = "fr"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data folder with three files and the policy that covers them."""
    data = tmp_path / "data"
    (data / "de" / "deep").mkdir(parents=True)
    for name in ("de/a.txt", "de/deep/b.txt", "fr.jsonl", "README.md", "de/image.png"):
        (data / name).write_text("x")
    (data / "policy.toml").write_text("version = 1\n" + GERMAN + FRENCH)
    return data


def _with_policy(folder: Path, text: str) -> Path:
    (folder / "policy.toml").write_text(text)
    return folder / "policy.toml"


def test_every_data_file_gets_its_label(folder: Path) -> None:
    labelled = label_folder(folder, read_policy(find_policy(folder, None)))
    assert [(file.path.relative_to(folder).as_posix(), file.dataset.label) for file in labelled] == [
        ("de/a.txt", Label.SOVEREIGN),
        ("de/deep/b.txt", Label.SOVEREIGN),
        ("fr.jsonl", Label.OPEN),
    ]


@pytest.mark.parametrize("name", ["extra.txt", "de/new.jsonl", "deeper/de/a.txt", ".hidden.txt", "frx.jsonl"])
def test_a_file_that_no_data_set_covers_is_refused_by_name(folder: Path, name: str) -> None:
    (folder / name).parent.mkdir(exist_ok=True, parents=True)
    (folder / name).write_text("secret")
    with pytest.raises(UnlabelledDataError, match=name):
        label_folder(folder, read_policy(folder / "policy.toml"))


def test_a_file_that_two_data_sets_cover_is_refused(folder: Path) -> None:
    twice = GERMAN + GERMAN.replace("manuals", "copies").replace("sovereign", "open")
    path = _with_policy(folder, "version = 1\n" + twice + FRENCH)
    with pytest.raises(UnlabelledDataError, match="manuals and copies"):
        label_folder(folder, read_policy(path))


def test_a_missing_empty_or_wrong_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    policy = read_policy(folder / "policy.toml")
    with pytest.raises(UsageError, match="does not exist"):
        label_folder(tmp_path / "nowhere", policy)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no data"):
        label_folder(tmp_path / "empty", policy)
    with pytest.raises(DataError, match="not a folder"):
        label_folder(folder / "README.md", policy)


def test_no_link_leads_out_of_the_folder(folder: Path, tmp_path: Path) -> None:
    policy = read_policy(folder / "policy.toml")
    (tmp_path / "elsewhere.txt").write_text("another's data")
    (tmp_path / "other").mkdir()
    for name, target in (("de/link.txt", tmp_path / "elsewhere.txt"), ("de/dir", tmp_path / "other")):
        (folder / name).symlink_to(target)
        with pytest.raises(DataError, match="leads out"):
            label_folder(folder, policy)
        (folder / name).unlink()
    (folder / "de" / "inside.txt").symlink_to(folder / "de" / "a.txt")
    (folder / "de" / "loop").symlink_to(folder / "de")
    (folder / "de" / "circle.txt").symlink_to(folder / "de" / "circle.txt")
    assert len(label_folder(folder, policy)) == 4


@pytest.mark.parametrize(
    ("before", "after", "kind", "cause"),
    [
        ("version = 1", "version = 2", PolicyError, "version"),
        ("version = 1", "", PolicyError, "version"),
        ('label = "sovereign"', "", UnlabelledDataError, "label"),
        ('label = "sovereign"', 'label = "secret"', PolicyError, "label"),
        ('licence = "GPL-2.0"', "", PolicyError, "licence"),
        ('licence = "GPL-2.0"', 'licence = " "', PolicyError, "licence"),
        ('residency = "DE"', "", PolicyError, "residency"),
        ('residency = "DE"', 'residency = "Germany"', PolicyError, "residency"),
        ('language = "de"', "", PolicyError, "language"),
        ('files = ["de/**/*.txt"]', "files = []", PolicyError, "files"),
        ('"de/**/*.txt"', '"../*.txt"', PolicyError, "leaves the data folder"),
        ('"de/**/*.txt"', '"de/../../x.txt"', PolicyError, "leaves the data folder"),
        ('"de/**/*.txt"', '"/etc/*.txt"', PolicyError, "leaves the data folder"),
        ("version = 1", 'version = 1\nisolation = "total"', PolicyError, "isolation is 'total', not one of none"),
        ('name = "manuals"', 'name = "notes"', PolicyError, "two data sets"),
        ('name = "manuals"', 'name = "manuals"\nlabell = "open"', PolicyError, "labell"),
        ("[[dataset]]", "[[dataset", PolicyError, "not TOML"),
        ("version = 1", "version = " + "[" * 100_000, PolicyError, "not TOML"),
    ],
)
def test_a_bad_policy_is_refused_and_the_key_named(
    folder: Path, before: str, after: str, kind: type[PolicyError], cause: str
) -> None:
    path = _with_policy(folder, ("version = 1\n" + GERMAN + FRENCH).replace(before, after, 1))
    with pytest.raises(kind, match=cause) as caught:
        read_policy(path)
    assert type(caught.value) is kind
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bytes_that_are_no_text_are_refused(folder: Path) -> None:
    (folder / "policy.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(PolicyError, match="not TOML"):
        read_policy(folder / "policy.toml")


def test_the_policy_lies_in_the_folder_unless_another_is_named(folder: Path, tmp_path: Path) -> None:
    named = tmp_path / "mine.toml"
    with pytest.raises(UsageError, match="does not exist"):
        find_policy(folder, named)
    named.write_text("version = 1\n" + GERMAN)
    assert find_policy(folder, named) == named
    assert find_policy(folder, None) == folder / "policy.toml"
    os.remove(folder / "policy.toml")
    with pytest.raises(UnlabelledDataError, match="without a label is refused"):
        find_policy(folder, None)


def test_labels_are_ordered_by_how_much_they_forbid() -> None:
    for mixed in permutations(Label):
        assert strictest(mixed) is Label.PRIVATE
    assert strictest([Label.CONTROLLED, Label.OPEN]) is Label.CONTROLLED
    assert strictest([Label.SOVEREIGN, Label.CONTROLLED]) is Label.SOVEREIGN
    with pytest.raises(ValueError):
        strictest([])


@given(st.lists(st.sampled_from(Label), min_size=1), st.lists(st.sampled_from(Label), min_size=1))
def test_mixing_in_more_data_never_loosens(some: list[Label], more: list[Label]) -> None:
    assert strictest(some + more).tightness >= strictest(some).tightness


def test_a_policy_may_demand_a_level_of_isolation(folder: Path) -> None:
    assert read_policy(folder / "policy.toml").isolation == "none"
    for level in LADDER:
        path = _with_policy(folder, f'version = 1\nisolation = "{level}"\n{GERMAN}')
        assert read_policy(path).isolation == level
