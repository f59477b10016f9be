"""An open run of two members' machines on loopback: keys, a signed charter, its bootstrap node, and the two peers."""

from collections.abc import Sequence
from pathlib import Path

from swarm.identity.key import Identity
from tests.integration.conftest import LOOPBACK
from tests.integration.processes import Peer, Running, tapestry, wait_for

NAMES = ("ada", "bo")
_POLICY = """version = 2
{top}
[[dataset]]
name = "texts"
files = ["*"]
label = "open"
residency = "DE"
licence = "CC0-1.0"
language = "en"
uses = ["shared-base"]
{more}
"""


class Pair:
    """The run; `peers` starts both and returns them."""

    def __init__(self, folder: Path, *charter_words: object) -> None:
        """Makes the documents; `charter_words` name the model and its training."""
        self.folder = folder
        for name in ("founder", *NAMES):
            Identity.generate().save(folder / f"{name}.key")
        self.charter = folder / "run.toml"
        words: list[object] = [*charter_words, "--open", "--name", "pair", "--region", "eu=DE", "--min-contributors", 1]
        words += ["--founder", Identity.load(folder / "founder.key").peer_id]
        for name in NAMES:
            words += ["--genesis", Identity.load(folder / f"{name}.key").peer_id]
            (folder / name).mkdir()
        made = tapestry("charter", "new", self.charter, *words)
        assert made.returncode == 0, made.stderr
        assert tapestry("charter", "sign", self.charter, "--identity", folder / "founder.key").returncode == 0

    def label(self, name: str, *, top: str = "", more: str = "") -> None:
        """Writes a peer's policy, with more lines at its top or in its data set."""
        (self.folder / name / "policy.toml").write_text(_POLICY.format(top=top, more=more))

    def run(self, rounds: int, words: dict[str, Sequence[object]]) -> dict[str, Peer]:
        """Runs both peers, each with its own words, to the end; fails if one does."""
        bootstrap = Running(
            *("bootstrap", "--charter", self.charter, "--state", self.folder / "bootstrap", "--listen", LOOPBACK)
        )
        try:
            wait_for("the bootstrap node", lambda: "\n" in bootstrap.stdout)
            join = bootstrap.stdout.splitlines()[0]
            peers = {
                name: Peer(
                    *(self.folder / f"{name}-state", "--join", join, "--identity", self.folder / f"{name}.key"),
                    *("--data", self.folder / name, "--listen", LOOPBACK, "--max-rounds", rounds, *words[name]),
                )
                for name in NAMES
            }
            for peer in peers.values():
                assert peer.end() == 0, peer.stderr
        finally:
            bootstrap.process.kill()
            bootstrap.end()
        return peers
