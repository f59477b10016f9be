"""The commands that make the regions' own models, on made-up answers: order, two at a time, refusals, failures."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from peers.build.record import (
    Base,
    BuildRecord,
    Canaries,
    CanaryScore,
    Evaluation,
    LanguageScore,
    Limits,
    Result,
    Settings,
    Stage,
)
from peers.demo import builders
from peers.demo.builders import Builder, make_models, require_libraries
from swarm.errors import TapestryError, UsageError
from swarm.sovereignty.artefacts import DataUsed
from swarm.sovereignty.labels import Label
from swarm.sovereignty.uses import Privacy, Use

REGIONS = ("eu", "east-asia", "southeast-asia")


def stage(n: int, verdict: Any, after: float) -> Stage:
    used = DataUsed(
        name="private text, de",
        digest="ab",
        label=Label.PRIVATE,
        residency="DE",
        licence="CC0-1.0",
        language="de",
        uses=(Use.SOVEREIGN_BUILD,),
        privacy=Privacy.LICENCE,
        files=1,
        bytes=5,
    )
    score = LanguageScore(language="de", is_own=True, base=4.0, before=4.0, after=after, scored_bytes=9)
    return Stage(
        n=n,
        name="cpt" if n == 1 else "sft",
        method="lora",
        data=(used,),
        settings=Settings(steps=7),
        canaries=Canaries(),
        parent="",
        result="cd",
        folder="",
        evaluation=Evaluation(languages=(score,), canaries=(CanaryScore(rank=1, alternatives=3, exposure_bits=2.0),)),
        limits=Limits(),
        verdict=verdict,
        reasons=("too much",) if verdict == "refused" else (),
        decision="",
        isolation="confined",
        final_loss=1.5,
        started=10.0,
        finished=12.5,
    )


def record(*stages: Stage) -> dict[str, Any]:
    found = BuildRecord(
        code="1",
        created=0.0,
        base=Base(run_id="run", round=3, record="", state="", checkpoint="", weights=""),
        member="",
        jurisdiction="DE",
        data_folder="",
        policy="",
        policy_digest="",
        stages=stages,
    )
    made = Result(folder="model", digest="ef", stage=1) if found.accepted else None
    return msgspec.to_builtins(msgspec.structs.replace(found, result=made))


SHOWN = {
    "signer": "12D3",
    "statement": {
        "predicate": {"base": {"run_id": "run", "round": 3, "state": "56"}, "rounds": [], "data": [], "stages": []}
    },
}
VERIFIED = {"signer_is": "known", "coverage": {"records": 3, "means": 2, "weights": True}}


class Answers:
    """In place of the commands: what each prints, and what was started in which order."""

    def __init__(self, ran: dict[str, Any]) -> None:
        self.ran = ran
        """By region, the document of `build run`; a sentence instead is a failure."""
        self.said: list[tuple[str, ...]] = []
        self.most_at_once = 0
        self.running: list[Answer] = []

    def start(self, module: str, words: Sequence[str], before: Sequence[str] = ()) -> "Answer":
        assert module == "peers" and words[-1] == "--json"
        region = next(name for name in reversed(REGIONS) if f"/{name}/" in words[2])
        self.said.append((region, *words[:2], *(["apart"] if before else [])))
        answer = Answer(self, {"run": self.ran[region], "verify": VERIFIED, "show": SHOWN}.get(words[1], {}))
        self.running.append(answer)
        self.most_at_once = max(self.most_at_once, len(self.running))
        return answer

    def of(self, region: str) -> list[tuple[str, ...]]:
        return [words for name, *words in self.said if name == region]


class Answer:
    def __init__(self, among: Answers, document: Any) -> None:
        self._among, self._document = among, document
        self._looks = 2
        self.is_stopped = False

    @property
    def is_running(self) -> bool:
        self._looks -= 1
        return self._looks > 0

    @property
    def output(self) -> str:
        return "" if isinstance(self._document, str) else json.dumps(self._document)

    def result(self) -> object:
        self._among.running.remove(self)
        if isinstance(self._document, str):
            raise TapestryError(self._document)
        if any(each["verdict"] == "refused" for each in self._document.get("stages", ())):
            raise TapestryError("stage 2-sft is refused: too much")
        return self._document

    def stop(self) -> None:
        self.is_stopped = True


@pytest.fixture
def three(tmp_path: Path) -> list[Builder]:
    def builder(region: str) -> Builder:
        folder = tmp_path / region
        folder.mkdir()
        return Builder(
            region=region,
            member=region,
            jurisdiction="DE",
            languages=("de",),
            state=tmp_path / "state",
            identity=tmp_path / "key",
            data=tmp_path / "data",
            folder=folder,
            state0=tmp_path / "state0",
        )

    return [builder(region) for region in REGIONS]


def answered(monkeypatch: pytest.MonkeyPatch, *, apart: bool = True, **ran: Any) -> Answers:
    """Whole builds in all regions, but for those named."""
    good = record(stage(1, "accepted", 3.5))
    answers = Answers({name: ran.get(name.replace("-", "_"), good) for name in REGIONS})
    monkeypatch.setattr(builders, "Command", answers.start)
    monkeypatch.setattr(builders, "can_be_apart", lambda: apart)
    monkeypatch.setattr(builders, "pause_s", lambda _: None)
    return answers


WHOLE = [["build", "new"], ["build", "run", "apart"], ["lineage", "verify"], ["lineage", "show"]]


def test_every_region_gives_its_commands_in_order_and_two_work_at_a_time(
    three: list[Builder], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers, said = answered(monkeypatch), list[str]()
    models = make_models(three, said.append)
    assert list(models) == list(REGIONS)
    assert [answers.of(region) for region in REGIONS] == [WHOLE] * 3
    assert answers.most_at_once == 2
    assert not answers.running
    assert said[0] == "eu: own model made in 1 stages, -0.500 bits per byte in its own languages"
    for region, model in models.items():
        assert (model.member, model.digest, model.has_network) == (region, "ef", False)
        assert model.lineage is not None and model.lineage.means == 2
        (only,) = model.stages
        assert (only.steps, only.data, only.label) == (7, ("private text, de",), "private")
        assert (only.exposure_bits, only.seconds, only.before, only.after) == (2.0, 2.5, {"de": 4.0}, {"de": 3.5})
    assert all((builder.folder / "recipe.toml").is_file() for builder in three)


def test_a_refused_stage_leaves_the_model_before_it_which_is_signed(
    three: list[Builder], monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = record(stage(1, "accepted", 3.5), stage(2, "refused", 9.0))
    answers, said = answered(monkeypatch, east_asia=refused), list[str]()
    models = make_models(three, said.append)
    assert answers.of("east-asia") == [*WHOLE[:2], ["lineage", "sign"], *WHOLE[2:]]
    assert "east-asia: the gate refuses stage sft: too much" in said
    assert [each.verdict for each in models["east-asia"].stages] == ["accepted", "refused"]
    assert models["east-asia"].digest == "ef"


def test_a_region_whose_first_stage_is_refused_has_no_model(
    three: list[Builder], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = answered(monkeypatch, eu=record(stage(1, "refused", 9.0)))
    models = make_models(three, lambda _: None)
    assert answers.of("eu") == WHOLE[:2]
    assert (models["eu"].digest, models["eu"].lineage, models["eu"].accepted) == (None, None, ())


def test_a_failure_names_the_region_and_ends_the_others(three: list[Builder], monkeypatch: pytest.MonkeyPatch) -> None:
    answers = answered(monkeypatch, eu="the disk is full")
    with pytest.raises(TapestryError, match="eu's own model: the disk is full"):
        make_models(three, lambda _: None)
    assert answers.running and all(each.is_stopped for each in answers.running)


def test_without_namespaces_the_commands_have_the_network_and_it_is_said(
    three: list[Builder], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = answered(monkeypatch, apart=False)
    models = make_models(three, lambda _: None)
    assert ["build", "run"] in answers.of("eu")
    assert all(model.has_network for model in models.values())


def test_lacking_libraries_are_named_before_anything_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    require_libraries()
    monkeypatch.setattr(builders, "find_spec", lambda name: None if name == "trl" else object())
    with pytest.raises(UsageError, match=r'own models need trl: pip install "tapestry-swarm\[build\]"'):
        require_libraries()
