"""Result bytes of a value: completing one's own set from what is here and, by digest, from others."""

import asyncio
from collections.abc import Iterable, Sequence

from swarm.errors import ProtocolError
from swarm.identity.peer_id import PeerId
from swarm.net import wire
from swarm.net.calls import Caller
from swarm.net.transport import Buffer, StreamLostError
from swarm.round.reduction import Reduction
from swarm.state.archive import Archive
from swarm.state.records import Value
from swarm.state.roster import result_digest
from swarm.state.run import Run

_BATCH_CHUNKS = 64
_STALL_LIMIT_S = 10.0


async def complete(
    *,
    run: Run,
    value: Value,
    digest: bytes,
    reduction: Reduction | None,
    archive: Archive,
    caller: Caller,
    holders: Iterable[PeerId],
) -> list[Buffer]:
    """The encoded results of a value in grid order.

    Takes what this peer's own reduction and archive hold and asks `holders`, one after another, for the rest.

    Raises:
        StreamLostError: nobody that was asked holds them all.
    """
    found: dict[int, Buffer] = {}
    for chunk, wanted in enumerate(value.chunk_digests):
        if reduction is not None and reduction.results.digest(chunk) == wanted:
            found[chunk] = reduction.results[chunk].data
            continue
        kept = archive.result(value, digest, chunk)
        if kept is not None:
            found[chunk] = kept
    missing = [chunk for chunk in range(run.grid.chunks) if chunk not in found]
    for holder in holders:
        if not missing:
            break
        if holder == caller.peer_id:
            continue
        for start in range(0, len(missing), _BATCH_CHUNKS):
            batch = missing[start : start + _BATCH_CHUNKS]
            found.update(await _fetch(run, value, digest, caller, holder, batch))
        missing = [chunk for chunk in missing if chunk not in found]
    if missing:
        raise StreamLostError(f"nobody reachable holds {len(missing)} chunks of round {value.round}")
    return [found[chunk] for chunk in range(run.grid.chunks)]


async def _fetch(
    run: Run, value: Value, digest: bytes, caller: Caller, holder: PeerId, chunks: Sequence[int]
) -> dict[int, Buffer]:
    """What one holder gives, each chunk checked against its digest; empty if it has nothing, stalls or lies."""
    found: dict[int, Buffer] = {}
    limit_bytes = run.encoded_bytes(0) + wire.MAX_CHUNK_OVERHEAD_BYTES
    try:
        stream = await caller.open_bulk(holder, wire.GetResults(value.round, digest, tuple(chunks)), _STALL_LIMIT_S)
    except StreamLostError:
        return found
    try:
        for chunk in chunks:
            async with asyncio.timeout(_STALL_LIMIT_S):
                answer = await stream.receive(wire.ChunkResult | wire.Missing, limit_bytes)
            if isinstance(answer, wire.Missing):
                continue
            if result_digest(answer.contributors, answer.data) == value.chunk_digests[chunk]:
                run.codec.check(answer.data, run.grid.length(chunk))
                run.check_norm(answer.data, run.grid.length(chunk))
                found[chunk] = bytes(answer.data)
    except (StreamLostError, ProtocolError, TimeoutError):
        return found
    finally:
        stream.close()
    return found
