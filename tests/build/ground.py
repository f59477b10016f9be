"""What a build stands on, made without a network: a peer's state folder with a real small model, and labelled text."""

import asyncio
import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from swarm.charter import files
from swarm.charter.manifest import Charter, Model
from swarm.charter.signing import SignedCharter, sign_charter
from swarm.net.memory import run_virtual
from tests.integration.papers import MODEL
from tests.lineage.folders import save_disk
from tests.simulation import MEMBER_KEYS, Simulation, make_charter

LONGEST = 128
ROUNDS = 2
OWN, OTHER = "notes of the ministry", "held-out French"
"""Names of data sets in `Member.policy`."""
_WORDS = {
    "de": ("der", "Fluss", "trägt", "einen", "Stein", "über", "das", "Land", "und", "schweigt"),
    "fr": ("la", "rivière", "porte", "une", "pierre", "à", "travers", "le", "pays", "silencieux"),
}


class _Seeded(Simulation):
    """A swarm whose state 0 is a model's, not made-up numbers."""

    def __init__(self, charter: Charter, base_N: np.ndarray) -> None:
        super().__init__(charter)
        self._zero_N = base_N

    def base_zero(self) -> np.ndarray:
        return self._zero_N.copy()


def make_state(state: Path, rounds: int = ROUNDS, checkpoint: Path | None = None) -> None:
    """Plays a swarm of three for some rounds; peer 0's records, means and state 0 afterwards.

    With a `checkpoint` the run begins from its weights, and its tokenizer lies where a peer keeps it.
    """
    from peers.ecosystem.checkpoint import adopt
    from peers.ecosystem.tokenizer import keep_tokenizer
    from peers.model import initial_state

    charter = make_charter(3)
    state.mkdir(parents=True)
    if checkpoint is None:
        config = json.dumps({**MODEL, "max_position_embeddings": LONGEST})
        zero = initial_state(config, 0, charter.outer, charter.reduce)
        names: dict[str, str] = {"config_json": config}
    else:
        adopted = adopt(checkpoint, charter.outer, charter.reduce)
        zero = adopted.state
        names = {"config_json": adopted.config_json, "tokenizer_digest": adopted.tokenizer_digest}
        keep_tokenizer(state, checkpoint, adopted.tokenizer_digest)
    model = Model(parameters=zero.parameters, schema_digest=zero.schema_digest, state_digest=zero.state_digest, **names)
    charter = msgspec.structs.replace(charter, model=model)
    files.write(state / "charter.toml", sign_charter(SignedCharter(charter=charter), MEMBER_KEYS[0]))

    async def main() -> None:
        sim = _Seeded(charter, zero.base)
        await asyncio.gather(*(sim.start(number) for number in range(3)))
        await sim.until_round(rounds)
        save_disk(sim, state, rounds)
        await sim.finish()

    run_virtual(main())


def text(language: str, seed: int, words: int = 2000) -> str:
    """Made-up text in which each language has words of its own."""
    return " ".join(random.Random(seed).choices(_WORDS[language], k=words)) + "\n"


class Member:
    """A member's data folder; every data set in it is one file."""

    def __init__(self, folder: Path) -> None:
        """Private German text to train on, and held-out text in both languages."""
        self.folder = folder
        self.policy: dict[str, dict[str, Any]] = {}
        self.isolation = "none"
        folder.mkdir()
        self.add(OWN, "notes.txt", text("de", 1), label="private")
        self.add("held-out German", "held/de.txt", text("de", 2), uses=["evaluation"])
        self.add(OTHER, "held/fr.txt", text("fr", 3), uses=["evaluation"], language="fr")

    def add(self, name: str, file: str, content: str, **more: object) -> Path:
        """One more data set, open German for builds unless `more` says otherwise."""
        path = self.folder / file
        path.parent.mkdir(exist_ok=True)
        path.write_text(content, encoding="utf-8")
        self.policy[name] = {
            "files": [file],
            "label": "open",
            "residency": "DE",
            "licence": "CC0-1.0",
            "language": "de",
            "uses": ["sovereign-build"],
            **more,
        }
        self.write_policy()
        return path

    def add_rows(self, name: str, file: str, rows: Sequence[Mapping[str, object]], **more: object) -> Path:
        """One more data set of JSON lines."""
        return self.add(name, file, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), **more)

    def change(self, name: str, **fields: object) -> None:
        """Other words in a data set's table; None takes a key away."""
        table = {**self.policy[name], **fields}
        self.policy[name] = {key: value for key, value in table.items() if value is not None}
        self.write_policy()

    def write_policy(self) -> None:
        import tomli_w

        document = {
            "version": 2,
            "isolation": self.isolation,
            "dataset": [{"name": name, **table} for name, table in self.policy.items()],
        }
        (self.folder / "policy.toml").write_text(tomli_w.dumps(document))
