"""What a peer says of itself in the directory, and whom it finds there: announcing and looking, until cancelled.

Addresses and progress only; who belongs to the electorate is never read from here.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from swarm.charter import passport as passports
from swarm.charter.passport import SignedPassport
from swarm.clock import WallClock
from swarm.identity.key import Identity
from swarm.identity.peer_id import PeerId
from swarm.net import wire
from swarm.net.audited import AuditedDirectory
from swarm.node.announcements import MAX_CLOCK_SKEW_S, read_announcement
from swarm.sovereignty.privacy import Spent
from swarm.state.run import Run

ANNOUNCE_EVERY_S = 5.0
ANNOUNCEMENT_LIFETIME_S = 30.0
LOOK_EVERY_S = 1.0
LONGEST_LOOK_S = 15.0
LOOKED_AT_PER_S = 64
"""Entries a peer that does not lead reads per second: in a large swarm it looks less often."""


@dataclass
class Standing:
    """What changes of a peer's announcement."""

    addresses: tuple[str, ...] = ()
    is_dialable: bool = True
    relays: tuple[PeerId, ...] = ()
    phase: str = "joining"
    tokens: int = 0
    tokens_per_s: float = 0.0
    privacy: Spent | None = None


class Presence:
    """One peer's side of the directory."""

    def __init__(
        self,
        run: Run,
        identity: Identity,
        passport: SignedPassport,
        directory: AuditedDirectory,
        wall_clock: WallClock,
        open_round: Callable[[], int],
        say: Callable[[str], None],
    ) -> None:
        self.mine = Standing()
        self.known: dict[PeerId, wire.Announcement] = {}
        self.run = run
        """Under the rules in force: they say whose entries count."""
        self._identity = identity
        self.region = passport.payload.region
        self._passport = passports.encode(passport)
        self._directory = directory
        self._wall_clock = wall_clock
        self._open_round = open_round
        self._say = say
        self._passed_over = 0
        self._announce_now = asyncio.Event()

    def enter(self, phase: str) -> None:
        """Announces a new phase soon."""
        self.mine.phase = phase
        self._announce_now.set()

    def tell(self) -> None:
        """Announces what has changed soon."""
        self._announce_now.set()

    async def keep_announcing(self) -> None:
        while True:
            try:
                await self.announce()
            except (TimeoutError, OSError) as error:
                self._say(f"the directory did not take the announcement ({error}); trying again")
            self._announce_now.clear()
            try:
                async with asyncio.timeout(ANNOUNCE_EVERY_S):
                    await self._announce_now.wait()
            except TimeoutError:
                continue

    async def announce(self) -> None:
        """Raises TimeoutError or OSError when the directory does not take it."""
        me, mine = self._identity.peer_id, self.mine
        entry = wire.Announcement(
            run_id=self.run.id,
            peer=me,
            region=self.region,
            passport=self._passport,
            addresses=mine.addresses,
            dialable=mine.is_dialable,
            relays=mine.relays,
            round=self._open_round(),
            tokens=mine.tokens,
            tokens_per_s=mine.tokens_per_s,
            privacy=mine.privacy,
            phase=mine.phase,
            at=self._wall_clock(),
        )
        self.known[me] = entry
        sealed = wire.encode_sealed(wire.seal(self._identity, entry))
        await self._directory.announce(sealed, ANNOUNCEMENT_LIFETIME_S)

    async def keep_looking(self, leads: Callable[[], bool], looked: Callable[[], None]) -> None:
        """Who leads has to know whom to wait for; others keep a view in case it becomes their turn."""
        while True:
            rare_s = min(max(LOOK_EVERY_S, len(self.known) / LOOKED_AT_PER_S), LONGEST_LOOK_S)
            await asyncio.sleep(LOOK_EVERY_S if leads() else rare_s)
            await self.look()
            looked()

    async def look(self) -> None:
        """Refreshes who is known; entries that do not verify or are old are passed over."""
        try:
            found = await self._directory.announcements()
        except (TimeoutError, OSError):
            return  # the last view stays
        fresh: dict[PeerId, wire.Announcement] = {}
        passed_over, now_s = 0, self._wall_clock()
        for data in found:
            entry = read_announcement(data, self.run, now_s)
            if entry is None:
                passed_over += 1
            elif entry.phase != "leaving":
                known = self.known.get(entry.peer)
                fresh[entry.peer] = entry if known is None or entry.at >= known.at else known
        mine = self.known.get(self._identity.peer_id)
        if mine is not None:
            fresh[self._identity.peer_id] = mine
        self.known = fresh
        self._report_passed_over(passed_over, len(found))

    def _report_passed_over(self, count: int, entries: int) -> None:
        """Once each time that entries begin to be unusable."""
        if count and not self._passed_over:
            self._say(
                f"{count} of {entries} entries in the directory are passed over: not signed or admitted, or of another "
                f"time (more than {MAX_CLOCK_SKEW_S:.0f} s from this machine's clock)"
            )
        self._passed_over = count
