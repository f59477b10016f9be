"""Records that lie beside event logs, verified from the charter as they grow, like those that an observer is given.

One run: that of the first folder with a charter that its founders signed. What does not hold is said and passed over.
"""

from collections.abc import Callable
from pathlib import Path

from peers.lineage.history import read_run
from swarm.errors import LineageError, ProtocolError, UsageError
from swarm.identity.peer_id import PeerId
from swarm.node.observed_chain import ObservedChain
from swarm.state.run import Run
from swarm.state.trails import record_reader
from swarm.telemetry.seen import Seen

AT_ONCE = 64
"""Records verified before others get a turn."""


class KeptRecords:
    """The records in some state folders."""

    def __init__(self, take: Callable[[Seen], None]) -> None:
        self._take = take
        self._run: Run | None = None
        self._chain: ObservedChain | None = None
        self._folders: list[Path] = []
        self.fault = ""
        """What does not hold, in a sentence."""

    def add(self, folder: Path) -> None:
        """A state folder, or one without records: then there is nothing to read."""
        try:
            run = read_run(folder, None if self._run is None else self._run.id)
        except (LineageError, UsageError):
            return  # no charter, or of another run: its logs are shown as they are
        if self._run is None:
            self._run, self._chain = run, ObservedChain(run, AT_ONCE)
        self._folders.append(folder)

    def read(self) -> bool:
        """Hands on what is new; whether there is more. Raises StateError when the disk refuses."""
        has_more = False
        for folder in tuple(self._folders):
            has_more |= self._read(folder)
        return has_more

    def _read(self, folder: Path) -> bool:
        assert self._chain is not None, "there is a folder"
        load, name = record_reader(folder), PeerId(str(folder))
        first, found = self._chain.first_for(name), list[bytes]()
        while len(found) < AT_ONCE and (data := load(first + len(found))) is not None:
            found.append(data)
        try:
            for seen in self._chain.offer(name, found):
                self._take(seen)
        except ProtocolError as error:
            self.fault = f"records in {folder} do not hold: {error}"
            self._folders.remove(folder)
            return False
        return len(found) == AT_ONCE or self._chain.is_doubted(name)
