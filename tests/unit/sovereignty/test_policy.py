"""Labels and policy files: every data file has exactly one label, or nothing is used."""

import os
from itertools import permutations
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.errors import DataError, PolicyError, UnlabelledDataError, UsageError
from swarm.isolation.levels import LADDER
from swarm.sovereignty.labels import Label, strictest
from swarm.sovereignty.policy import (
    POLICY_VERSION,
    Dataset,
    _decode,
    find_policy,
    is_held_out,
    is_silent,
    label_folder,
    read_policy,
)
from swarm.sovereignty.reasons import Reason
from swarm.sovereignty.uses import Privacy, Use

GERMAN = """
[[dataset]]
name = "manuals"
files = ["de/**/*.txt"]
label = "sovereign"
residency = "DE"
licence = "GPL-2.0"
language = "de"
uses = ["shared-base", "evaluation"]
"""
FRENCH = """
[[dataset]]
name = "notes"
files = ["fr.jsonl", "fr-*.jsonl"]
label = "open"
residency = "FR"
licence = "CC0-1.0"
language = "fr"
uses = ["shared-base"]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data folder with three files and the policy that covers them."""
    data = tmp_path / "data"
    (data / "de" / "deep").mkdir(parents=True)
    for name in ("de/a.txt", "de/deep/b.txt", "fr.jsonl", "README.md", "de/image.png"):
        (data / name).write_text("x")
    (data / "policy.toml").write_text("version = 2\n" + GERMAN + FRENCH)
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
    path = _with_policy(folder, "version = 2\n" + twice + FRENCH)
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
        ("version = 2", "version = 3", PolicyError, "version 3 is not one this program knows"),
        ("version = 2", "version = 1", PolicyError, "uses = "),
        ('uses = ["shared-base", "evaluation"]', "", PolicyError, "uses"),
        ('uses = ["shared-base", "evaluation"]', 'uses = ["anything"]', PolicyError, "uses"),
        ("version = 2", "", PolicyError, "version"),
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
        ("version = 2", 'version = 2\nisolation = "total"', PolicyError, "isolation is 'total', not one of none"),
        ('name = "manuals"', 'name = "notes"', PolicyError, "two data sets"),
        ('name = "manuals"', 'name = "manuals"\nlabell = "open"', PolicyError, "labell"),
        ("[[dataset]]", "[[dataset", PolicyError, "not TOML"),
        ("version = 2", "version = " + "[" * 100_000, PolicyError, "not TOML"),
    ],
)
def test_a_bad_policy_is_refused_and_the_key_named(
    folder: Path, before: str, after: str, kind: type[PolicyError], cause: str
) -> None:
    path = _with_policy(folder, ("version = 2\n" + GERMAN + FRENCH).replace(before, after, 1))
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
    named.write_text("version = 2\n" + GERMAN)
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
        path = _with_policy(folder, f'version = 2\nisolation = "{level}"\n{GERMAN}')
        assert read_policy(path).isolation == level


CODES = [
    ("version = 2", "version = 3", "unknown_version"),
    ("version = 2", "version = 1", "unknown_version"),
    ("version = 2", "", "missing_field"),
    ('label = "sovereign"', 'label = "secret"', "unknown_label"),
    ('label = "sovereign"', "", "unlabelled"),
    ('licence = "GPL-2.0"', "", "missing_field"),
    ('name = "manuals"', 'name = "manuals"\nlabell = "open"', "unknown_key"),
    ("version = 2", "version = 2\nbeta = true", "unknown_key"),
    ('uses = ["shared-base", "evaluation"]', "", "missing_field"),
    ('uses = ["shared-base", "evaluation"]', 'uses = ["fun"]', "bad_value"),
    ('language = "de"', 'language = "de"\nprivacy = "hope"', "bad_value"),
    ('language = "de"', 'language = "de"\nprivacy = "dp"', "bad_value"),
    ('language = "de"', f'language = "{"d" * 201}"', "bad_value"),
    ("[[dataset]]", "[[dataset", "not_toml"),
]


