"""Event logs as something to watch: one `events.jsonl`, or all that lie in a folder, read as they grow. No network.

Where commit records lie beside a log, in a state folder, they are verified from the charter on (`kept.py`).
"""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import msgspec

from swarm import events
from swarm.charter import files, signing
from swarm.clock import unix_s
from swarm.errors import CharterError, StateError, UsageError
from swarm.telemetry.seen import Logged, Remark, RunSeen, Seen

if TYPE_CHECKING:
    from peers.watch.kept import KeptRecords

LOG = "events.jsonl"
LOOK_EVERY_S = 0.5
_MOST_LOGS = 256
_AT_ONCE_BYTES = 8 * 1024 * 1024
"""Read before others get a turn."""
_DEPTHS = ("", "*/", "*/*/", "*/*/*/")
"""How deep logs are looked for: a state folder, a folder of them, a pilot's output, and a folder of those."""


class Logs:
    """The logs at a path; `read` hands on what has been written since it was called last."""

    def __init__(self, path: Path, take: Callable[[Seen], None]) -> None:
        """Raises UsageError where there is neither a file nor a folder."""
        if not path.exists():
            raise UsageError(f"{path} does not exist")
        self._path = path
        self._take = take
        self._logs: dict[Path, _Log] = {}
        self._records: KeptRecords | None = None
        self._bad_lines = 0
        self._said: dict[str, str] = {}

    async def keep_reading(self) -> NoReturn:
        """Reads until cancelled. Raises StateError when the disk refuses."""
        while True:
            has_more = self.read()
            await asyncio.sleep(0.0 if has_more else LOOK_EVERY_S)

    def read(self) -> bool:
        """Hands on what is new; whether there is more. Raises StateError when the disk refuses."""
        found = sorted(self._find())[:_MOST_LOGS]
        for path in found:
            if path not in self._logs:
                self._logs[path] = _Log(path)
                self._tell_run(path.with_name("charter.toml"))
                self._look_for_records(path.parent)
        if not found:
            self._remark("logs", f"no {LOG} lies in {self._path} yet")
        elif len(self._logs) == len(found):
            self._remark("logs", "")
        has_more = False
        if self._records is not None:
            has_more = self._records.read()
            self._remark("records", self._records.fault)
        for log in self._logs.values():
            for seen in log.new():
                if seen is None:
                    self._bad_lines += 1
                    self._remark("lines", f"{self._bad_lines} lines are no events and are passed over")
                else:
                    self._take(seen)
            has_more |= log.has_more
        return has_more

    def _look_for_records(self, folder: Path) -> None:
        if not (folder / "records").is_dir():
            return
        if self._records is None:
            from peers.watch.kept import KeptRecords  # verifying takes two seconds of imports

            self._records = KeptRecords(self._take)
        self._records.add(folder)

    def _find(self) -> Iterator[Path]:
        if self._path.is_file():
            yield self._path
        else:
            for depth in _DEPTHS:
                yield from self._path.glob(f"{depth}{LOG}")

    def _tell_run(self, path: Path) -> None:
        """The charter that a state folder remembers, if it can be read; it was verified before it was kept."""
        try:
            charter = files.read(path).charter
        except (CharterError, UsageError):
            return
        self._take(
            RunSeen(
                at=float(charter.run.created),
                run_id=signing.run_id(charter),
                name=charter.run.name,
                admission=charter.admission.kind,
                min_contributors=charter.reduce.least_members,
                parameters=charter.model.parameters,
                regions={region.name: region.jurisdictions for region in charter.regions},
            )
        )

    def _remark(self, subject: str, text: str) -> None:
        if self._said.get(subject, "") != text:
            self._said[subject] = text
            self._take(Remark(subject=subject, at=unix_s(), text=text))


class _Log:
    """One file, as far as it was read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._at_bytes = 0
        self._peer = ""
        self._before: list[events.Stamped] = []
        """What happened before the log named its peer."""
        self.has_more = False

    def new(self) -> Iterator[Logged | None]:
        """What was written since; None for a line that is no event. Raises StateError."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._at_bytes)
                data = file.read(_AT_ONCE_BYTES)
        except OSError as error:
            raise StateError(f"cannot read {self._path}: {error.strerror}") from None
        self.has_more = len(data) == _AT_ONCE_BYTES
        whole = data[: data.rfind(b"\n") + 1]  # a line still being written waits for the next look
        self._at_bytes += len(whole)
        for line in whole.splitlines():
            try:
                stamped = events.decode_line(line)
            except msgspec.DecodeError:
                yield None
                continue
            if isinstance(stamped.event, events.NodeStarted):
                self._peer = stamped.event.peer
            if not self._peer:
                self._before.append(stamped)
                continue
            for each in (*self._before, stamped):
                yield Logged(peer=self._peer, at=each.at, event=each.event)
            self._before.clear()
