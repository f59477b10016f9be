"""`tapestry demo --build` on made-up numbers: what left, what statements say, and what page and terminal show of it."""

import io
from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from peers.demo.lineage_drawing import draw
from peers.demo.own_lineage import lineage_of
from peers.demo.report import write_report
from peers.demo.result import Result
from peers.demo.sovereign import own_scores
from peers.demo.sovereign_report import own_sentences, sovereign_section
from peers.demo.sovereign_result import LedgerDuring, Left, LineageStage, Model, OwnLineage, OwnStage, Sovereign
from peers.demo.table import score_table
from peers.demo.what_left import PeerFolder, Place, ledger_digests, what_left
from swarm.errors import StateError
from swarm.identity.key import Identity
from swarm.net.audited import DIRECTORY
from swarm.sovereignty.ledger import Ledger
from swarm.sovereignty.permit import Kind
from tests.unit.peers.test_report import ASIA, EU, LATE, SEA, Outline, document, made_up, readable

LANGUAGES = {"eu": ("de", "fr"), "east-asia": ("ja", "ko"), "southeast-asia": ("vi", "id")}
EVERY = [language for languages in LANGUAGES.values() for language in languages]
UNTRAINED = dict.fromkeys(EVERY, 8.0)
ROOT = "ef" * 32


def stage(name: str, region: str, gain: float, *, refused: str = "") -> OwnStage:
    """One that takes bits off its own languages, and adds a few to all others."""
    before = dict.fromkeys(EVERY, 3.5)
    return OwnStage(
        name=name,
        method="lora",
        steps=120,
        data=tuple(f"{name} data, {language}" for language in LANGUAGES[region]),
        label="private",
        verdict="refused" if refused else "accepted",
        reasons=(refused,) if refused else (),
        isolation="confined",
        loss=2.345,
        exposure_bits=2.5,
        before=before,
        after={language: 3.5 - gain if language in LANGUAGES[region] else 3.625 for language in EVERY},
        seconds=20.0,
    )


def lineage(region: str) -> OwnLineage:
    return OwnLineage(
        signer={"eu": EU, "east-asia": ASIA, "southeast-asia": LATE}[region],
        signer_is="in the roster of 12 of 12 rounds",
        run_id="12" * 32,
        round=12,
        state="34" * 32,
        contributed={"eu": 12, "east-asia": 12, "southeast-asia": 9},
        members={name: (f"member-{name}",) for name in LANGUAGES},
        stages=tuple(
            LineageStage(name=name, method="lora", result=f"{number}{region[0]}" * 32, labels=("private", "private"))
            for number, name in enumerate(("cpt", "sft", "dpo"))
        ),
        records=12,
        means=11,
        is_base=True,
    )


def model(region: str, stages: tuple[OwnStage, ...], *, has_network: bool = False) -> Model:
    is_made = any(each.verdict == "accepted" for each in stages)
    return Model(
        member=region,
        jurisdiction="DE",
        build=f"/somewhere/{region}/build",
        own=LANGUAGES[region],
        digest="56" * 32 if is_made else None,
        stages=stages,
        lineage=lineage(region) if is_made else None,
        has_network=has_network,
    )


def left(peers: Mapping[str, str]) -> Left:
    ledgers = {
        peer: LedgerDuring(entries=345, root=ROOT, verdict="witnessed", before="aa", after=after)
        for peer, after in peers.items()
    }
    return Left(
        by_kind={"sum": 4_200_000, "vote": 21_300},
        by_place={Place.ABROAD: 4_200_000, Place.BOOTSTRAP: 21_300},
        ledgers=ledgers,
    )


def with_models(models: Mapping[str, Model] | None = None, sea: str = "aa") -> Result:
    made = models or {region: model(region, (stage("cpt", region, 0.25),)) for region in LANGUAGES}
    own = Sovereign(
        state_zero="78" * 32,
        bits_per_byte=own_scores(made, UNTRAINED),
        models=dict(made),
        left={
            "eu": left({EU: "aa"}),
            "east-asia": left({ASIA: "aa"}),
            "southeast-asia": left({SEA: sea, LATE: "aa"}),
        },
        seconds=77.0,
    )
    return msgspec.structs.replace(made_up(), sovereign=own)


