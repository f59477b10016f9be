"""A member's side of a lane: its parts and sums go up, the results come down, on one stream."""

import asyncio
from collections.abc import Sequence

from swarm.net import wire
from swarm.net.audited import AuditedStream
from swarm.net.tasks import all_of
from swarm.round.attempt import Attempt
from swarm.round.gathered import check_asked
from swarm.round.owner import Owner
from swarm.round.secure.stage import Statement
from swarm.sovereignty.gate import Denied

_BATCH_CHUNKS = 512
"""Chunks one frame asks for."""


async def climb(attempt: Attempt, owner: Owner, stream: AuditedStream, chunks: Sequence[int]) -> None:
    """Sends this peer's part or sum of each chunk to the owner above, and returns once all their results are here.

    Raises:
        StreamLostError: the owner is gone.
        ProtocolError: it sent what it may not.
    """
    sums = [chunk for chunk in chunks if owner.has(chunk)]
    parts = sorted(set(chunks) - set(sums))
    above = attempt.roster.index[stream.remote]
    secure = attempt.secure
    telling = None if secure is None else asyncio.create_task(secure.tell(stream, secure.outbox(above)))
    try:
        await all_of(
            _send_parts(attempt, stream, parts),
            _send_sums(attempt, owner, stream, sums),
            _take_results(attempt, stream, above, set(chunks)),
        )
    finally:
        if telling is not None:
            telling.cancel()


async def _send_parts(attempt: Attempt, stream: AuditedStream, chunks: Sequence[int]) -> None:
    contribution = attempt.delivery.contribution
    above = attempt.roster.index[stream.remote]
    if contribution is None or above not in attempt.plan.neighbours(attempt.seat):
        for start in range(0, len(chunks), _BATCH_CHUNKS):
            await stream.send(_ask(attempt, chunks[start : start + _BATCH_CHUNKS]))
        return
    with attempt.parts_pace.lane(stream, len(chunks), attempt.lane_rate_bps(above, len(chunks))) as lane:
        for chunk in chunks:
            await lane.turn()
            data = attempt.delivery.encode_part(chunk)
            if attempt.secure is not None:
                attempt.secure.note_sent(above, chunk, data)
            await stream.send(wire.Part(chunk, memoryview(data)), contribution.permit)
            lane.sent()


async def _send_sums(attempt: Attempt, owner: Owner, stream: AuditedStream, chunks: Sequence[int]) -> None:
    """Each sum as it is made; one that is empty, or may not go there, becomes a question for the result."""
    made: asyncio.Queue[int] = asyncio.Queue()
    for chunk in chunks:
        owner.send_up_by(chunk, made)
    for _ in chunks:
        chunk = await made.get()
        passed = owner.sums.get(chunk)
        if passed is None or not attempt.roster.contributors(passed.contributors):
            await stream.send(_ask(attempt, (chunk,)))
            continue
        permit = attempt.permit(passed.contributors, stream.remote)
        if isinstance(permit, Denied):
            await stream.send(_ask(attempt, (chunk,)))
        else:
            if attempt.secure is not None and attempt.secure.circles.is_across:
                attempt.secure.note_sent(attempt.roster.index[stream.remote], chunk, passed.data)
            await stream.send(passed, permit)


async def _take_results(attempt: Attempt, stream: AuditedStream, above: int, wanted: set[int]) -> None:
    expected = wire.ChunkResult if attempt.secure is None else wire.ChunkResult | Statement
    while wanted:
        result = await stream.receive(expected, attempt.part_limit_bytes)
        if not isinstance(result, wire.ChunkResult):
            assert attempt.secure is not None
            attempt.secure.hear(above, result)
            continue
        check_asked(result, wanted)
        attempt.results.adopt(result)
        wanted.discard(result.chunk)


def _ask(attempt: Attempt, chunks: Sequence[int]) -> wire.GetReduced:
    return wire.GetReduced(attempt.roster.round, attempt.roster.ballot, tuple(chunks))
