"""Rosters, values and kept records under rules that change: who is refused, and what a chain says by itself."""

import asyncio

import msgspec
import pytest

from swarm.charter import epochs
from swarm.errors import ProtocolError, RulesApartError
from swarm.net import wire
from swarm.sovereignty.gate import Denied, Gate
from swarm.sovereignty.labels import Label
from swarm.state.archive import Archive
from swarm.state.chain import kept_mark, last_mark
from swarm.state.head import Head
from swarm.state.records import Record, value_digest
from swarm.state.roster import read_roster
from swarm.state.run import Run
from swarm.state.shelf import Shelf
from swarm.state.store import DiskStore, MemoryStore
from tests.governing import amendment, revocation
from tests.simulation import MEMBER_KEYS, peer_identity
from tests.unit.state.samples import (
    MadeRound,
    ballot_of,
    join_of,
    make_round,
    roster_of,
    small_charter,
    vote_for,
    zero_head,
)

RUN = Run(small_charter())
CREW = tuple(peer_identity(number) for number in range(3))
MEMBERS = MEMBER_KEYS[:12]
AMENDED = RUN.under(epochs.plus(RUN.rules, amendment(RUN.rules, MEMBERS, deadlines={"floor_s": 0.5})))
REVOKED = RUN.under(epochs.plus(RUN.rules, revocation(RUN.id, MEMBERS[2].peer_id, [MEMBERS[2]], peer=CREW[2].peer_id)))


def roster_under(run: Run, crew: tuple[int, ...] = (0, 1, 2), *, joins_under: Run | None = None) -> wire.Sealed:
    head = zero_head(RUN)
    ballot = ballot_of(RUN, head, CREW[:2])
    joins = []
    for number in crew:
        join = join_of(RUN, head, CREW[number], ballot, member=number)
        join = msgspec.structs.replace(join, rules=(joins_under or run).rules.in_force)
        joins.append(wire.seal(CREW[number], join))
    leader = next(one for one in CREW if one.peer_id == ballot.leader)
    plain = wire.unseal(roster_of(RUN, joins, leader, ballot, head), wire.Roster)
    return wire.seal(leader, msgspec.structs.replace(plain, rules=run.rules.in_force))


def read(sealed: wire.Sealed, run: Run) -> tuple[str, ...]:
    return read_roster(sealed, run, zero_head(RUN).state_digest).peers


def test_a_roster_under_older_newer_or_other_rules_is_refused_with_both() -> None:
    assert len(read(roster_under(AMENDED), AMENDED)) == 3
    for theirs, ours in ((RUN, AMENDED), (AMENDED, RUN), (REVOKED, RUN), (AMENDED, REVOKED)):
        with pytest.raises(RulesApartError, match=r"a roster under epoch \d.*here it is epoch \d"):
            read(roster_under(theirs), ours)
    with pytest.raises(ProtocolError, match="with a join under epoch 0"):
        read(roster_under(AMENDED, joins_under=RUN), AMENDED)


def test_a_revoked_peer_owns_no_part_whatever_its_leader_lists() -> None:
    assert len(read(roster_under(REVOKED, (0, 1)), REVOKED)) == 2
    with pytest.raises(ProtocolError, match="refused: revoked"):
        read(roster_under(REVOKED), REVOKED)


def governed(made: MadeRound, **changes: object) -> bytes:
    """The record of a round with its value changed and its votes made anew."""
    value = wire.encode(msgspec.structs.replace(made.value, **changes))
    vote = vote_for(RUN, made.value.round, made.ballot, value_digest(value))
    return wire.encode(Record(value, tuple(wire.seal(one, vote) for one in made.crew)))