def section(result: Result) -> str:
    """The page's part about own models, from the document as it is written and read again."""
    return "\n".join(sovereign_section(msgspec.convert(document(result), Result)))


def test_scores_are_those_of_the_last_stage_that_the_gate_let_pass() -> None:
    refused = (stage("cpt", "eu", 0.25), stage("sft", "eu", 1.5, refused="too much"))
    none = (stage("cpt", "east-asia", 1.0, refused="no good"),)
    models = {"eu": model("eu", refused), "east-asia": model("east-asia", none)}
    scores = own_scores(models, {"de": 8.0, "ja": 7.5})
    assert msgspec.to_builtins(scores) == {
        "de": {"base": 8.0, "shared": 3.5, "sovereign": {"eu": 3.25}},
        "ja": {"base": 7.5, "shared": 3.5, "sovereign": {"eu": 3.625}},
    }


def test_the_page_shows_base_shared_base_and_own_models_per_language(tmp_path: Path) -> None:
    path = write_report(
        document(msgspec.structs.replace(with_models(), rounds=(), loss={}, bytes_sent={}, bits_per_byte={})), tmp_path
    )
    html, text = path.read_text("utf-8"), readable(path)
    for fact in (
        "fewer bits per byte, own models in their own languages7.1 %",
        "What each region takes home",
        "Shared Base",
        "eu's own model needs 3.250 bits per byte in German and French, the Shared Base 3.500: 7.1 % fewer.",
        "3.500 → 3.250",
        "cpt data",
        "confined",
        "What left each region",
        "4.2 MB",
        "21.3 kB",
        "inside the region",
        "every ledger is byte for byte the one from before the builds",
        "network namespaces with nothing in them",
        "11 of 12 rounds made again",
        "witnessed",
        ROOT[:12],
    ):
        assert (fact in text) == (fact != "inside the region"), fact
    assert html.count("<strong>3.25</strong>") == 6, "two languages of each region"
    assert Outline(html).open == []


def test_the_drawing_has_every_stage_and_every_signature() -> None:
    result = with_models()
    assert result.sovereign is not None
    drawing = draw(result.sovereign, list(LANGUAGES))
    seen = Outline(drawing)
    assert seen.open == []
    assert seen.addresses == []
    for fact in ("State 0", "Shared Base of round 12", "12 of 12 commit records verified", "9 updates"):
        assert fact in seen.text
    for name in ("Private CPT", "SFT", "DPO", "Sovereign Model", "\nverified\n"):
        assert seen.text.count(name) == 3
    assert seen.text.count("2 private sets") == 9
    for region in LANGUAGES:
        assert all(each.result[:12] in seen.text for each in lineage(region).stages)
    assert "script" not in drawing and "http" not in drawing


def test_a_refused_stage_and_a_changed_ledger_are_said() -> None:
    models = {
        "eu": model("eu", (stage("cpt", "eu", -0.5), stage("sft", "eu", 1.0, refused="ko: forgotten"))),
        "east-asia": model("east-asia", (stage("cpt", "east-asia", 1.0, refused="a canary"),)),
        "southeast-asia": model("southeast-asia", (stage("cpt", "southeast-asia", 0.5),), has_network=True),
    }
    result = with_models(models, sea="bb")
    text = Outline(section(result)).text
    assert "eu's own model needs 4.000 bits per byte in German and French, the Shared Base 3.500: 14.3 % more." in text
    assert "The gate refused stage sft: ko: forgotten." in text
    assert "east-asia has no model of its own. The gate refused stage cpt: a canary." in text
    assert "LanguageBaseShared Baseeusoutheast-asia" in text
    assert "1 of 4 ledgers changed after the builds had begun." in text
    assert "so the commands had its network" in text
    assert text.count("unchanged") == 3 and "see the ledgers" in text
    assert own_sentences(result)[0] in text


def test_everything_from_the_document_is_escaped() -> None:
    evil = '<script>"&'
    bad = msgspec.structs.replace(stage("cpt", "eu", 0.5), data=(evil,), isolation=evil)
    made = msgspec.structs.replace(
        model("eu", (bad,)),
        lineage=msgspec.structs.replace(lineage("eu"), signer=evil, signer_is=evil, members={evil: (evil,)}),
    )
    html = section(with_models({"eu": made}))
    assert "<script" not in html
    assert Outline(html).text.count(evil) == 3


