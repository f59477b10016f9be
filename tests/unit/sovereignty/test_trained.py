"""What a peer has trained on: sessions on record, in step with the ledger; and what a withdrawal makes of them."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from peers.fingerprint import CACHE_NAME, data_used
from swarm.identity.peer_id import PeerId
from swarm.sovereignty import trained
from swarm.sovereignty.artefacts import Artefact, DataUsed, is_what_it_says, view
from swarm.sovereignty.decisions import Decision
from swarm.sovereignty.entry import Tier
from swarm.sovereignty.labels import Label
from swarm.sovereignty.ledger import LEDGER_NAME, Ledger
from swarm.sovereignty.policy import label_folder, read_policy
from swarm.sovereignty.reasons import Reason
from swarm.sovereignty.trained import TRAINED_NAME, Session, read_sessions
from swarm.sovereignty.uses import Privacy, Use
from swarm.sovereignty.withdrawal import Base, Round, Trail, impact
from swarm.state.store import DiskStore
from swarm.state.trails import read_trail, restorable
from tests.acceptance.papers import table, write_data

ME, OTHER = PeerId("me"), PeerId("other")
Begin = Callable[..., trained.Begun]


def data(name: str, digest: str = "d1") -> DataUsed:
    return DataUsed(
        name=name,
        label=Label.SOVEREIGN,
        residency="DE",
        licence="CC0-1.0",
        uses=(Use.SHARED_BASE,),
        privacy=Privacy.LICENCE,
        digest=digest,
    )


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Begin]:
    """Begins a session in `tmp_path`, as a node does when it starts."""
    with ExitStack() as stack:

        def begin_one(*used: DataUsed) -> trained.Begun:
            ledger = stack.enter_context(Ledger(tmp_path / LEDGER_NAME, lambda: 0.0))
            return trained.begin(tmp_path, ledger, policy="ab" * 32, data=used, isolation="none", owner="ada", at=1.0)

        yield begin_one


def test_a_data_set_keeps_its_id_while_its_content_does(begin: Begin, tmp_path: Path) -> None:
    first = begin(data("a"), data("b"))
    again = begin(data("a"), data("b", "d2"))
    ids = [[each.artifact_id for each in begun.session.data] for begun in (first, again)]
    assert ids[0][0] == ids[1][0] and ids[0][1] != ids[1][1]
    assert again.withdrawn == ("b",), "its old content is no longer used"
    assert begin(data("a")).withdrawn == ("b",)
    assert begin(data("a"), data("c")).withdrawn == ()
    assert [session.entry for session in read_sessions(tmp_path)] == [0, 1, 2, 3]
    assert all(is_what_it_says(each) for session in read_sessions(tmp_path) for each in session.data)
    assert (tmp_path / TRAINED_NAME).stat().st_mode & 0o077 == 0
    assert not read_trail(tmp_path).faults


def test_a_torn_line_is_closed_and_an_edited_one_is_found(begin: Begin, tmp_path: Path) -> None:
    begin(data("a"))
    path = tmp_path / TRAINED_NAME
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:40])
    begin(data("b"))
    assert [session.data[0].source for session in read_sessions(tmp_path)] == ["a", "b"]
    assert not read_trail(tmp_path).faults
    path.write_bytes(path.read_bytes().replace(b'"source":"b"', b'"source":"c"'))
    (not_its, gone) = read_trail(tmp_path).faults
    assert "not the one in the ledger" in not_its and "entry 1 of the ledger is gone" in gone


def test_each_tier_sees_its_own_fields(begin: Begin) -> None:
    (artefact,) = begin(data("secret", "digest of it")).session.data
    seen = {tier: view(artefact, tier) for tier in Tier}
    assert set(seen[Tier.PUBLIC]) < set(seen[Tier.CONSORTIUM]) < set(seen[Tier.PRIVATE])
    assert set(seen[Tier.PRIVATE]) == set(Artefact.__struct_fields__)
    assert "secret" not in str(seen[Tier.CONSORTIUM]) and "digest of it" not in str(seen[Tier.CONSORTIUM])
    assert seen[Tier.CONSORTIUM]["residency"] == ("DE",) and "residency" not in seen[Tier.PUBLIC]


def test_fingerprints_follow_content_and_are_cached(tmp_path: Path) -> None:
    folder = write_data(tmp_path / "data", table(), texts={"letters/one.txt": "eins", "letters/two.txt": "zwei"})
    labelled = label_folder(folder, read_policy(folder / "policy.toml"))
    (first,) = data_used(folder, labelled, tmp_path / "state")
    assert (first.files, first.bytes, len(first.digest)) == (2, 8, 64)
    cached = (tmp_path / "state" / CACHE_NAME).stat().st_mtime_ns
    assert data_used(folder, labelled, tmp_path / "state") == (first,)
    assert (tmp_path / "state" / CACHE_NAME).stat().st_mtime_ns == cached
    (folder / "letters" / "two.txt").write_text("drei!")
    (second,) = data_used(folder, labelled, tmp_path / "state")
    assert second.digest != first.digest and second.bytes == 9
    (folder / "letters" / "two.txt").write_text("zwei")
    (tmp_path / "state" / CACHE_NAME).write_text("no JSON")
    assert data_used(folder, labelled, tmp_path / "state") == (first,)


# --- withdrawal -------------------------------------------------------------------------------------------------------


def permitted(number: int, basis: str = "") -> Decision:
    return Decision("permit", "update", number, Reason.ALLOWED, "p", basis or f"base{number}")


def session(entry: int, *names: str) -> Session:
    artefacts = tuple(
        Artefact(
            artifact_id=f"id of {name}",
            artifact_type="dataset",
            visibility=Label.OPEN,
            use_constraints=(),
            owner="ada",
            rights=(),
            residency=None,
            source=name,
            provenance="",
            version="",
            salt=bytes(32),
        )
        for name in names
    )
    return Session(at=0.0, entry=entry, policy="p", data=artefacts)


def chain(last: int) -> list[Round]:
    return [
        Round(number, f"record{number}", f"base{number}", f"state{number}", (ME, OTHER), frozenset({ME, OTHER}))
        for number in range(1, last + 1)
    ]


ZERO = Base(0, "", "state0")
TRAIL = Trail(
    "here",
    ME,
    (session(0, "a"), session(10, "a", "b"), session(20, "a")),
    tuple((place, permitted(number)) for place, number in ((1, 1), (2, 2), (11, 3), (12, 4), (21, 5), (22, 6))),
)


def test_the_report_names_rounds_bases_after_them_and_the_last_clean_one() -> None:
    found = impact("b", [TRAIL], chain(6), ZERO)
    assert [each.round for each in found.contributions] == [3, 4]
    assert found.last_clean == Base(2, "record2", "state2")
    assert [base.round for base in found.affected] == [3, 4, 5, 6]
    assert found.artefacts == ("id of b",) and found.holders == (ME, OTHER)
    assert impact("a", [TRAIL], chain(6), ZERO).last_clean == ZERO


def test_what_was_not_counted_or_not_committed_is_in_no_base() -> None:
    rounds = chain(6)
    rounds[2] = replace(rounds[2], counted=frozenset({OTHER}))
    rounds[3] = replace(rounds[3], basis="base4 of another attempt")
    found = impact("b", [TRAIL], rounds, ZERO)
    assert not found.contributions and not found.affected and found.last_clean.round == 6


def test_in_doubt_the_report_says_too_much() -> None:
    nobody = [replace(each, counted=frozenset[PeerId]()) for each in chain(6)]
    assert [each.round for each in impact("b", [replace(TRAIL, peer=None)], nobody, ZERO).contributions] == [3, 4]
    forgotten = replace(TRAIL, sessions=TRAIL.sessions[1:])
    assert [each.round for each in impact("b", [forgotten], chain(6), ZERO).contributions] == [1, 2, 3, 4]


def test_several_peers_of_a_member_are_one_report() -> None:
    other = Trail("there", OTHER, (session(0, "b"),), ((1, permitted(2)),))
    found = impact("b", [TRAIL, other], chain(6), ZERO)
    assert [(each.round, each.peer) for each in found.contributions] == [(2, OTHER), (3, ME), (4, ME)]
    assert found.last_clean.round == 1


def test_where_a_run_can_go_back_to(tmp_path: Path) -> None:
    for name, snapshots, results in (("a", (4, 9), (5, 6, 8)), ("b", (2,), (3,)), ("c", (), ())):
        DiskStore(tmp_path / name)
        for number in snapshots:
            (tmp_path / name / "snapshots" / f"{number:09d}").touch()
        for number in results:
            (tmp_path / name / "results" / f"{number:09d}-ab").touch()
    states = [tmp_path / name for name in "abc"]
    assert restorable(states, 8) == (6, states[0]), "the results of round 7 are gone"
    assert restorable(states, 5) == (5, states[0])
    assert restorable(states, 3) == (3, states[1])
    assert restorable(states, 1) is None
