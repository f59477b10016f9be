"""Checks a bundle on a machine that knows nothing but the run id: no network, no state folder, no trust in who made it.

    bytes       each byte of the file is the one the signed manifest leads to, headers and padding included
    run         the genesis charter in it has the run id that was given by hand, and its founders' signatures
    chain       every record follows from it by its quorum's votes, up to the head that the manifest names
    state       checkpoints and means lead to the state of that head, bit for bit
    models      the Shared Base's and each build's statement hold, and rest on that chain
    evidence    the ledger is the one its heads were signed over; sessions, receipts and others' heads are what they say
    policies    each is the one that its digest names, those that builds keep included
    tokenizer   it is the one that the charter names, if it names one
    passport    a member of the run has given it to the peer that made the bundle
    keys        the list is the one that charter and records give

The first thing that does not hold is a LineageError that names its file.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from peers.build.decisions import policies_named
from peers.build.record import RECORD_NAME
from peers.ecosystem.tokenizer import TOKENIZER_FOLDER, has_tokenizer
from peers.leaving import manifest as manifests
from peers.leaving import tarball
from peers.leaving.manifest import Key, Manifest
from peers.lineage import verify
from peers.lineage.dsse import MAX_ENVELOPE_BYTES, unseal
from peers.lineage.history import Step, base_at, last_record, read_run, walk
from peers.lineage.replay import replay
from peers.lineage.subjects import STATEMENT_NAME, Subject, digests
from swarm.charter import passport as passports
from swarm.charter.admission import Admitted, Refused, admit
from swarm.charter.manifest import Charter
from swarm.errors import LineageError, PassportError, PolicyError, ProtocolError, StateError, UsageError
from swarm.identity.peer_id import PeerId
from swarm.sovereignty import statements
from swarm.sovereignty.audit import audit, read_heads
from swarm.sovereignty.ledger import LEDGER_NAME, whole
from swarm.sovereignty.receipts import RECEIPTS_NAME
from swarm.sovereignty.signed import Receipt
from swarm.sovereignty.witness import WITNESS_NAME
from swarm.state.chain import Mark
from swarm.state.policies import kept_policies, policies_of
from swarm.state.run import Run
from swarm.state.shared_base import EXPORT
from swarm.state.trails import read_trail


@dataclass(frozen=True)
class Findings:
    """What a check has found; there is none for a bundle that does not hold."""

    run_id: str
    run_name: str
    peer: PeerId
    peer_is: str
    """How the chain knows the peer that signed the bundle."""
    round: int
    state_digest: str
    files: int
    records: int
    means: int
    """Rounds replayed to the signed state."""
    ledger: str
    """The verdict of `tapestry audit verify`."""
    ledger_entries: int
    later_heads: int
    """That witnesses hold, and the peer signed after the bundle was made: what left then is not in it."""
    countersigned_frames: int
    """Frames in the ledger for which other peers' receipts are here."""
    policies: int
    """Policy files here that sessions and builds on record name."""
    policies_missing: int
    """Policies that they name, and whose file is not here."""
    models: tuple[str, ...]
    """Folders with a statement that holds."""
    has_private_key: bool

    @property
    def text(self) -> str:
        models = ", ".join(self.models) or "none"
        missing = f", {self.policies_missing} missing (--policy adds them)" if self.policies_missing else ""
        later = f"; witnesses hold {self.later_heads} heads of later entries" if self.later_heads else ""
        key = "\nit holds the peer's private key" if self.has_private_key else ""
        return (
            f"verified: {self.files} files of {self.peer} ({self.peer_is}), run {self.run_name} ({self.run_id})\n"
            f"Shared Base of round {self.round}, state {self.state_digest}\n"
            f"records {self.records} of {self.round} rounds; means replayed {self.means} of {self.round}\n"
            f"ledger {self.ledger}: {self.ledger_entries} entries, {self.countersigned_frames} countersigned{later}\n"
            f"policies of its sessions and builds: {self.policies}{missing}\n"
            f"models with statements: {models}{key}"
        )


def check_bundle(bundle: Path, run_id: str, witnesses: Sequence[Path], into: Path) -> Findings:
    """Unpacks a bundle into a folder that is empty, checking everything; `witnesses` are heads that other peers hold.

    Raises:
        UsageError: there is no such file.
        LineageError: something does not hold.
    """
    try:
        return _check(bundle, run_id, witnesses, into)
    except LineageError as error:
        raise LineageError(str(error).replace(f"{into}/", "")) from None  # who reads it knows the bundle's paths only


