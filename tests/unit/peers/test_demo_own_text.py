"""What a member of the pilot keeps for its own model: nothing of it is shared, all is labelled, examples are real."""

import random
from pathlib import Path

import pytest

from peers.build.examples import read_examples
from peers.build.recipe import read_recipe
from peers.build.record import Base, BuildRecord
from peers.build.sources import decide, held_out_files, own_languages, read_ground
from peers.demo.ground import Ground, lay_out
from peers.demo.own_recipe import recipe
from peers.demo.own_text import PROMPT_BYTES, beginning, instructions_of, name_of, preferences_of
from peers.demo.settings import Settings
from peers.demo.terms import HELD_OUT_BYTES, PLAIN
from swarm.errors import PolicyError
from swarm.sovereignty.labels import Label
from swarm.sovereignty.policy import files_for, label_folder, read_policy
from swarm.sovereignty.reasons import Reason
from swarm.sovereignty.uses import Use

LANGUAGES = {"eu": ("de", "fr"), "east-asia": ("ja",), "southeast-asia": ("vi",)}


def texts(folder: Path, uses: str, label: str = "open") -> Path:
    """One labelled folder of text per region of the pilot; no line is in two."""
    for region, languages in LANGUAGES.items():
        home = folder / region
        home.mkdir(parents=True)
        policy = ["version = 2"]
        for language in languages:
            letters = random.Random(language)
            lines = [" ".join("".join(letters.choices("abcdefghijkl", k=7)) for _ in range(30)) for _ in range(200)]
            (home / f"{language}.txt").write_text("\n".join(lines))
            policy.append(
                f'[[dataset]]\nname = "{language}"\nfiles = ["{language}.txt"]\nlabel = "{label}"\nresidency = "DE"\n'
                f'licence = "CC0-1.0"\nlanguage = "{language}"\nuses = [{uses}]\n'
            )
        (home / "policy.toml").write_text("\n".join(policy))
    return folder


ALL_USES = '"shared-base", "sovereign-build", "evaluation"'


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Ground:
    folder = tmp_path_factory.mktemp("pilot")
    (folder / "out").mkdir()
    settings = Settings(rounds=2, out=folder / "out", seed=0, data=texts(folder / "data", ALL_USES), build=True)
    return lay_out(settings, PLAIN, lambda _: None)


def test_no_line_is_both_shared_and_kept_and_none_is_lost(ground: Ground) -> None:
    for member in ground.members:
        assert member.own is not None
        for language in member.region.jurisdictions:
            shared = (member.data / f"{language}.txt").read_text().splitlines()
            kept = (member.own / "private" / f"{language}.txt").read_text().splitlines()
            held_out = ground.corpus.held_out[language].read_text().splitlines()
            assert len(kept) == (len(kept) + len(shared)) // 4 > 0
            assert not set(kept) & set(shared)
            assert not set(held_out) & {*kept, *shared}
            assert len(kept) + len(shared) + len(held_out) == 200


def test_every_kept_file_is_private_bound_to_its_member_and_for_builds_alone(ground: Ground) -> None:
    for member in ground.members:
        assert member.own is not None
        labelled = label_folder(member.own, read_policy(member.own / "policy.toml"))
        mine = files_for(labelled, Use.SOVEREIGN_BUILD)
        assert len(mine) == 3 * len(member.region.jurisdictions)
        for file in mine:
            assert file.dataset.label is Label.PRIVATE
            assert file.dataset.residency == member.home
            assert file.dataset.uses == (Use.SOVEREIGN_BUILD,)
            assert file.dataset.licence == "CC0-1.0"
        with pytest.raises(PolicyError):
            files_for(labelled, Use.SHARED_BASE)


def test_the_build_is_allowed_its_recipe_at_home_and_nowhere_else(ground: Ground, tmp_path: Path) -> None:
    import tomli_w

    member = ground.members[0]
    assert member.own is not None
    languages = tuple(member.region.jurisdictions)
    path = tmp_path / "recipe.toml"
    path.write_text(tomli_w.dumps(recipe(languages)))
    asked = read_recipe(path)
    assert [stage.name for stage in asked] == ["cpt", "sft", "dpo"]
    assert {stage.method for stage in asked} == {"lora"}
    place = read_ground(member.own, member.own / "policy.toml")
    base = Base(run_id="", round=1, record="", state="", checkpoint="", weights="")

    def record(jurisdiction: str) -> BuildRecord:
        return BuildRecord(
            code="",
            created=0.0,
            base=base,
            member=member.name,
            jurisdiction=jurisdiction,
            data_folder=str(member.own),
            policy="",
            policy_digest="",
        )

    for stage in asked:
        assert decide(place, stage.data, record(member.home)).verdict == "permit"
        assert decide(place, stage.data, record("JP")).code is Reason.OUTSIDE_RESIDENCY
        assert own_languages(place, stage.data, record(member.home)) == set(languages)
        held_out = held_out_files(place, stage.data, record(member.home))
        assert set(held_out) == {"de", "fr", "ja", "vi"}, "what is trained on, and what is to be remembered"