def test_the_terminal_marks_the_languages_of_a_model() -> None:
    # What a plain run prints beside it is not this test's.
    shown = document(with_models()) | {"privacy": {"peers": {}}}
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(score_table(shown))
    text = console.export_text()
    line = next(line for line in text.splitlines() if line.startswith("│ de") and "*" in line)
    assert [cell.strip() for cell in line.strip("│").split("│")] == ["de", "8.000", "3.500", "3.250*", "3.625", "3.625"]


def test_statements_are_read_as_the_commands_print_them() -> None:
    seats = [
        {"peer": "p", "member": "member-eu", "region": "eu", "weight": 1, "rounds": 3},
        {"peer": "q", "member": "member-sea", "region": "sea", "weight": 1, "rounds": 0},
    ]
    later = [{**seat, "rounds": 4} for seat in seats]
    shown = {
        "signer": "12D3",
        "statement": {
            "_type": "x",
            "predicate": {
                "base": {"run_id": "ab", "run_name": "r", "round": 7, "record": "", "state": "cd", "epoch": 0},
                "rounds": [{"first": 1, "last": 3, "roster": seats}, {"first": 4, "last": 7, "roster": later}],
                "data": [{"artifact_id": "one", "visibility": "private"}],
                "stages": [{"name": "cpt", "method": "full", "parent": "", "result": "ef", "data": ["one"]}],
            },
        },
    }
    verified = {
        "valid": True,
        "signer_is": "named by the charter",
        "coverage": {"records": 7, "means": 2, "weights": False},
    }
    found = lineage_of(shown, verified)
    assert found == OwnLineage(
        signer="12D3",
        signer_is="named by the charter",
        run_id="ab",
        round=7,
        state="cd",
        contributed={"eu": 7, "sea": 4},
        members={"eu": ("member-eu",), "sea": ("member-sea",)},
        stages=(LineageStage(name="cpt", method="full", result="ef", labels=("private",)),),
        records=7,
        means=2,
        is_base=False,
    )


def test_what_left_is_counted_by_kind_and_place(tmp_path: Path) -> None:
    ids = [Identity.generate().peer_id for _ in range(4)]
    first, second, abroad, bootstrap = ids
    peers = [
        PeerFolder(peer, region, tmp_path / peer) for peer, region in ((first, "eu"), (second, "eu"), (abroad, "sea"))
    ]
    sent = {
        first: [
            (second, Kind.UPDATE, 100),
            (abroad, Kind.SUM, 30),
            (bootstrap, Kind.VOTE, 7),
            (DIRECTORY, Kind.ANNOUNCE, 5),
        ],
        second: [(first, Kind.RESULT, 11), ("127.0.0.1:9", Kind.ANNOUNCE, 2)],
        abroad: [(first, Kind.RESULT, 40)],
    }
    for peer in peers:
        peer.state.mkdir()
        with Ledger(peer.ledger, lambda: 0.0) as ledger:
            for to, kind, size in sent[peer.peer]:
                ledger.record(to, kind, b"x" * size, "permit")
            ledger.note(b"decided", "permit")
    with peers[1].ledger.open("ab") as file:
        file.write(b'{"n":3,"torn')
    before = ledger_digests(peers)
    with peers[2].ledger.open("ab") as file:
        file.write(b'{"n":2,"to')
    found = what_left(peers, bootstrap, before)
    assert found["eu"].by_kind == {"update": 100, "sum": 30, "vote": 7, "announce": 7, "result": 11}
    assert found["eu"].by_place == {
        Place.HOME: 111,
        Place.ABROAD: 30,
        Place.BOOTSTRAP: 7,
        Place.DIRECTORY: 5,
        Place.ELSEWHERE: 2,
    }
    assert found["sea"].by_place == {Place.ABROAD: 40}
    assert [found["eu"].ledgers[peer].is_unchanged for peer in (first, second)] == [True, True]
    assert not found["sea"].ledgers[abroad].is_unchanged
    assert found["eu"].ledgers[first].entries == 5
    assert found["eu"].ledgers[first].verdict == "self-consistent, unwitnessed"


def test_a_ledger_that_is_gone_is_an_error_with_its_name(tmp_path: Path) -> None:
    peer = PeerFolder(EU, "eu", tmp_path)
    with pytest.raises(StateError, match="cannot read the ledger"):
        ledger_digests([peer])
