"""Where a scene's news come from, as a person typed it: a swarm behind an address, or event logs on disk."""

from pathlib import Path

from peers.watch.logs import Logs
from peers.watch.scene import Scene
from swarm.clock import unix_s
from swarm.errors import UsageError
from swarm.net.addresses import parse_join_address


class Source:
    """A scene and what fills it; `watch` runs until it is cancelled."""

    def __init__(
        self, address: str | None, log: Path | None, *, run_id: str | None, passport: Path | None, identity: Path | None
    ) -> None:
        """Raises UsageError for what was typed wrongly."""
        if (address is None) == (log is None):
            raise UsageError("give either the MULTIADDR of a bootstrap node or peer, or --events FILE or FOLDER")
        if log is not None and (run_id, passport, identity) != (None, None, None):
            raise UsageError("--run-id, --passport and --identity are for a swarm, not for --events")
        for path in (passport, identity):
            if path is not None and not path.exists():
                raise UsageError(f"{path} does not exist")
        self._join = None if address is None else parse_join_address(address)
        self._run_id = run_id
        self._passport = passport
        self._identity = identity
        self.scene = Scene(unix_s, is_replay=log is not None)
        self._logs = None if log is None else Logs(log, self.scene.take)
        self.name = str(log) if address is None else address

    async def watch(self) -> None:
        """Fills the scene. Raises TapestryError for what a person must mend."""
        if self._logs is not None:
            await self._logs.keep_reading()
        elif self._join is not None:
            from swarm.node.observer import observe

            await observe(
                self._join,
                self.scene.take,
                run_id=self._run_id,
                passport=self._passport,
                identity=self._identity,
            )
