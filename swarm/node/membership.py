"""Who the run admits, this peer included, by the rules in force: asked for every stream and every directory entry."""

import asyncio
from dataclasses import dataclass

from swarm.charter.admission import Admitted, Reason, Refused
from swarm.charter.holdings import newest_of
from swarm.charter.passport import SignedPassport
from swarm.clock import WallClock
from swarm.errors import PassportError
from swarm.identity.peer_id import PeerId
from swarm.round.context import Context
from swarm.state.run import Run
from swarm.state.shelf import Shelf

_LOOK_EVERY_S = 1.0


@dataclass
class Membership:
    """One peer's view of who is in."""

    genesis: Run
    shelf: Shelf
    passport: SignedPassport
    """This peer's own."""
    wall_clock: WallClock
    ctx: Context | None = None
    """Once there is a head."""

    @property
    def run(self) -> Run:
        """Under the rules in force; before there is a head, under all that is at hand."""
        if self.ctx is not None:
            return self.ctx.run
        return self.genesis.under(newest_of(self.genesis.rules, self.shelf.held))

    def judge(self, signed: SignedPassport, remote: PeerId) -> Admitted | Refused:
        """Admits by the rules in force. A passport that expires within a group is good until that group ends."""
        verdict = self.run.rules.admit(signed, remote, self.wall_clock())
        if verdict == Refused(Reason.EXPIRED) and self.ctx is not None and self.ctx.has_seat(remote):
            return self.run.rules.admit(signed, remote, signed.payload.not_before)
        return verdict

    async def keep(self, ctx: Context) -> None:
        """Raises PassportError when the run no longer admits this peer, once its group has ended."""
        while True:
            verdict = ctx.run.rules.admit(self.passport, ctx.me, self.wall_clock())
            if isinstance(verdict, Refused) and not ctx.is_in_group and verdict.reason is not Reason.NOT_YET_VALID:
                raise PassportError(
                    f"the run no longer admits this peer ({verdict.reason}): its Shared Base, records and ledger stay "
                    "in the state folder; to go on it needs another passport"
                )
            await asyncio.sleep(_LOOK_EVERY_S)
