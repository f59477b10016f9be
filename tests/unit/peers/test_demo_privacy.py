"""The pilot under a privacy tier: shares of text, what ledgers and events are read as, the yardstick, and the page."""

import json
import random
import tomllib
from pathlib import Path

import msgspec
import pytest

from peers.corpus.folder import read_folder
from peers.demo.ground import lay_out
from peers.demo.privacy_evidence import masked_wire, peer_privacy
from peers.demo.privacy_report import privacy_section
from peers.demo.report import write_report
from peers.demo.result import MaskedWire, PeerPrivacy, PrivacyOfRun, Result, RoundRecord, Spending
from peers.demo.settings import Settings
from peers.demo.terms import PLAIN, PilotTier, terms_of
from peers.demo.together import Giver, Together, together
from peers.demo.workbench import MakeState0, Score, make_state0, score
from swarm import events
from swarm.charter import files, manifest
from swarm.charter.rules import check_charter
from swarm.charter.signing import SignedCharter
from swarm.errors import PolicyError
from swarm.identity.key import Identity
from swarm.net import wire
from swarm.sovereignty.ledger import Ledger
from swarm.sovereignty.permit import Kind
from swarm.vector.grid import Grid
from tests.integration.papers import MODEL, TRAINING
from tests.unit.peers.test_report import ASIA, EU, LATE, SEA, document, made_up, readable

SPENT = Spending(
    unit="document",
    epsilon=2.345,
    delta=1e-6,
    budget=8.0,
    noise_multiplier=0.8,
    max_grad_norm=1.5,
    steps=1250,
    accountant="RDP",
)
GRID = Grid(1000, 600)


def texts(folder: Path) -> Path:
    """One labelled folder of text per region of the pilot."""
    for region, language in (("eu", "de"), ("east-asia", "ja"), ("southeast-asia", "vi")):
        home = folder / region
        home.mkdir(parents=True)
        letters = random.Random(region)
        lines = ["".join(letters.choices("abcdefgh ijklmno", k=60)) for _ in range(400)]
        (home / f"{language}.txt").write_text("\n".join(lines))
        (home / "policy.toml").write_text(
            'version = 2\n[[dataset]]\nname = "x"\nfiles = ["*.txt"]\nlabel = "open"\nresidency = "DE"\n'
            f'licence = "CC0-1.0"\nlanguage = "{language}"\nuses = ["shared-base", "evaluation"]\n'
        )
    return folder


@pytest.mark.parametrize("tier", [None, "dp", "secagg"])
def test_every_byte_has_one_member_whose_policy_demands_the_tier(tier: PilotTier | None, tmp_path: Path) -> None:
    terms = terms_of(tier)
    data = texts(tmp_path / "data")
    settings = Settings(rounds=2, out=tmp_path / "out", seed=0, data=data)
    settings.out.mkdir()
    ground = lay_out(settings, terms, lambda _: None)
    corpus = read_folder(data, tmp_path / "again").corpus
    assert len(ground.members) == 3 * (3 if tier == "secagg" else 1)
    for region in ground.regions:
        (language,) = region.jurisdictions
        together_ = b"".join(path.read_bytes() for path in ground.files_of(region.name))
        assert together_ == corpus.train[language].read_bytes()
    for member in ground.members:
        assert all(path.stat().st_size > 0 for path in member.files)
        policy = tomllib.loads((member.data / "policy.toml").read_text())
        assert {each["privacy"] for each in policy["dataset"]} == {tier or "licence"}
        assert ("dp" in policy) == (tier == "dp")


def test_text_that_demands_another_tier_is_refused(tmp_path: Path) -> None:
    policy = texts(tmp_path / "data") / "eu" / "policy.toml"
    table = "[dp]\nepsilon = 1.0\nnoise_multiplier = 1.0\nmax_grad_norm = 1.0\n"
    policy.write_text(policy.read_text() + f'privacy = "dp"\n{table}')
    settings = Settings(rounds=2, out=tmp_path, seed=0, data=tmp_path / "data")
    with pytest.raises(PolicyError, match="region eu needs dp and secagg"):
        lay_out(settings, terms_of("secagg"), lambda _: None)