def test_records_bring_their_documents_and_a_chain_verifies_from_the_charter_alone() -> None:
    document = amendment(RUN.rules, MEMBERS, deadlines={"floor_s": 0.5}, from_round=2)

    async def main() -> tuple[list[MadeRound], MemoryStore]:
        head: Head = zero_head(RUN)
        made = [await make_round(RUN, head, CREW)]
        for documents in ((document,), ()):
            head = made[-1].after
            made.append(await make_round(RUN.under(head.rules), head, CREW, documents=documents))
        store = MemoryStore()
        for one in made:
            await store.save_record(one.value.round, one.record)
        return made, store

    made, store = asyncio.run(main())
    assert [one.value.epoch for one in made] == [0, 1, 1] and [one.value.amended_in for one in made] == [0, 0, 2]
    mark = last_mark(RUN, store.load_record)
    assert (mark.round, mark.rules.epoch, mark.rules.since) == (3, 1, 2)
    assert [kept_mark(RUN, store.load_record, number) for number in (1, 2, 3)] == [one.after.mark for one in made]
    found = Archive(RUN, store).committed(3)
    assert found is not None and found.roster.peers == made[2].roster.peers
    start = made[0].after.mark
    for changes, cause in (
        ({"documents": ()}, "it follows rules of epoch 0"),
        ({"epoch": 0}, "of epoch 0"),
        ({"amended_in": 1}, "amended in round 1"),
        ({"documents": (document, document)}, "has its amendment"),
        ({"documents": (amendment(RUN.rules, MEMBERS[:2]),)}, "members in force and has 2"),
        ({"documents": (amendment(RUN.rules, MEMBERS, from_round=9),)}, "from round 9"),
    ):
        with pytest.raises(ProtocolError, match=cause):
            start.verify(RUN, governed(made[1], **changes))
    assert start.verify(RUN, made[1].record).rules == made[1].after.rules


def test_the_vote_of_a_peer_whose_passport_is_withdrawn_makes_no_quorum() -> None:
    """It stays in the electorate that the record before left, silent: with its key alone nobody commits anything."""
    document = revocation(RUN.id, MEMBERS[2].peer_id, [MEMBERS[2]], peer=CREW[2].peer_id)

    async def main() -> tuple[MadeRound, MadeRound]:
        first = await make_round(RUN, zero_head(RUN), CREW)
        return first, await make_round(RUN, first.after, CREW[:2], documents=(document,))

    first, second = asyncio.run(main())

    def voted_by(*numbers: int, encoded: bytes = second.encoded) -> bytes:
        vote = vote_for(RUN, 2, second.ballot, value_digest(encoded))
        return wire.encode(Record(encoded, tuple(wire.seal(CREW[number], vote) for number in numbers)))

    mark = first.after.mark
    assert mark.verify(RUN, voted_by(0, 1)).rules == second.after.rules
    assert mark.verify(RUN, voted_by(0, 1, 2)).rules == second.after.rules
    for revoked_and_one_more in ((0, 2), (1, 2)):
        with pytest.raises(ProtocolError, match="votes of 1 of 3 voices: no quorum, those of peers whose passports"):
            mark.verify(RUN, voted_by(*revoked_and_one_more))
    before = asyncio.run(make_round(RUN, first.after, CREW))
    assert mark.verify(RUN, before.record), "under the rules before, the same peers were a quorum"


def test_what_lies_in_the_governance_folder_is_taken_and_stays(tmp_path) -> None:
    store, seen = DiskStore(tmp_path), []
    document = amendment(RUN.rules, MEMBERS)
    (tmp_path / "governance" / "from a member.json").write_bytes(document)
    (tmp_path / "governance" / "holiday.txt").write_bytes(b"not a document")
    shelf = Shelf(store, seen.append)
    for _ in range(2):
        taken = shelf.look(RUN.rules)
        asyncio.run(shelf.save(taken))
    assert shelf.held == (document,)
    assert sorted(type(event).__name__ for event in seen) == ["DocumentRefused", "DocumentTaken"], "each is said once"
    later = Shelf(DiskStore(tmp_path), seen.append)
    later.look(RUN.rules)
    assert later.held == (document,)


@pytest.mark.parametrize("label", [Label.CONTROLLED, Label.SOVEREIGN, Label.PRIVATE])
def test_an_amended_border_rule_loosens_no_members_policy(label: Label) -> None:
    """The charter may let single updates cross; whose label says otherwise sends none, whatever epoch is in force."""
    import numpy as np

    run = RUN.under(epochs.plus(RUN.rules, amendment(RUN.rules, MEMBERS, reduce={"min_contributors": 1})))
    gate = Gate(region="eu", label=label, min_contributors=3)
    gate.follow(min_contributors=run.least_members)
    verdict = gate.check_update(
        round_number=1,
        update_N=np.zeros(RUN.grid.elements, np.float32),
        grid=RUN.grid,
        max_rms=1.0,
        recipients={CREW[1].peer_id: "asia"},
        regions={"eu", "asia"},
    )
    assert isinstance(verdict, Denied)
