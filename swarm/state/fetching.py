"""A donor's records after a verified point of the chain, one after another, as far as they verify.

What has verified stays, whatever the donor does then; somebody else goes on from there.
"""

import asyncio

from swarm.clock import monotonic_s
from swarm.errors import ProtocolError
from swarm.identity.peer_id import PeerId
from swarm.net import wire
from swarm.net.calls import Caller
from swarm.net.transport import StreamLostError
from swarm.state.chain import Mark
from swarm.state.records import Decided
from swarm.state.run import Run

_ASK_LIMIT_S = 5.0
_STALL_LIMIT_S = 10.0
DONOR_LIMIT_S = 60.0
"""For all records that one donor is asked for in one go: whoever trickles them holds nobody up for longer."""


async def fetch_records(run: Run, caller: Caller, donor: PeerId, mark: Mark) -> tuple[list[Decided], str]:
    """What follows `mark`, and what was wrong with the donor that was left before its end; empty if nothing was."""
    found: list[Decided] = []
    until_s = monotonic_s() + DONOR_LIMIT_S
    while True:
        before = len(found)
        try:
            stream = await caller.open(donor, wire.GetRecords(mark.round + 1), _ASK_LIMIT_S)
        except StreamLostError:
            return found, ""  # it is gone, which is no fault of what it gave
        try:
            while True:
                async with asyncio.timeout(max(0.0, min(_STALL_LIMIT_S, until_s - monotonic_s()))):
                    answer = await stream.receive(wire.RecordIs | wire.Missing | wire.Refusal, wire.MAX_CONTROL_BYTES)
                if isinstance(answer, wire.Refusal):
                    return found, answer.reason
                if isinstance(answer, wire.Missing):
                    break
                found.append(mark.verify(run, answer.record))
                mark = Mark.after(run, found[-1])
        except TimeoutError:
            return found, "then it stalled"
        except (StreamLostError, ProtocolError) as error:
            return found, str(error)
        finally:
            stream.close()
        if len(found) == before:
            return found, ""