@pytest.mark.parametrize(("before", "after", "code"), CODES)
def test_every_refusal_has_its_reason_code(folder: Path, before: str, after: str, code: str) -> None:
    path = _with_policy(folder, ("version = 2\n" + GERMAN + FRENCH).replace(before, after, 1))
    with pytest.raises(PolicyError) as caught:
        read_policy(path)
    assert caught.value.code == code and str(caught.value).endswith(f"[{code}]")


DP = "\n[dp]\nepsilon = 3.0\nnoise_multiplier = 1.1\nmax_grad_norm = 1.0\n"


def test_differential_privacy_needs_its_table_and_sound_numbers(folder: Path) -> None:
    text = "version = 2\n" + GERMAN.replace("uses =", 'privacy = "dp"\nuses =') + FRENCH
    read = read_policy(_with_policy(folder, text + DP))
    assert read.dp is not None and (read.dp.epsilon, read.dp.unit) == (3.0, "sequence")
    for bad in ("epsilon = 0.0", "epsilon = -1.0", "epsilon = nan", "epsilon = inf", 'epsilon = "3"'):
        with pytest.raises(PolicyError, match="epsilon"):
            read_policy(_with_policy(folder, text + DP.replace("epsilon = 3.0", bad)))
    with pytest.raises(PolicyError, match="unit"):
        read_policy(_with_policy(folder, text + DP + 'unit = "member"\n'))


def test_the_digest_is_of_what_a_policy_says_and_not_of_how(folder: Path, tmp_path: Path) -> None:
    text = "version = 2\n" + GERMAN + FRENCH
    first = read_policy(_with_policy(folder, text)).digest
    assert len(first) == 64
    other = tmp_path / "elsewhere.toml"
    other.write_text(text.replace("\n\n", "\n# a remark\n\n"))
    assert read_policy(other).digest == first
    other.write_text(text.replace("sovereign", "controlled"))
    assert read_policy(other).digest != first


@given(st.binary(max_size=400) | st.text(max_size=400).map(str.encode))
def test_no_bytes_are_a_policy_by_accident(data: bytes) -> None:
    try:
        policy = _decode(data, Path("p"))
    except PolicyError as error:
        assert error.code in tuple(Reason)
    else:
        assert policy.version == 2 and policy.datasets == ()


@given(st.data())
def test_a_policy_with_any_line_lost_or_doubled_is_refused_or_as_strict(data: st.DataObject) -> None:
    lines = ("version = 2\n" + GERMAN + FRENCH).splitlines()
    place = data.draw(st.integers(0, len(lines) - 1))
    doubled = data.draw(st.booleans())
    changed = [*lines[:place], *([lines[place]] * 2 if doubled else []), *lines[place + 1 :]]
    try:
        policy = _decode("\n".join(changed).encode(), Path("p"))
    except PolicyError:
        return
    assert [dataset.label for dataset in policy.datasets] == [Label.SOVEREIGN, Label.OPEN]
    assert all(dataset.uses for dataset in policy.datasets)


@pytest.mark.parametrize("label", list(Label))
@pytest.mark.parametrize("privacy", list(Privacy))
def test_data_for_evaluation_alone_is_scored_on_if_its_word_may_leave(label: Label, privacy: Privacy) -> None:
    text = GERMAN.replace('"sovereign"', f'"{label.value}"').replace('["shared-base", "evaluation"]', '["evaluation"]')
    dataset = decoded(text + f'privacy = "{privacy.value}"')
    is_plain = privacy is Privacy.LICENCE
    assert is_held_out(dataset) == (is_plain and label is not Label.PRIVATE)
    assert is_held_out(msgspec.structs.replace(dataset, votes=True)) == is_plain
    assert is_silent(dataset) != is_held_out(dataset)
    assert not is_silent(msgspec.structs.replace(dataset, uses=(Use.EVALUATION, Use.SHARED_BASE)))
    assert not is_held_out(msgspec.structs.replace(dataset, uses=(Use.EVALUATION, Use.SHARED_BASE)))
    assert not is_held_out(msgspec.structs.replace(dataset, uses=(Use.SOVEREIGN_BUILD,)))


def decoded(text: str) -> Dataset:
    return _decode(f"version = {POLICY_VERSION}\n{text}".encode(), Path("policy.toml")).datasets[0]