def test_what_is_scored_is_what_the_pilot_scores(ground: Ground) -> None:
    for member in ground.members:
        assert member.own is not None
        for language, path in ground.corpus.held_out.items():
            here = (member.own / "held-out" / f"{language}.txt").read_bytes()
            assert here == path.read_bytes()[:HELD_OUT_BYTES]


def test_examples_are_what_the_trainers_take_and_real_text(ground: Ground) -> None:
    member = ground.members[0]
    assert member.own is not None
    paragraphs = (member.own / "private" / "de.txt").read_text().splitlines()
    french = (member.own / "private" / "fr.txt").read_text().splitlines()
    instructions = list(read_examples(member.own / "instructions" / "de.jsonl", "sft"))
    preferences = list(read_examples(member.own / "preferences" / "de.jsonl", "dpo"))
    assert len(instructions) == len(preferences) == len(paragraphs)
    for example, choice in zip(instructions, preferences, strict=True):
        whole = example["prompt"] + example["completion"]
        assert any(text.startswith(whole) for text in paragraphs)
        assert len(example["prompt"].encode()) <= PROMPT_BYTES
        assert (choice["prompt"], choice["chosen"]) == (example["prompt"], example["completion"])
        assert any(text.startswith(choice["rejected"]) for text in french)


def test_with_one_language_the_worse_answer_is_the_real_one_in_disorder() -> None:
    draw = random.Random(0)
    words = " ".join(f"word{number}" for number in range(60))
    letters = "".join(chr(0x3042 + number) for number in range(80))
    instructions = list(instructions_of([words, letters, "too short"], draw))
    assert len(instructions) == 2
    for choice in preferences_of(instructions, [], draw):
        assert choice["rejected"] != choice["chosen"]
        assert sorted(choice["rejected"].split()) == sorted(choice["chosen"].split()) or sorted(
            choice["rejected"]
        ) == sorted(choice["chosen"])


@pytest.mark.parametrize("text", ["plain words and more of them", "あいうえおかきくけこ", "ein Wort", ""])
@pytest.mark.parametrize("limit", [5, 11, 16])
def test_a_beginning_is_whole_characters_within_the_limit(text: str, limit: int) -> None:
    start = beginning(text, limit)
    assert text.startswith(start)
    assert len(start.encode()) <= limit
    assert start or not text


def test_text_that_may_not_be_used_for_a_build_is_refused(tmp_path: Path) -> None:
    data = texts(tmp_path / "data", '"shared-base", "evaluation"')
    settings = Settings(rounds=2, out=tmp_path, seed=0, data=data, build=True)
    with pytest.raises(PolicyError, match="not for sovereign-build"):
        lay_out(settings, PLAIN, lambda _: None)


def test_held_out_text_that_others_may_not_read_is_refused(tmp_path: Path) -> None:
    data = texts(tmp_path / "data", ALL_USES, label="sovereign")
    settings = Settings(rounds=2, out=tmp_path, seed=0, data=data, build=True)
    with pytest.raises(PolicyError, match="that of eu is sovereign, and bound to DE"):
        lay_out(settings, PLAIN, lambda _: None)


def test_without_build_nothing_is_kept(tmp_path: Path) -> None:
    data = texts(tmp_path / "data", '"shared-base", "evaluation"')
    ground = lay_out(Settings(rounds=2, out=tmp_path, seed=0, data=data), PLAIN, lambda _: None)
    assert all(member.own is None for member in ground.members)
    assert not (tmp_path / "sovereign").exists() and not (tmp_path / "shares").exists()


def test_names_of_data_sets_are_those_of_the_policy(ground: Ground) -> None:
    member = ground.members[0]
    assert member.own is not None
    known = {dataset.name for dataset in read_policy(member.own / "policy.toml").datasets}
    assert {name_of("private", "de"), name_of("instructions", "fr"), name_of("held-out", "vi")} <= known
