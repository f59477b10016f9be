"""`tapestry charter amend`: members change the rules of a run that goes on."""

from pathlib import Path
from typing import Annotated

import typer

from peers.cli import arguments
from peers.cli.governing import CharterOption, DocumentsOption, document_in, governed
from peers.cli.output import JsonFlag, show
from swarm.charter import epochs, files
from swarm.charter.amendment import (
    AMENDMENT_DOMAIN,
    Amendment,
    SignedAmendment,
    amendment_bytes,
    amendment_digest,
    check_amendment,
)
from swarm.charter.cosigning import with_signature
from swarm.charter.documents import write_document
from swarm.charter.epochs import Rules, amendment_signers
from swarm.clock import unix_s
from swarm.errors import CharterError
from swarm.identity.key import Identity

app = typer.Typer(help="Change the rules of a run that goes on: members admit members, move its end, change limits.")

File = Annotated[Path, typer.Argument(help="An amendment file.")]


@app.command("new")
def new(
    out: Annotated[Path, typer.Argument(help="Where to write the amendment; must not exist yet.")],
    charter: CharterOption,
    to: Annotated[Path, typer.Option(help="The new charter: a copy of the one in force, edited (TOML).")],
    reason: Annotated[str, typer.Option(help="Why, in a sentence that every peer shows.")],
    from_round: Annotated[int, typer.Option(min=1, help="First round that it may govern.")] = 1,
    documents: DocumentsOption = None,
    json: JsonFlag = False,
) -> None:
    """Write an unsigned amendment: the next epoch, with its whole charter."""
    arguments.new_file(out)
    rules = governed(charter, documents, unix_s()).rules
    amendment = Amendment(
        run_id=rules.run_id,
        epoch=rules.epoch + 1,
        previous=rules.digest,
        from_round=from_round,
        charter=files.read(arguments.existing_file(to, "--to")).charter,
        reason=reason,
    )
    check_amendment(amendment, rules.charter)
    write_document(out, epochs.encode(SignedAmendment(amendment=amendment)), CharterError)
    show(
        _document(SignedAmendment(amendment=amendment), rules) | {"file": str(out)},
        f"epoch {amendment.epoch} of run {rules.run_id} from round {from_round} on, in {out}\n"
        f"next: {rules.threshold} of {len(rules.voters)} members run `tapestry charter amend sign {out} "
        f"--charter {charter} --identity KEY`, and one of their peers gets it into its STATE/governance",
        as_json=json,
    )


@app.command("sign")
def sign(
    file: File,
    charter: CharterOption,
    identity: Annotated[Path, typer.Option(help="Key file of a member in force.")],
    documents: DocumentsOption = None,
    json: JsonFlag = False,
) -> None:
    """Add a member's signature to an amendment."""
    rules = governed(charter, documents, unix_s()).rules
    signed, signer = _read(file), Identity.load(identity)
    check_amendment(signed.amendment, rules.charter)
    if signer.peer_id not in rules.voters:
        raise CharterError(f"{signer.peer_id} is not the key of a member in force")
    signatures = with_signature(signed.signatures, signer, AMENDMENT_DOMAIN, amendment_bytes(signed.amendment))
    signed = SignedAmendment(amendment=signed.amendment, signatures=signatures)
    write_document(file, epochs.encode(signed), CharterError)
    valid = len(amendment_signers(signed, rules.voters))
    show(_document(signed, rules), f"signed: {valid} valid signatures, {rules.threshold} needed", as_json=json)


@app.command("verify")
def verify(file: File, charter: CharterOption, documents: DocumentsOption = None, json: JsonFlag = False) -> None:
    """Print what a valid amendment is; exit 1 with the cause of an invalid one."""
    rules = governed(charter, documents, unix_s()).rules
    signed = _read(file)
    epochs.plus(rules, epochs.encode(signed))
    amendment = signed.amendment
    show(
        _document(signed, rules) | {"valid": True},
        f"epoch {amendment.epoch} of run {amendment.run_id}, from round {amendment.from_round} on: {amendment.reason}",
        as_json=json,
    )


def _read(file: Path) -> SignedAmendment:
    document = document_in(file)
    if not isinstance(document, SignedAmendment):
        raise CharterError(f"{file} is a revocation, not an amendment")
    return document


def _document(signed: SignedAmendment, rules: Rules) -> dict[str, str | int]:
    amendment = signed.amendment
    return {
        "run_id": amendment.run_id,
        "epoch": amendment.epoch,
        "from_round": amendment.from_round,
        "digest": amendment_digest(amendment),
        "reason": amendment.reason,
        "signatures": len(amendment_signers(signed, rules.voters)),
        "threshold": rules.threshold,
    }
