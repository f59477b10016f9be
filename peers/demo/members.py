"""The pilot's papers: keys, the signed charter with state 0, a passport and a labelled folder for every peer.

All of it is made the way a person would with `tapestry keys`, `charter` and `passport`, only faster.
"""

import json

from peers.demo.ground import PilotMember
from peers.demo.processes import PeerPapers, Workbench
from peers.demo.settings import Settings
from peers.demo.terms import Terms
from peers.demo.workbench import MakeState0, State0Facts
from swarm.charter import files, manifest
from swarm.charter import passport as passports
from swarm.charter.documents import write_document
from swarm.charter.signing import SignedCharter, sign_charter, verify_charter
from swarm.clock import unix_s
from swarm.errors import PassportError
from swarm.identity.key import Identity

VALID_DAYS = 7
OUTER_LR, OUTER_MOMENTUM = 1.0, 0.0
"""Plain averaging is best at this length: 25 rounds of 10 inner steps gave 3.37 bits per byte on the average of the six
languages, against 3.62 with momentum 0.5 and 3.63 with learning rate 0.7 and momentum 0.5."""


class Consortium:
    """The members, who found a run together; each has one peer."""

    def __init__(self, settings: Settings, terms: Terms, members: tuple[PilotMember, ...]) -> None:
        self._settings = settings
        self._terms = terms
        self._regions = {member.region.name: member.region for member in members}
        self._member_keys = {member.name: Identity.generate() for member in members}
        self.bootstrap = Identity.generate()
        self._genesis = {member.name: Identity.generate() for member in members}
        self.charter_path = settings.documents / "charter.toml"
        self.state0_path = settings.documents / "charter.state0.safetensors"
        self.bootstrap_key = settings.documents / "bootstrap.key"

    def found(self, bench: Workbench) -> None:
        """Writes keys, the charter with every member's signature, and state 0."""
        self._settings.documents.mkdir(parents=True)
        terms = self._terms
        outer = manifest.Nesterov(lr=OUTER_LR, momentum=OUTER_MOMENTUM)
        reduce = manifest.Reduce(
            min_contributors=terms.min_contributors,
            single_update_may_cross=terms.min_contributors < manifest.CROSSING_MEMBERS,
        )
        config_json = json.dumps(terms.model)
        bench.give(
            MakeState0(
                config_json=config_json,
                seed=self._settings.seed,
                outer=outer,
                reduce=reduce,
                path=str(self.state0_path),
            )
        )
        state0 = bench.wait_for(State0Facts)
        now_s = int(unix_s())
        keys = tuple(key.peer_id for key in self._member_keys.values())
        charter = manifest.Charter(
            run=manifest.Run(name="three-region pilot", created=now_s, expires=now_s + VALID_DAYS * 86_400),
            model=manifest.Model(
                config_json=config_json,
                parameters=state0.parameters,
                schema_digest=state0.schema_digest,
                state_digest=state0.state_digest,
            ),
            training=manifest.Training(
                inner_steps=self._settings.inner_steps,
                batch_size=terms.batch_size,
                sequence_length=terms.sequence_bytes,
                inner_lr=terms.inner_lr,
            ),
            outer=outer,
            reduce=reduce,
            aggregation=terms.aggregation,
            weights=manifest.Weights(cap_percent=50),
            regions=tuple(
                manifest.Region(name=region.name, jurisdictions=tuple(sorted(set(region.jurisdictions.values()))))
                for region in self._regions.values()
            ),
            members=tuple(
                manifest.Member(name=f"member-{name}", key=key.peer_id) for name, key in self._member_keys.items()
            ),
            founders=manifest.Founders(keys=keys, threshold=-(-2 * len(keys) // 3)),
            genesis=manifest.Genesis(
                peers=tuple(key.peer_id for key in self._genesis.values()), witnesses=(self.bootstrap.peer_id,)
            ),
        )
        signed = SignedCharter(charter=charter)
        for key in self._member_keys.values():
            signed = sign_charter(signed, key)
        self.charter = verify_charter(signed)
        files.write(self.charter_path, signed)
        self.bootstrap.save(self.bootstrap_key)

    def papers(self, member: PilotMember, *, fresh: bool = False) -> PeerPapers:
        """Papers for a member's genesis peer, or for a fresh one that the charter has never heard of."""
        identity = Identity.generate() if fresh else self._genesis[member.name]
        name = f"{member.name}{'-fresh' if fresh else ''}"
        now_s = unix_s()
        passport = passports.issue(
            self._member_keys[member.name],
            self.charter,
            identity.peer_id,
            member.home,
            now_s + VALID_DAYS * 86_400,
            now_s,
        )
        key_path = self._settings.documents / f"{name}.key"
        passport_path = self._settings.documents / f"{name}.passport.json"
        identity.save(key_path)
        write_document(passport_path, passports.encode(passport), PassportError)
        return PeerPapers(identity.peer_id, member.name, member.region.name, key_path, passport_path, member.data)
