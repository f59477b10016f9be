"""What a peer must hold before it may take part: the run's verified charter and a passport under it.

The charter comes from a file, from the swarm or, with nobody to ask, from the state folder, where it is remembered: a
state folder belongs to one run for good.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from multiaddr import Multiaddr

from swarm.charter import files, signing
from swarm.charter import passport as passports
from swarm.charter.admission import Admitted
from swarm.charter.documents import read_document
from swarm.charter.manifest import Charter
from swarm.charter.passport import SignedPassport
from swarm.clock import unix_s
from swarm.errors import CharterError, NetworkError, PassportError, PolicyError, ProtocolError, StateError, UsageError
from swarm.identity.key import Identity
from swarm.net import wire
from swarm.net.addresses import peer_of
from swarm.net.audited import AuditedTransport
from swarm.net.calls import Caller
from swarm.net.transport import StreamLostError
from swarm.node.config import NodeConfig
from swarm.sovereignty.dispatch import Request, check_dispatch, protections_of
from swarm.sovereignty.gate import InForce
from swarm.sovereignty.reasons import Reason
from swarm.sovereignty.uses import Privacy, Use
from swarm.state.resume import read_state_zero, state_zero
from swarm.state.run import Run
from swarm.state.store import Store

VOLUNTEER_DAYS = 30
FETCH_LIMIT_S = 5.0
FETCH_TRIES = 3


class Papers:
    """One peer's charter and passport. Every refusal is an error whose message says what a person must mend."""

    def __init__(self, config: NodeConfig, state: Path, identity: Identity, say: Callable[[str], None]) -> None:
        self._config = config
        self._kept = state / "charter.toml"
        self.trust = "pinned" if config.run_id is not None else "remembered" if self._kept.exists() else "first use"
        """Why the charter is believed to be the right one, as `CharterReady` says it."""
        self._identity = identity
        self._say = say

    async def charter(self, door: AuditedTransport, joins: Sequence[Multiaddr]) -> tuple[bytes, Charter]:
        """The founding charter's bytes and payload, verified, pinned and remembered. Whether the run has expired is
        asked of the charter in force (`passport`).

        Raises:
            CharterError: it is not valid, or not the run that --run-id names.
            StateError: the state folder belongs to another run, or its copy is damaged.
            NetworkError: nobody gave one.
        """
        if self._config.charter is not None:
            data = files.encode_toml(files.read(Path(self._config.charter))).encode()
        elif joins:
            data = await self._fetch(door, joins)
        else:
            self._read_kept()
            data = self._kept.read_bytes()
        signed = files.decode_bytes(data)
        charter = signing.verify_charter(signed)
        run_id = signing.run_id(charter)
        if self._config.run_id not in (None, run_id):
            raise CharterError(f"the swarm's charter has run id {run_id}, not the {self._config.run_id} you asked for")
        if self._kept.exists() and signing.run_id(self._read_kept()) != run_id:
            folder = self._kept.parent
            raise StateError(f"the state folder {folder} belongs to another run: choose another --state")
        files.write(self._kept, signed)
        return data, charter

    async def documents(self, door: AuditedTransport, joins: Sequence[Multiaddr]) -> tuple[bytes, ...]:
        """The amendments and revocations that those to join through hold; nothing about them is verified yet.

        Whoever has none or does not answer is no obstacle: records bring what is in force.
        """
        caller = Caller(door, wire.Hello("", b""))
        found: list[bytes] = []
        for address in joins:
            try:
                answer = await caller.ask(
                    peer_of(address), wire.GetDocuments(), wire.DocumentsAre, wire.MAX_CONTROL_BYTES, FETCH_LIMIT_S
                )
                found += answer.documents
            except (StreamLostError, ProtocolError) as error:
                self._say(f"{address} did not give its amendments and revocations: {error}")
        return tuple(dict.fromkeys(found))

    def passport(self, run: Run) -> SignedPassport:
        """The passport given, or a volunteer's own where the run admits volunteers; `run` is under the rules in force.

        Raises:
            CharterError: the run has expired.
            PassportError: there is none, or the charter refuses it.
            PolicyError: the peer's policy does not allow its data in this run, or in its jurisdiction.
        """
        now_s = unix_s()
        signing.check_not_expired(run.charter, now_s)
        if self._config.passport is not None:
            path = Path(self._config.passport)
            signed = passports.decode(read_document(path, passports.MAX_PASSPORT_BYTES, PassportError))
            if signed.payload.role != "peer":
                raise PassportError(
                    f"{path} is an observer's passport: it is for `tapestry watch` and `dashboard` only"
                )
            if self._config.jurisdiction not in (None, signed.payload.jurisdiction):
                raise PassportError(
                    f"the passport says jurisdiction {signed.payload.jurisdiction}, not {self._config.jurisdiction}"
                )
        elif run.charter.admits_volunteers:
            jurisdiction = self._config.jurisdiction or _only_jurisdiction(run.charter)
            expires_s = now_s + VOLUNTEER_DAYS * 86_400
            signed = passports.volunteer(self._identity, run.charter, jurisdiction, expires_s, now_s, run=run.id)
        else:
            raise PassportError("this run admits members' peers only: ask one for a passport and give --passport FILE")
        jurisdiction = signed.payload.jurisdiction
        request = Request(Use.SHARED_BASE, jurisdiction, run.charter, self._protections(run.charter))
        denied = check_dispatch(InForce(self._config.policy, self._config.restrictions), request)
        if denied is not None:
            raise PolicyError(denied.reason, denied.code)
        held_out = self._config.held_out
        if held_out is not None and not held_out.may_be_used_in(jurisdiction):
            raise PolicyError(
                f"the policy's data for evaluation stays in {', '.join(sorted(held_out.residency or ()))}, "
                f"and this peer is in {jurisdiction}",
                Reason.OUTSIDE_RESIDENCY,
            )
        verdict = run.rules.admit(signed, self._identity.peer_id, now_s)
        if not isinstance(verdict, Admitted):
            raise PassportError(f"the charter refuses this passport: {verdict.reason.value.replace('_', ' ')}")
        return signed

    def _protections(self, charter: Charter) -> frozenset[Privacy]:
        given = frozenset[Privacy]() if self._config.dp is None else frozenset({Privacy.DP})
        return protections_of(charter) | given

    async def _fetch(self, door: AuditedTransport, joins: Sequence[Multiaddr]) -> bytes:
        caller = Caller(door, wire.Hello("", b""))
        limit_bytes = wire.MAX_CHARTER_BYTES + wire.MAX_CHUNK_OVERHEAD_BYTES
        for address in [*joins] * FETCH_TRIES:
            try:
                answer = await caller.ask(
                    peer_of(address), wire.GetCharter(), wire.CharterIs, limit_bytes, FETCH_LIMIT_S
                )
                return answer.charter
            except (StreamLostError, ProtocolError) as error:
                self._say(f"{address} did not give its charter: {error}")
        raise NetworkError("nobody gave a charter: join through a peer or bootstrap node that is running")

    def _read_kept(self) -> Charter:
        """The charter the state folder remembers."""
        try:
            return files.read(self._kept).charter
        except CharterError as error:
            raise StateError(
                f"{self._kept} is damaged ({error}): move it away if this folder belongs to this run"
            ) from None


def run_before(state: Path) -> Run | None:
    """The run this state folder was in before, as far as its remembered charter can be read."""
    try:
        return Run(files.read(state / "charter.toml").charter)
    except (UsageError, CharterError):
        return None


async def adopt_state_zero(charter_path: str | None, run: Run, store: Store, say: Callable[[str], None]) -> None:
    """Takes state 0 from beside a local charter file, so that a first peer needs nobody."""
    if charter_path is None or store.snapshots():
        return
    beside = Path(charter_path).with_suffix("")
    base_N = read_state_zero(beside.with_name(beside.name + ".state0.safetensors"))
    head = None if base_N is None else state_zero(run, base_N)
    if head is not None:
        await store.save_snapshot(0, (head.base_N, *head.outer_VN))
    elif base_N is not None:
        say(f"the state beside {charter_path} is not the charter's state 0: asking the swarm for it")


def _only_jurisdiction(charter: Charter) -> str:
    codes = [code for region in charter.regions for code in region.jurisdictions]
    if len(codes) == 1:
        return codes[0]
    raise PassportError(f"say whose law applies to this peer's data: --jurisdiction, one of {', '.join(sorted(codes))}")
