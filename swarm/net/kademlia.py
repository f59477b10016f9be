"""The directory over hivemind's Kademlia DHT (`DHTNode`). One of the two hivemind adapters.

One key per run, one sub-key per peer. Every node that stores or returns a record checks it first: known key, bounded
size, a statement signed by the peer in its sub-key, and whatever `accept` asks of its content. All else is refused, and
so are entries of more peers than a run can have (`room.py`).
"""

import asyncio
from collections.abc import Callable, Sequence

from hivemind.dht.crypto import DHTRecord, RecordValidatorBase
from hivemind.dht.node import DHTNode
from hivemind.dht.routing import DHTID, get_dht_time
from hivemind.dht.storage import DictionaryDHTValue
from hivemind.p2p import P2P, PeerID
from hivemind.utils import MSGPackSerializer
from hivemind.utils.timed_storage import ValueWithExpiration

from swarm.clock import unix_s
from swarm.identity.peer_id import PeerId
from swarm.net.room import Room
from swarm.net.wire import MAX_ANNOUNCEMENT_BYTES, MAX_PEERS

Accept = Callable[[PeerId, bytes], bool]
"""Whether a sealed announcement may be stored under this peer's name."""

_MAX_LIFETIME_S = 600.0
_MAX_SUBKEY_BYTES = 80
_LOOKUP_LIMIT_S = 5.0
_CLOSE_LIMIT_S = 0.5


class _Validator(RecordValidatorBase):
    def __init__(self, key: str, accept: Accept) -> None:
        self._key = DHTID.generate(source=key).to_bytes()
        self._accept = accept
        self._room = Room(MAX_PEERS, unix_s)

    def validate(self, record: DHTRecord) -> bool:
        if record.key != self._key or len(record.subkey) > _MAX_SUBKEY_BYTES:
            return False
        if len(record.value) > MAX_ANNOUNCEMENT_BYTES or record.expiration_time > unix_s() + _MAX_LIFETIME_S:
            return False
        try:
            peer, sealed = MSGPackSerializer.loads(record.subkey), MSGPackSerializer.loads(record.value)
        except ValueError:
            return False
        if not (isinstance(peer, str) and isinstance(sealed, bytes) and self._accept(PeerId(peer), sealed)):
            return False
        return self._room.takes(PeerId(peer), record.expiration_time)


class KademliaDirectory:
    """Announcements of one run."""

    def __init__(self, node: DHTNode, key: str) -> None:
        self._node = node
        self._key = key

    @classmethod
    async def create(
        cls,
        p2p: P2P,
        run_id: str,
        accept: Accept,
        entry_points: Sequence[PeerId],
        *,
        is_dialable: bool = True,
    ) -> "KademliaDirectory":
        """Joins the run's DHT through peers the daemon is already connected to.

        Who cannot be dialled reads and announces, and keeps no records for others: they could not ask for them.
        """
        key = f"tapestry/{run_id}"
        node = await DHTNode.create(p2p, record_validator=_Validator(key, accept), client_mode=not is_dialable)
        directory = cls(node, key)
        await directory.enter(entry_points)
        return directory

    async def enter(self, entry_points: Sequence[PeerId]) -> None:
        """Makes this node and the entry points know each other; those that do not answer are passed over."""
        pings = (self._node.protocol.call_ping(PeerID.from_base58(peer)) for peer in entry_points)
        if any(await asyncio.gather(*pings)):
            await self._node.find_nearest_nodes([self._node.node_id])

    async def announce(self, sealed: bytes, lifetime_s: float) -> None:
        async with asyncio.timeout(_LOOKUP_LIMIT_S):
            await self._node.store(
                self._key, sealed, get_dht_time() + lifetime_s, subkey=self._node.peer_id.to_base58()
            )

    async def announcements(self) -> Sequence[bytes]:
        async with asyncio.timeout(_LOOKUP_LIMIT_S):
            found = await self._node.get(self._key, latest=True)
        if found is None or not isinstance(found.value, dict):
            return ()
        entries = (entry.value for entry in found.value.values() if isinstance(entry, ValueWithExpiration))
        return tuple(value for value in entries if isinstance(value, bytes))

    @property
    def records(self) -> int:
        """Records this node keeps or caches, for others as for itself."""
        storages = (self._node.protocol.storage, self._node.protocol.cache)
        entries = (entry.value for storage in storages for _, entry in storage.items())
        return sum(len(value) if isinstance(value, DictionaryDHTValue) else 1 for value in entries)

    async def close(self) -> None:
        try:
            async with asyncio.timeout(_CLOSE_LIMIT_S):
                await self._node.shutdown()
        except TimeoutError:
            return  # the daemon is gone, and hivemind waits for its answer
