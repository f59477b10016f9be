"""The real processes of a soak: a bootstrap node, and peers forked from the template, killed and started again.

Keeps who is alive and notices who ended without having been killed. What the peers say is `watch.py`'s business.
"""

import os
import random
import signal
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from peers.trainer import TrainerConfig
from swarm.node.config import NodeConfig
from swarm.sovereignty.lattice import Restrictions
from tests.integration.conftest import LOOPBACK, Bootstrap
from tests.integration.processes import descendants, is_alive
from tests.soak.family import NODE, STDERR, TRAINER
from tests.soak.papers import Papers
from tests.soak.schedule import PARTS
from tests.soak.template import Ended, Ready, Start, Started, Template

READY_LIMIT_S = 600.0
_COMM = dict(zip(PARTS, (NODE, TRAINER, "p2pd"), strict=True))
_STDERR_SHOWN = 600


class Crew:
    """Everybody who was ever started, by name."""

    def __init__(self, folder: Path, papers: Papers, draw: random.Random) -> None:
        self.papers = papers
        self.folder = folder / "peers"
        self._draw = draw
        self.bootstrap = Bootstrap(papers, folder / "bootstrap")
        self._template = Template(folder / "tmp")
        self._joins: list[str] = []
        self.pids: dict[str, int] = {}
        """Of the families that run."""
        self._starting: set[str] = set()
        self.traced: frozenset[str] = frozenset()
        """Whose nodes say what their memory is made of."""
        self._killed: set[int] = set()
        self._dying: dict[str, list[int]] = {}
        """Processes that must be gone before a peer can come back."""
        self.known: set[str] = set()

    def open(self) -> None:
        """Starts the bootstrap node and waits for the template."""
        self._joins = [self.bootstrap.start()]
        said = self._template.heard(READY_LIMIT_S)
        match said:
            case [Ready(threads=1)]:
                return
            case _:
                raise AssertionError(f"the template is not ready, or no longer one thread: {said}")

    @property
    def alive(self) -> set[str]:
        return set(self.pids) | self._starting

    @property
    def dead(self) -> set[str]:
        """Who can come back now."""
        self._dying = {name: left for name, pids in self._dying.items() if (left := [p for p in pids if is_alive(p)])}
        return self.known - self.alive - set(self._dying)

    def start(self, name: str, restart: Path | None = None) -> None:
        """Starts a peer, or starts it again with what is in its state folder; with the founders' restart, if given."""
        papers, state = self.papers, self.folder / name
        node = NodeConfig(
            join=tuple(self._joins),
            state=str(state),
            listen=(LOOPBACK,),
            identity=str(papers.key_path(name)),
            passport=str(papers.passport_path(name)),
            restrictions=Restrictions(),
            restart=None if restart is None else str(restart),
        )
        trainer = TrainerConfig(
            parent_pid=0,
            control_fd=-1,
            shared_fd=-1,
            files=(str(papers.data_path(name)),),
            seed=self._draw.getrandbits(31),
            threads=1,
            export=str(state / "shared-base"),
        )
        self.known.add(name)
        self._starting.add(name)
        self._template.start(Start(name, node, trainer, traced=name in self.traced))

    def kill(self, name: str, part: str | None = None) -> None:
        """SIGKILL, for a whole peer or one of its processes; the rest of it has to end by itself."""
        family = self.pids.pop(name)
        tree = [family, *descendants(family)]
        self._killed.add(family)
        self._dying[name] = tree
        victims = tree if part is None else [pid for pid in tree if comm(pid) == _COMM[part]] or [family]
        for pid in victims:
            with suppress(ProcessLookupError):  # its parent may have taken it along
                os.kill(pid, signal.SIGKILL)

    def forget(self, names: Iterable[str]) -> None:
        """Who was killed and lost its disk as well: it never comes back."""
        self.known -= set(names)

    def listen(self, wait_s: float) -> None:
        """Takes what the template says. Raises AssertionError for a peer that ended by itself."""
        for message in self._template.heard(wait_s):
            match message:
                case Started(name, pid):
                    self._starting.discard(name)
                    self.pids[name] = pid
                case Ended(pid, code):
                    for name, family in list(self.pids.items()):
                        assert family != pid, f"{name} ended by itself with code {code}: {self.last_words(name)}"
                    self._killed.discard(pid)
                case Ready():
                    raise AssertionError("the template is ready a second time")
        assert self.bootstrap.running is not None and self.bootstrap.running.is_running, "the bootstrap node ended"

    def process(self, name: str, part: str) -> int | None:
        """The process id of a part of a living peer; None before it runs."""
        family = self.pids.get(name)
        tree = [] if family is None else descendants(family)
        return next((pid for pid in tree if comm(pid) == _COMM[part]), None)

    def last_words(self, name: str) -> str:
        path = self.folder / name / STDERR
        return path.read_text(errors="replace")[-_STDERR_SHOWN:] if path.exists() else "nothing"

    def close(self) -> None:
        self._template.close()
        self.bootstrap.kill()


def comm(pid: int) -> str:
    """The name of a process; empty once it is gone."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except FileNotFoundError:
        return ""
