"""An observer goes by the rules in force: whom it lists and asks, which regions it shows, whether the run is over."""

import asyncio
from functools import reduce
from itertools import count

import pytest

from swarm.charter import epochs
from swarm.charter import passport as passports
from swarm.charter.manifest import Member, Region
from swarm.charter.passport import issue
from swarm.identity.key import Identity
from swarm.net import wire
from swarm.net.memory import MemoryDirectory, MemoryNetwork, run_virtual
from swarm.node.watcher import DOCUMENTS_EVERY, LOOK_EVERY_S, Watcher
from swarm.state.run import Run
from swarm.telemetry.facts import Facts, apply
from swarm.telemetry.seen import Seen
from swarm.telemetry.view import SILENT_AFTER_S, View, view
from tests.governing import amendment, changed, revocation
from tests.simulation import CREATED_S, MEMBER_KEYS, peer_identity
from tests.unit.node.doors import NOW_S, Door, caller, wall_clock
from tests.unit.state.samples import make_round, small_charter, zero_head

RUN = Run(small_charter())
CREW = [peer_identity(number) for number in range(3)]
HOST, NEWCOMER, OBSERVER = peer_identity(50), peer_identity(51), Identity.from_seed(bytes([7] * 32))
FAR_S = CREATED_S + 10**7
NEW_MEMBER = MEMBER_KEYS[12]
AMENDED = amendment(
    RUN.rules,
    MEMBER_KEYS[:9],
    from_round=2,
    members=(*RUN.charter.members, Member(name="m12", key=NEW_MEMBER.peer_id)),
    regions=(*RUN.charter.regions, Region(name="africa", jurisdictions=("KE",))),
)
WITHDRAWN = revocation(RUN.id, NEW_MEMBER.peer_id, [NEW_MEMBER], peer=NEWCOMER.peer_id)


async def records() -> tuple[bytes, ...]:
    """Of three rounds: the second one brings the amendment, the third one the revocation."""
    made: list[bytes] = []
    head = zero_head(RUN)
    for number, documents in enumerate([(), (AMENDED,), (WITHDRAWN,)]):
        done = await make_round(RUN.under(head.rules), head, CREW, seed=number, documents=documents)
        made.append(done.record)
        head = done.after
    return tuple(made)


def announced_by_the_newcomer() -> bytes:
    charter = epochs.plus(RUN.rules, AMENDED).charter
    shown = issue(NEW_MEMBER, charter, NEWCOMER.peer_id, "KE", FAR_S, CREATED_S, run=RUN.id)
    entry = wire.Announcement(
        run_id=RUN.id,
        peer=NEWCOMER.peer_id,
        region="africa",
        passport=passports.encode(shown),
        addresses=(),
        round=2,
        tokens=0,
        tokens_per_s=5.0,
        phase="training",
        at=NOW_S,
        dialable=True,
        relays=(),
    )
    return wire.encode_sealed(wire.seal(NEWCOMER, entry))


class Watch:
    """An observer, with a passport or as a stranger; documents are asked for at every look, or never."""

    def __init__(self, network: MemoryNetwork, run: Run, shown: bytes, *, asks_documents: bool) -> None:
        self.told: list[Seen] = []
        self.directory = MemoryDirectory()
        self._numbers = count(0, DOCUMENTS_EVERY) if asks_documents else count(1, DOCUMENTS_EVERY)
        self.watcher = Watcher(
            run=run,
            caller=caller(network, OBSERVER, wire.Hello(run.id, shown)),
            directory=self.directory.of(OBSERVER.peer_id),
            entries=[HOST.peer_id],
            take=self.told.append,
            wall_clock=wall_clock,
            connect=lambda peer, addresses: asyncio.sleep(0),
        )

    async def look(self, times: int = 3) -> View:
        for _ in range(times):
            await self.watcher.look(next(self._numbers))
            await asyncio.sleep(LOOK_EVERY_S)
        return view(reduce(apply, self.told, Facts()), wall_clock())


@pytest.mark.parametrize("way", ["records", "documents"])
def test_a_new_members_peer_is_listed_and_asked_until_it_is_revoked(way: str) -> None:
    """By records with a passport, and by the documents alone without one."""
    made = asyncio.run(records())

    async def main() -> None:
        network = MemoryNetwork(0)
        door, newcomer = Door(network, HOST, RUN.charter), Door(network, NEWCOMER, RUN.charter)
        await door.open()
        await newcomer.open()
        signed = issue(MEMBER_KEYS[0], RUN.charter, OBSERVER.peer_id, "DE", FAR_S, CREATED_S, "observer")
        papers = passports.encode(signed) if way == "records" else b""
        watch = Watch(network, RUN, papers, asks_documents=way == "documents")
        watch.directory.put(NEWCOMER.peer_id, announced_by_the_newcomer(), 10**6)

        def show(step: int) -> None:
            if way == "records":
                door.records = made[:step]
            else:
                door.documents = (AMENDED, WITHDRAWN)[: step - 1]

        show(1)
        seen = await watch.look()
        assert not watch.watcher.announced and not newcomer.observed
        assert [row.name for row in seen.regions] == ["asia", "eu"]
        show(2)
        seen = await watch.look()
        assert [*watch.watcher.announced] == [NEWCOMER.peer_id] and newcomer.observed
        assert [(row.region, row.member, row.state) for row in seen.peers if row.peer == NEWCOMER.peer_id] == [
            ("africa", "m12", "training")
        ]
        assert ("africa", ("KE",)) in [(row.name, row.jurisdictions) for row in seen.regions]
        show(3)
        await watch.look(4)
        asked = newcomer.observed
        await asyncio.sleep(SILENT_AFTER_S)
        seen = await watch.look()
        assert not watch.watcher.announced and newcomer.observed == asked
        assert [row.state for row in seen.peers if row.peer == NEWCOMER.peer_id] == ["silent"]

    run_virtual(main())


def test_a_run_is_watched_past_its_first_expiry_and_is_over_by_the_charter_in_force() -> None:
    async def main() -> None:
        run = Run(changed(small_charter(), run={"expires": int(NOW_S) - 1}))
        network = MemoryNetwork(0)
        door = Door(network, HOST, run.charter)
        await door.open()
        watch = Watch(network, run, b"", asks_documents=True)
        assert any("the run is over" in remark for remark in (await watch.look(1)).remarks)
        door.documents = (amendment(run.rules, MEMBER_KEYS[:9], run={"expires": FAR_S}),)
        assert not any("the run is over" in remark for remark in (await watch.look(1)).remarks)

    run_virtual(main())