def _check(bundle: Path, run_id: str, witnesses: Sequence[Path], into: Path) -> Findings:
    peer, found = unpack(bundle, into)
    leaving, state = found.predicate, into / manifests.STATE_FOLDER
    try:
        run = read_run(state, run_id)
    except UsageError:
        raise LineageError(f"{bundle} holds no charter") from None
    steps = list(walk(run, state, last_record(state)))
    mark = steps[-1].after if steps else Mark.genesis(run)
    if base_at(run, mark) != leaving.base:
        raise LineageError(f"{manifests.MANIFEST_NAME} names another head than the records lead to")
    replayed = replay(run, state, steps)
    if replayed.base_N is None:
        raise LineageError(f"no checkpoint and no means in {bundle} lead to the state of round {mark.round}")
    _check_keys(into, keys_of(run, steps, peer))
    _check_passport(into, run, steps, peer)
    _check_tokenizer(state, run)
    countersigned, trained_under = _check_evidence(state, run, peer)
    named, kept = _policies(into, trained_under)
    ledger = state / LEDGER_NAME
    log = audit(ledger, witnesses, peer, until_s=leaving.made_at) if ledger.exists() else None
    if log is not None and log.faults:
        raise LineageError(f"{manifests.STATE_FOLDER}/{LEDGER_NAME}: {log.faults[0]}")
    return Findings(
        run_id=run.id,
        run_name=run.charter.run.name,
        peer=peer,
        peer_is=verify.role_of(peer, run, steps),
        round=mark.round,
        state_digest=mark.state_digest.hex(),
        files=len(found.subject),
        records=len(steps),
        means=replayed.rounds,
        ledger="none" if log is None else log.verdict,
        ledger_entries=0 if log is None else log.entries,
        later_heads=0 if log is None else log.later_heads,
        countersigned_frames=countersigned,
        policies=len(named & kept),
        policies_missing=len(named - kept),
        models=_check_models(into, state, run.id),
        has_private_key=leaving.has_private_key,
    )


def unpack(bundle: Path, into: Path) -> tuple[PeerId, Manifest]:
    """Who signed, and the manifest, with every file unpacked below `into`. Raises UsageError or LineageError."""
    if not bundle.is_file():
        raise UsageError(f"bundle {bundle} does not exist")
    try:
        with bundle.open("rb") as file:
            envelope = tarball.read_first(file, manifests.MANIFEST_NAME, MAX_ENVELOPE_BYTES, str(bundle))
            peer, payload = unseal(envelope, manifests.MANIFEST_NAME)
            found = manifests.decode(payload, str(bundle))
            if found.predicate.peer != peer:
                raise LineageError(f"{manifests.MANIFEST_NAME} is signed by {peer} and speaks for another peer")
            for subject, size_bytes in zip(found.subject, found.predicate.sizes_bytes, strict=True):
                target = into / subject.name
                target.parent.mkdir(parents=True, exist_ok=True)
                with target.open("xb") as copy:
                    target.chmod(0o600)
                    tarball.read_member(file, subject.name, size_bytes, copy.write)
                with target.open("rb") as copy:
                    _check_digests(subject, digests(copy)[0])
            tarball.read_end(file, bundle)
    except OSError as error:
        raise StateError(f"cannot unpack {bundle}: {error.strerror}: {error.filename or into}") from None
    has_key = manifests.IDENTITY_NAME in {subject.name for subject in found.subject}
    if has_key != found.predicate.has_private_key:
        raise LineageError(f"{manifests.MANIFEST_NAME} does not say whether a private key is in the bundle")
    return peer, found


def keys_of(run: Run, steps: Sequence[Step], peer: PeerId) -> tuple[Key, ...]:
    """Every public key that charter and records name, and for what."""
    roles: dict[PeerId, set[str]] = {peer: {"made this bundle"}}
    for charter in _charters(run, steps):
        for member in charter.members:
            roles.setdefault(member.key, set()).add(f"member {member.name}")
    genesis = run.genesis.charter
    named = (("founder", genesis.founders.keys), ("genesis peer", genesis.genesis.peers))
    for role, keys in (*named, ("witness", genesis.genesis.witnesses)):
        for key in keys:
            roles.setdefault(key, set()).add(role)
    for step in steps:
        for seat in step.decided.roster.seats:
            roles.setdefault(seat.peer, set()).add(f"peer of {seat.member}, {seat.region}")
    return tuple(Key(id=key, roles=tuple(sorted(roles[key]))) for key in sorted(roles))


def _charters(run: Run, steps: Sequence[Step]) -> list[Charter]:
    """Those of all epochs, the genesis charter first."""
    charters = {0: run.genesis.charter} | {step.after.rules.epoch: step.after.rules.charter for step in steps}
    return list(charters.values())


def _check_digests(subject: Subject, found: dict[str, str]) -> None:
    if subject.digest != found:
        raise LineageError(f"{subject.name} is not the file that was signed")


