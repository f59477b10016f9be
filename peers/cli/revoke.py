"""`tapestry passport revoke`: a member withdraws passports it signed, or members together those of any key."""

from pathlib import Path
from typing import Annotated

import typer

from peers.cli import arguments
from peers.cli.governing import CharterOption, DocumentsOption, document_in, governed
from peers.cli.output import JsonFlag, show
from swarm.charter import epochs
from swarm.charter import passport as passports
from swarm.charter.cosigning import with_signature
from swarm.charter.documents import read_document, write_document
from swarm.charter.epochs import revocation_signers
from swarm.charter.revocation import (
    REVOCATION_DOMAIN,
    Revocation,
    SignedRevocation,
    check_revocation,
    revocation_bytes,
    revocation_digest,
    scope,
)
from swarm.clock import unix_s
from swarm.errors import CharterError, PassportError, UsageError
from swarm.identity.key import Identity
from swarm.identity.peer_id import PeerId


def revoke(
    file: Annotated[Path, typer.Argument(help="Where to write the revocation; one that exists is signed as well.")],
    charter: CharterOption,
    identity: Annotated[Path, typer.Option(help="Key file of a member in force.")],
    peer: Annotated[str | None, typer.Option(help="Peer id whose passports are withdrawn.")] = None,
    passport: Annotated[Path | None, typer.Option(help="The one passport that is withdrawn.")] = None,
    member: Annotated[
        str | None,
        typer.Option(help="Key id whose passports are withdrawn, all of them if --peer is left out; else your own."),
    ] = None,
    reason: Annotated[str, typer.Option(help="Why, in a sentence that every peer shows.")] = "",
    documents: DocumentsOption = None,
    json: JsonFlag = False,
) -> None:
    """Withdraw passports: from the next group on no peer lets them in.

    Your own need your signature only. Those of another member, or of a volunteer (its key is its peer id), need as many
    members as an amendment: each signs the same file with this command.
    """
    rules = governed(charter, documents, unix_s()).rules
    signer = Identity.load(identity)
    if signer.peer_id not in rules.voters:
        raise CharterError(f"{signer.peer_id} is not the key of a member in force")
    if file.exists():
        if peer or passport or member or reason:
            raise UsageError(f"{file} exists: to sign it give --identity only, to make another one another name")
        signed = _read(file)
    else:
        arguments.new_file(file)
        signed = SignedRevocation(revocation=_made(rules.run_id, signer, peer, passport, member, reason))
    revocation = signed.revocation
    check_revocation(revocation)
    signatures = with_signature(signed.signatures, signer, REVOCATION_DOMAIN, revocation_bytes(revocation))
    signed = SignedRevocation(revocation=revocation, signatures=signatures)
    write_document(file, epochs.encode(signed), CharterError)
    valid = len(revocation_signers(signed, rules.voters))
    needed = 1 if revocation.key == signer.peer_id else rules.threshold
    show(
        {
            "file": str(file),
            "digest": revocation_digest(revocation),
            "key": revocation.key,
            "peer": revocation.peer,
            "passport": revocation.passport,
            "signatures": valid,
            "threshold": needed,
        },
        f"{scope(revocation)} withdrawn: {valid} valid signatures, {needed} needed\n"
        f"next: put {file} into the STATE/governance of one peer; the others get it from there",
        as_json=json,
    )


def _made(
    run: str, signer: Identity, peer: str | None, passport: Path | None, member: str | None, reason: str
) -> Revocation:
    if passport is not None:
        signed = passports.decode(read_document(passport, passports.MAX_PASSPORT_BYTES, PassportError))
        return Revocation(run_id=run, key=signed.signer, passport=passports.digest(signed), reason=reason)
    if peer is None and member is None:
        raise UsageError("say what is withdrawn: --peer, --passport or --member")
    key = signer.peer_id if member is None else arguments.peer_id(member, "--member")
    whose = PeerId("") if peer is None else arguments.peer_id(peer, "--peer")
    return Revocation(run_id=run, key=key, peer=whose, reason=reason)


def _read(file: Path) -> SignedRevocation:
    document = document_in(file)
    if not isinstance(document, SignedRevocation):
        raise CharterError(f"{file} is an amendment, not a revocation")
    return document
