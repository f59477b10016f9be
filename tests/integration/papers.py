"""Documents of a small run, made once: keys, a signed charter with its state 0, passports, labelled folders of text."""

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import msgspec

from swarm.charter import files, manifest
from swarm.charter import passport as passports
from swarm.charter.documents import write_document
from swarm.charter.signing import SignedCharter, run_id, sign_charter
from swarm.clock import unix_s
from swarm.errors import PassportError
from swarm.identity.key import Identity

DAY_S = 86_400
MODEL = {
    "model_type": "llama",
    "vocab_size": 256,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "tie_word_embeddings": True,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
}
TRAINING = manifest.Training(inner_steps=2, batch_size=1, sequence_length=32)
_POLICY = """version = 2

[[dataset]]
name = "made-up"
files = ["*.txt"]
label = "open"
residency = "DE"
licence = "CC0-1.0"
language = "de"
uses = ["shared-base"]
"""


@dataclass(frozen=True)
class PeerPapers:
    """What one peer is started with."""

    id: str
    identity: Path
    passport: Path | None
    """None for a volunteer."""
    data: Path

    def words(self) -> list[object]:
        admission = ["--jurisdiction", "DE"] if self.passport is None else ["--passport", self.passport]
        return ["--identity", self.identity, *admission, "--data", self.data]


class Papers:
    """A run of three members with one peer each, two jurisdictions in two regions, a witness, and room for one more."""

    def __init__(
        self,
        folder: Path,
        mode: Literal["diloco", "gradient"] = "diloco",
        *,
        model: Mapping[str, object] = MODEL,
        training: manifest.Training = TRAINING,
        chunk_elements: int = 4096,
    ) -> None:
        from peers.model import initial_state, write_state0

        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.members = {name: Identity.generate() for name in ("ada", "bo", "cy")}
        self.founder = Identity.generate()
        self.peers = {name: Identity.generate() for name in (*self.members, "dee")}
        self.bootstrap_key = folder / "bootstrap.key"
        bootstrap = Identity.generate()
        bootstrap.save(self.bootstrap_key)
        outer = manifest.Nesterov(lr=0.7, momentum=0.9) if mode == "diloco" else manifest.AdamW()
        reduce = manifest.Reduce(chunk_elements=chunk_elements, min_contributors=1, single_update_may_cross=True)
        state0 = initial_state(json.dumps(model), 0, outer, reduce)
        created = int(unix_s()) - 10
        self.charter = manifest.Charter(
            run=manifest.Run(name="integration", created=created, expires=created + DAY_S),
            model=manifest.Model(
                config_json=json.dumps(model),
                parameters=state0.parameters,
                schema_digest=state0.schema_digest,
                state_digest=state0.state_digest,
            ),
            training=msgspec.structs.replace(training, mode=mode),
            outer=outer,
            reduce=reduce,
            deadlines=manifest.Deadlines(floor_s=1.0, ceiling_s=10.0),
            regions=(
                manifest.Region(name="eu", jurisdictions=("DE",)),
                manifest.Region(name="asia", jurisdictions=("JP",)),
            ),
            members=tuple(manifest.Member(name=name, key=key.peer_id) for name, key in self.members.items()),
            founders=manifest.Founders(keys=(self.founder.peer_id,), threshold=1),
            genesis=manifest.Genesis(
                peers=tuple(self.peers[name].peer_id for name in self.members), witnesses=(bootstrap.peer_id,)
            ),
        )
        self.run_id = run_id(self.charter)
        self.charter_path = folder / "charter.toml"
        self.sign(self.charter, self.charter_path)
        write_state0(folder / "charter.state0.safetensors", state0.base)

    def sign(self, charter: manifest.Charter, path: Path) -> Path:
        files.write(path, sign_charter(SignedCharter(charter=charter), self.founder))
        return path

    def of(self, name: str) -> PeerPapers:
        """A peer's papers; dee belongs to ada and is not a genesis peer."""
        plain = self.volunteer(name)
        return replace(plain, passport=self.passport(name, self.folder / f"{name}.passport"))

    def volunteer(self, name: str) -> PeerPapers:
        """The same without a passport."""
        identity = self.peers[name]
        key, data = self.folder / f"{name}.key", self.folder / f"{name}-data"
        if not key.exists():
            identity.save(key)
            write_data(data, name)
        return PeerPapers(identity.peer_id, key, None, data)

    def passport(self, name: str, path: Path, *, expires_s: float | None = None, now_s: float | None = None) -> Path:
        """Issues a passport; one that has expired when `now_s` and `expires_s` lie in the past."""
        now_s = unix_s() if now_s is None else now_s
        signed = passports.issue(
            self.members.get(name, self.members["ada"]),
            self.charter,
            self.peers[name].peer_id,
            "JP" if name == "cy" else "DE",
            self.charter.run.expires if expires_s is None else expires_s,
            now_s,
        )
        write_document(path, passports.encode(signed), PassportError)
        return path


def write_data(folder: Path, seed: str) -> Path:
    """A labelled folder with some kilobytes of made-up text."""
    letters = random.Random(seed)
    folder.mkdir()
    words = ["".join(letters.choices("abcdefgh", k=letters.randint(2, 8))) for _ in range(200)]
    (folder / "text.txt").write_text(" ".join(letters.choices(words, k=2000)))
    (folder / "policy.toml").write_text(_POLICY)
    return folder