def _check_keys(into: Path, expected: tuple[Key, ...]) -> None:
    path = into / manifests.KEYS_NAME
    try:
        found = msgspec.json.decode(path.read_bytes(), type=tuple[Key, ...])
    except (OSError, msgspec.DecodeError) as error:
        raise LineageError(f"{manifests.KEYS_NAME} is no list of keys: {error}") from None
    if found != expected:
        raise LineageError(f"{manifests.KEYS_NAME} is not the list that charter and records give")


def _check_passport(into: Path, run: Run, steps: Sequence[Step], peer: PeerId) -> None:
    """Whether a passport that is there was given to this peer, under any of the run's charters; it may have expired."""
    path = into / manifests.PASSPORT_NAME
    if not path.exists():
        return
    try:
        signed = passports.decode(path.read_bytes())
    except PassportError as error:
        raise LineageError(f"{manifests.PASSPORT_NAME}: {error}") from None
    then_s = signed.payload.not_before
    verdicts = [admit(signed, peer, charter, run.id, then_s) for charter in _charters(run, steps)]
    if isinstance(verdicts[-1], Refused) and not any(isinstance(each, Admitted) for each in verdicts):
        raise LineageError(f"{manifests.PASSPORT_NAME} is no passport of this peer: {verdicts[-1].reason}")


def _check_tokenizer(state: Path, run: Run) -> None:
    """Of an adopted checkpoint; bundles of earlier versions have none."""
    folder = state / TOKENIZER_FOLDER
    if folder.exists() and not has_tokenizer(folder, run.charter.model.tokenizer_digest):
        raise LineageError(f"{folder} is not the tokenizer that the charter names")


def _policies(into: Path, trained_under: frozenset[str]) -> tuple[frozenset[str], frozenset[str]]:
    """Digests of the policies that sessions and builds name, and of those that are here."""
    builds = [path.parent for path in sorted((into / manifests.BUILDS_FOLDER).glob(f"*/{RECORD_NAME}"))]
    try:
        named = trained_under.union(*map(policies_named, builds))
        return named, frozenset[str]().union(*map(kept_policies, (into / manifests.STATE_FOLDER, *builds)))
    except (PolicyError, StateError) as error:
        raise LineageError(str(error)) from None


def _check_evidence(state: Path, run: Run, peer: PeerId) -> tuple[int, frozenset[str]]:
    """Sessions, receipts and others' heads; how many frames of the ledger others have countersigned, and the policies
    that sessions name."""
    if not (state / LEDGER_NAME).exists():
        return 0, frozenset()
    trail = read_trail(state)
    if trail.faults:
        raise LineageError(trail.faults[0])
    heads, notes = read_heads(sorted((state / WITNESS_NAME).glob("*.jsonl")))
    if notes or any(each.head.run_id != run.id for each in heads):
        raise LineageError(notes[0] if notes else f"{state / WITNESS_NAME} holds heads of another run")
    with (state / LEDGER_NAME).open("rb") as lines:
        entries = filter(None, map(whole, lines))
        sent = Counter((entry.peer, entry.digest) for entry in entries)
    got = sorted((state / RECEIPTS_NAME / "got").glob("*.jsonl"))
    return sum(_check_receipts(path, run, peer, sent) for path in got), policies_of(trail.sessions)


def _check_receipts(path: Path, run: Run, peer: PeerId, sent: Counter[tuple[str, str]]) -> int:
    """What one peer has countersigned for this one, each frame of which is in the ledger; `sent` loses it."""
    count = 0
    for signed in statements.read(path):
        try:
            receipt = Receipt.read(signed)
        except ProtocolError as error:
            raise LineageError(f"{path.name} among the receipts: {error}") from None
        if (signed.author, receipt.sender, receipt.run_id) != (path.stem, peer, run.id):
            raise LineageError(f"{path.name} among the receipts holds one that is for somebody else")
        for digest in receipt.frames:
            count += 1
            sent[signed.author, digest] -= 1
            if sent[signed.author, digest] < 0:
                raise LineageError(f"{signed.author} has countersigned a frame that the ledger does not have")
    return count


def _check_models(into: Path, state: Path, run_id: str) -> tuple[str, ...]:
    folders = [state / EXPORT, *sorted((into / manifests.BUILDS_FOLDER).glob("*/model"))]
    found: list[str] = []
    for folder in folders:
        if (folder / STATEMENT_NAME).is_file():
            verdict = verify.verify(folder, state, run_id)
            if folder.name == EXPORT and not verdict.coverage.weights:
                raise LineageError(f"nothing in the bundle leads to the base that {folder} is said to be")
            found.append(folder.relative_to(into).as_posix())
    return tuple(found)