def test_events_say_what_was_spent_and_when_it_ended() -> None:
    def told(epsilon: float, steps: int) -> events.PrivacySpent:
        return events.PrivacySpent(
            round=1,
            unit="document",
            epsilon=epsilon,
            delta=1e-6,
            budget=8.0,
            noise_multiplier=0.8,
            max_grad_norm=1.5,
            steps=steps,
            accountant="RDP",
        )

    policy = events.PolicyInForce(policy="ab", label="open", uses=("shared-base",), privacy=("dp",), datasets=1)
    ended = events.PrivacyBudgetSpent(round=7, epsilon=2.345, budget=8.0)
    found = peer_privacy("eu", [policy, told(1.0, 10), told(2.345, 1250), ended])
    assert found == PeerPrivacy(member="eu", protections=("dp",), spent=SPENT, ended_in_round=7)
    plain = msgspec.structs.replace(policy, privacy=())
    assert peer_privacy("eu", [plain]) == PeerPrivacy(member="eu", protections=("licence",))


def test_the_wire_shows_parts_of_another_size_and_parts_abroad(tmp_path: Path) -> None:
    regions = {EU: "eu", ASIA: "asia", SEA: "asia"}
    paths = {peer: tmp_path / f"{peer}.jsonl" for peer in (EU, ASIA)}
    masked = [wire.encode(wire.Part(chunk, memoryview(bytes(2 * GRID.length(chunk))))) for chunk in range(2)]
    plain = wire.encode(wire.Part(0, memoryview(bytes(GRID.length(0)))))
    with Ledger(paths[EU], lambda: 0.0) as ledger:
        for frame in masked:
            ledger.record(EU, Kind.UPDATE, frame, "update/1")
        ledger.record(EU, Kind.MASK, b"x" * 80, "protocol")
    with Ledger(paths[ASIA], lambda: 0.0) as ledger:
        ledger.record(SEA, Kind.UPDATE, plain, "update/1")
        ledger.record(EU, Kind.UPDATE, masked[0], "update/1")
        ledger.record(EU, Kind.RESULT, masked[0], "aggregate/3")
    with paths[ASIA].open("ab") as file:
        file.write(b'{"n":3,"torn')
    rounds = [
        RoundRecord(
            round=number,
            attempt=1,
            contributors=counted,
            peers=(EU, ASIA, SEA),
            seconds=1,
            form_s=0,
            reduce_s=0,
            state_digest="",
        )
        for number, counted in enumerate([(EU, ASIA, SEA), (EU,)], start=1)
    ]
    ended = events.SecureSumEnded(round=1, attempt=1, code="too_late", reason="", is_spent=False)
    assert masked_wire(paths, regions, GRID, rounds, [ended, ended]) == MaskedWire(
        masked_parts=3,
        masked_bytes=2 * len(masked[0]) + len(masked[1]),
        other_parts=1,
        parts_abroad=1,
        self_masks=1,
        circles={"eu": (1, 1), "asia": (2, 0)},
        ended={"too_late": 2},
    )


