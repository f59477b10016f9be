"""Documents of a soak: a charter with few members, and keys, passports and data for as many peers as are asked for."""

import json
from collections.abc import Sequence
from pathlib import Path

from peers.model import initial_state, write_state0
from swarm.charter import files, manifest
from swarm.charter import passport as passports
from swarm.charter.documents import write_document
from swarm.charter.signing import SignedCharter, run_id, sign_charter
from swarm.clock import unix_s
from swarm.errors import PassportError
from swarm.identity.key import Identity
from swarm.identity.peer_id import PeerId
from tests.integration.papers import DAY_S, MODEL, write_data
from tests.integration.processes import tapestry

REGIONS = {"eu": "DE", "asia": "JP"}
MEMBERS = ("ada", "bo", "cy", "dee")


class Papers:
    """A run whose genesis peers are `genesis`; anybody else comes later under a passport of one of its members."""

    def __init__(self, folder: Path, genesis: Sequence[str]) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        self._members = {name: Identity.generate() for name in MEMBERS}
        self._peers: dict[str, Identity] = {name: Identity.generate() for name in genesis}
        self.founder = Identity.generate()
        self.founder_key = folder / "founder.key"
        self.founder.save(self.founder_key)
        self.bootstrap_key = folder / "bootstrap.key"
        bootstrap = Identity.generate()
        bootstrap.save(self.bootstrap_key)
        self.witness = bootstrap.peer_id
        outer, reduce = (
            manifest.Nesterov(lr=0.7, momentum=0.9),
            manifest.Reduce(chunk_elements=4096, min_contributors=1, single_update_may_cross=True),
        )
        state0 = initial_state(json.dumps(MODEL), 0, outer, reduce)
        created = int(unix_s()) - 10
        self.charter = manifest.Charter(
            run=manifest.Run(name="soak", created=created, expires=created + DAY_S),
            model=manifest.Model(
                config_json=json.dumps(MODEL),
                parameters=state0.parameters,
                schema_digest=state0.schema_digest,
                state_digest=state0.state_digest,
            ),
            training=manifest.Training(mode="diloco", inner_steps=4, batch_size=1, sequence_length=32),
            outer=outer,
            reduce=reduce,
            deadlines=manifest.Deadlines(floor_s=1.0, ceiling_s=10.0),
            regions=tuple(manifest.Region(name=name, jurisdictions=(code,)) for name, code in REGIONS.items()),
            members=tuple(manifest.Member(name=name, key=key.peer_id) for name, key in self._members.items()),
            founders=manifest.Founders(keys=(self.founder.peer_id,), threshold=1),
            genesis=manifest.Genesis(
                peers=tuple(key.peer_id for key in self._peers.values()), witnesses=(self.witness,)
            ),
        )
        self.run_id = run_id(self.charter)
        self.charter_path = folder / "charter.toml"
        files.write(self.charter_path, sign_charter(SignedCharter(charter=self.charter), self.founder))
        write_state0(folder / "charter.state0.safetensors", state0.base)
        for name in genesis:
            self._write(name)

    def admit(self, name: str) -> None:
        """Papers for one more peer."""
        self._peers[name] = Identity.generate()
        self._write(name)

    def restart(self, state: Path, electors: Sequence[str]) -> Path:
        """The founder's signed restart from the last record in a state folder, by the commands a person types."""
        document = self._folder / "restart.json"
        voters = [word for name in electors for word in ("--peer", self.id(name))]
        words = ("--charter", self.charter_path)
        made = [
            tapestry(
                *("charter", "restart", "new", document, *words, "--state", state, *voters, "--witness", self.witness)
            ),
            tapestry("charter", "restart", "sign", document, *words, "--identity", self.founder_key),
        ]
        assert all(run.returncode == 0 for run in made), [run.stderr for run in made]
        return document

    def id(self, name: str) -> PeerId:
        return self._peers[name].peer_id

    @property
    def names(self) -> dict[PeerId, str]:
        return {identity.peer_id: name for name, identity in self._peers.items()}

    @property
    def member_of(self) -> dict[str, str]:
        return {name: self._member(number) for number, name in enumerate(self._peers)}

    def key_path(self, name: str) -> Path:
        return self._folder / f"{name}.key"

    def passport_path(self, name: str) -> Path:
        return self._folder / f"{name}.passport"

    def data_path(self, name: str) -> Path:
        return self._folder / f"{name}-data" / "text.txt"

    def _write(self, name: str) -> None:
        """Members and jurisdictions take turns, so that every region has peers of several members."""
        number, identity = list(self._peers).index(name), self._peers[name]
        identity.save(self.key_path(name))
        write_data(self._folder / f"{name}-data", name)
        member = self._members[self._member(number)]
        jurisdiction = list(REGIONS.values())[number % len(REGIONS)]
        signed = passports.issue(
            member, self.charter, identity.peer_id, jurisdiction, self.charter.run.expires, unix_s()
        )
        write_document(self.passport_path(name), passports.encode(signed), PassportError)

    def _member(self, number: int) -> str:
        return MEMBERS[number // len(REGIONS) % len(MEMBERS)]
