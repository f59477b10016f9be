"""Addresses of peers met before, so that a restart needs no bootstrap node: STATE/addresses.

What is kept are signed announcements as they came, at most `MAX_REMEMBERED`, and this peer's own port, so that others
find it again where it was. Old announcements do no harm: they are only dialled, and whoever answers there must prove
that it is the peer they name.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import msgspec
from multiaddr import Multiaddr

from swarm.errors import StateError, UsageError
from swarm.identity.peer_id import PeerId
from swarm.net import wire
from swarm.net.addresses import parse_join_address, peer_of
from swarm.net.transport import Directory
from swarm.node.announcements import read_announcement, read_old_announcement
from swarm.state.disk import read_file, write_file
from swarm.state.run import Run

MAX_REMEMBERED = 64
_LONG_GONE_S = 60.0
"""In a full book whoever was heard of as long ago as this makes room for somebody new."""


class _Page(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What lies in the file."""

    port: int = 0
    announcements: tuple[bytes, ...] = ()


class AddressBook:
    """One peer's book. It is read before the run is known, and `open` verifies what was read."""

    def __init__(self, path: Path, me: PeerId, say: Callable[[str], None]) -> None:
        self._path = path
        self._me = me
        self._page = _read(path, say)
        self._entries: dict[PeerId, tuple[wire.Announcement, bytes]] = {}
        self._is_changed = False

    @property
    def port(self) -> int:
        """The TCP port this peer listened on when it last ran; 0 if that is not known."""
        return self._page.port

    def use_port(self, port: int) -> None:
        self._is_changed |= port != self._page.port
        self._page = msgspec.structs.replace(self._page, port=port)

    def open(self, run: Run) -> None:
        """Takes the announcements in the file that belong to this run."""
        for data in self._page.announcements[:MAX_REMEMBERED]:
            entry = read_old_announcement(data, run)
            if entry is not None and entry.peer != self._me:
                self._entries[entry.peer] = (entry, data)

    def learn(self, found: Iterable[bytes], run: Run, now_s: float) -> None:
        """Takes what is new in a look into the directory. Those who say goodbye stay where they were last met."""
        for data in found:
            entry = read_announcement(data, run, now_s)
            if entry is None or entry.peer == self._me or not entry.addresses or entry.phase == "leaving":
                continue
            known = self._entries.get(entry.peer)
            if known is None and not self._has_room(entry.at):
                continue
            if known is None or known[0].at < entry.at:
                self._is_changed |= known is None or known[0].addresses != entry.addresses
                self._entries[entry.peer] = (entry, data)

    def _has_room(self, at: float) -> bool:
        if len(self._entries) < MAX_REMEMBERED:
            return True
        oldest = min(self._entries, key=lambda peer: self._entries[peer][0].at)
        if at - self._entries[oldest][0].at < _LONG_GONE_S:
            return False
        del self._entries[oldest]
        return True

    def ways(self) -> dict[PeerId, Sequence[Multiaddr]]:
        """Where each remembered peer was, whoever was heard of last first."""
        newest_first = sorted((entry for entry, _ in self._entries.values()), key=lambda entry: -entry.at)
        ways = {entry.peer: _dialable(entry) for entry in newest_first}
        return {peer: addresses for peer, addresses in ways.items() if addresses}

    async def save(self) -> None:
        """Writes it if addresses have changed. Raises StateError."""
        if self._is_changed:
            self._is_changed = False
            page = _Page(self._page.port, tuple(data for _, data in self._entries.values()))
            await write_file(self._path, [msgspec.msgpack.encode(page)])


class Remembering:
    """A directory whose entries the book learns from as they are looked up."""

    def __init__(self, directory: Directory, learn: Callable[[Sequence[bytes]], None]) -> None:
        self._directory = directory
        self._learn = learn

    async def announce(self, sealed: bytes, lifetime_s: float) -> None:
        await self._directory.announce(sealed, lifetime_s)

    async def announcements(self) -> Sequence[bytes]:
        found = await self._directory.announcements()
        self._learn(found)
        return found


def _read(path: Path, say: Callable[[str], None]) -> _Page:
    try:
        data = read_file(path)
        return _Page() if data is None else msgspec.msgpack.decode(data, type=_Page)
    except (StateError, msgspec.DecodeError) as error:
        say(f"the addresses remembered in {path} are damaged ({error}): this peer enters by --join alone")
        return _Page()


def _dialable(entry: wire.Announcement) -> Sequence[Multiaddr]:
    """The addresses in an announcement that parse and name its author."""
    parsed: list[Multiaddr] = []
    for text in entry.addresses:
        try:
            address = parse_join_address(text)
        except UsageError:
            continue
        if peer_of(address) == entry.peer:
            parsed.append(address)
    return parsed