def test_one_peer_alone_in_the_clear_is_that_peer_training_by_itself(tmp_path: Path) -> None:
    """And the outer step of a second peer's round moves the base by the mean of both."""
    text, base, charter = tmp_path / "de.txt", tmp_path / "state0.safetensors", tmp_path / "charter.toml"
    text.write_text("made-up words, over and over; " * 200)
    outer, reduce, config = manifest.Nesterov(lr=1.0, momentum=0.0), manifest.Reduce(), json.dumps(MODEL)
    state0 = make_state0(MakeState0(config_json=config, seed=1, outer=outer, reduce=reduce, path=str(base)))
    keys = [Identity.generate().peer_id for _ in range(3)]
    rules = manifest.Charter(
        run=manifest.Run(name="yardstick", created=1, expires=2),
        model=manifest.Model(
            config_json=config,
            parameters=state0.parameters,
            schema_digest=state0.schema_digest,
            state_digest=state0.state_digest,
        ),
        training=TRAINING,
        outer=outer,
        reduce=reduce,
        regions=(manifest.Region(name="eu", jurisdictions=("DE",)),),
        members=(manifest.Member(name="ada", key=keys[0]),),
        founders=manifest.Founders(keys=(keys[1],), threshold=1),
        genesis=manifest.Genesis(peers=(keys[2],)),
    )
    check_charter(rules)
    files.write(charter, SignedCharter(charter=rules))
    held_out = {"de": str(text)}

    def in_the_clear(**rounds: tuple[str, ...]) -> float:
        givers = {name: Giver(files=(str(text),), seed=seed) for name, seed in (("ada", 5), ("bo", 6))}
        numbered = {number.removeprefix("r"): peers for number, peers in rounds.items()}
        job = Together(charter=str(charter), base=str(base), givers=givers, rounds=numbered, held_out=held_out)
        return together(job)["de"]

    alone = score(
        Score(
            charter=str(charter),
            base=str(base),
            files=(str(text),),
            steps=2 * TRAINING.inner_steps,
            seed=5,
            held_out=held_out,
        )
    )["de"]
    assert in_the_clear(r1=("ada",), r2=("ada",)) == pytest.approx(alone, rel=1e-5)
    assert in_the_clear(r1=("ada", "bo"), r2=("ada",)) != pytest.approx(alone, rel=1e-4)


def with_privacy(tier: str, spent: Spending | None, masked: MaskedWire | None = None) -> dict[str, object]:
    result = made_up()
    scores = {
        language: msgspec.structs.replace(each, clear=each.shared - 0.5)
        for language, each in result.bits_per_byte.items()
    }
    peers = {
        peer: PeerPrivacy(
            member=f"member of {region}",
            protections=(tier,) if peer != ASIA else ("licence",),
            spent=spent if peer != ASIA else None,
            ended_in_round=9 if peer == LATE and spent is not None else None,
        )
        for peer, region in result.regions.items()
    }
    privacy = PrivacyOfRun(tier=tier, peers=peers, masked=masked)
    return document(msgspec.structs.replace(result, bits_per_byte=scores, privacy=privacy))


def test_the_page_shows_tier_and_epsilon_of_every_peer(tmp_path: Path) -> None:
    text = readable(write_report(with_privacy("dp", SPENT), tmp_path))
    for fact in (
        "record-level differential privacy",
        "member of east-asia",
        "licence gates and audit",
        "2.345",
        "1e-06",
        "document",
        "1,250",
        "budget spent, trains no more from round 9 on",
        "In the clear",
        "More noise",
        "of what was to be learnt",
        "2 peers of member of southeast-asia trained on the same text: together at most epsilon 4.690 at delta 2e-06",
    ):
        assert fact in text
    assert text.count("2.345") == 4, "one figure per peer that has spent, and the most of them"


def test_the_page_shows_what_masked_sums_put_on_the_wire() -> None:
    masked = MaskedWire(
        masked_parts=72_000,
        masked_bytes=1,
        other_parts=4321,
        parts_abroad=0,
        self_masks=54,
        circles={"eu": (3, 3, 0)},
        ended={"too_late": 2},
    )
    text = "".join(privacy_section(msgspec.convert(with_privacy("secagg", None, masked), Result)))
    for fact in (
        "masked sums",
        "72,000",
        "4,321",
        "54",
        "3 3 0",
        "2 x too_late",
        "Members in the sum of eu",
        "that of 3 members",
    ):
        assert fact in text
    assert "More noise" not in text


def test_the_plain_pilot_is_what_it_was() -> None:
    assert (PLAIN.batch_size, PLAIN.sequence_bytes, PLAIN.inner_lr) == (4, 256, 2e-3)
    assert (PLAIN.members_per_region, PLAIN.min_contributors, PLAIN.dp) == (1, 1, None)
    assert terms_of(None) is PLAIN and isinstance(PLAIN.aggregation, manifest.Mean)
