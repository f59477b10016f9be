"""A small real swarm to look at: three peers in two regions, a bootstrap node, and papers for an observer."""

import json
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from swarm.charter import passport as passports
from swarm.charter.documents import write_document
from swarm.charter.manifest import Training
from swarm.clock import unix_s
from swarm.errors import PassportError
from swarm.identity.key import Identity
from swarm.telemetry.view import View
from tests.integration import papers
from tests.integration.conftest import Bootstrap, Crew
from tests.integration.papers import Papers
from tests.integration.processes import Running, wait_for

MODEL = papers.MODEL | {"hidden_size": 64, "intermediate_size": 172, "num_hidden_layers": 2}
TRAINING = Training(inner_steps=24, batch_size=4, sequence_length=64)


@dataclass(frozen=True)
class ObserverPapers:
    """What `--identity` and `--passport` take."""

    identity: Path
    passport: Path

    def words(self) -> list[object]:
        return ["--identity", self.identity, "--passport", self.passport]


def observer_papers(given: Papers, folder: Path) -> ObserverPapers:
    """A key and an observer's passport of one of the members."""
    folder.mkdir(parents=True, exist_ok=True)
    key = Identity.generate()
    made = ObserverPapers(folder / "observer.key", folder / "observer.passport")
    key.save(made.identity)
    member, expires_s = given.members["ada"], given.charter.run.expires
    signed = passports.issue(member, given.charter, key.peer_id, "DE", expires_s, unix_s(), "observer")
    write_document(made.passport, passports.encode(signed), PassportError)
    return made


@contextmanager
def small_swarm(folder: Path, archive: Sequence[str] = ()) -> Iterator[tuple[Crew, str]]:
    """Three peers that train, and the address to join or watch them at; a round takes about a second.

    `archive` names those that keep all means from the beginning.
    """
    made = Papers(folder / "papers", model=MODEL, training=TRAINING)
    bootstrap = Bootstrap(made, folder / "bootstrap")
    crew = Crew(made, bootstrap, folder / "crew")
    try:
        for name in archive:
            crew.start(name, "--archive")
        yield crew.muster(), bootstrap.start()
    finally:
        crew.end()
        bootstrap.kill()


class Dashboard:
    """`tapestry dashboard` on a free port."""

    def __init__(self, *words: object) -> None:
        self.running = Running("dashboard", "--json", "--port", 0, *words)

        def is_up() -> bool:
            assert self.running.is_running, self.running.stderr
            return "\n" in self.running.stdout

        wait_for("the dashboard", is_up)
        self.url: str = json.loads(self.running.stdout)["url"]

    def view(self) -> View:
        """What it shows now."""
        import msgspec

        with urllib.request.urlopen(self.url + "view", timeout=20) as answer:
            return msgspec.json.decode(answer.read(), type=View)

    def close(self) -> None:
        self.running.process.kill()
        self.running.process.wait()
