"""`tapestry passport`: a member admits a peer or withdraws it, and anybody checks that it did."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from peers.cli import arguments
from peers.cli.governing import CharterOption, DocumentsOption, governed
from peers.cli.output import JsonFlag, show
from peers.cli.revoke import revoke
from swarm.charter import passport as passports
from swarm.charter.admission import Reason, Refused
from swarm.charter.documents import read_document, write_document
from swarm.charter.passport import SignedPassport
from swarm.clock import unix_s
from swarm.errors import PassportError, UsageError
from swarm.identity.key import Identity

app = typer.Typer(help="Admit a peer to a run as one of a member's own, withdraw it, or check a passport.")
app.command("revoke")(revoke)

_CAUSES = {
    Reason.WRONG_RUN: "it is for another run than this charter's",
    Reason.WRONG_PEER: "it is for another peer",
    Reason.UNKNOWN_MEMBER: "the charter has no member of its name",
    Reason.BAD_SIGNATURE: "its member's signature does not hold",
    Reason.EXPIRED: "it has expired",
    Reason.NOT_YET_VALID: "it is not valid yet",
    Reason.WRONG_REGION: "the charter does not place its jurisdiction in its region",
    Reason.SELF_SIGNED: "the peer signed it itself, and this run does not admit volunteers",
    Reason.REVOKED: "it is revoked",
}


@app.command("issue")
def issue(
    out: Annotated[Path, typer.Argument(help="Where to write the passport; must not exist yet.")],
    charter: CharterOption,
    identity: Annotated[Path, typer.Option(help="Key file of the member that owns the peer.")],
    peer: Annotated[str, typer.Option(help="Peer id of the peer that is admitted.")],
    jurisdiction: Annotated[
        str, typer.Option(help="ISO 3166 code of the jurisdiction whose law applies to its data, such as DE.")
    ],
    valid_days: Annotated[
        int | None,
        typer.Option(min=1, max=36_500, help="Days until it expires; as long as the charter if left out."),
    ] = None,
    observer: Annotated[
        bool, typer.Option("--observer", help="For somebody who watches: it may take no part and see no update.")
    ] = False,
    documents: DocumentsOption = None,
    json: JsonFlag = False,
) -> None:
    """Sign a passport with a member's key: this peer is ours, and stands here."""
    now_s = unix_s()
    arguments.new_file(out)
    if len(jurisdiction) != 2 or not jurisdiction.isalpha():
        raise UsageError(f"--jurisdiction: {jurisdiction!r} is not a two-letter ISO 3166 code such as DE")
    rules = governed(charter, documents, now_s).rules
    signed = passports.issue(
        Identity.load(identity),
        rules.charter,
        arguments.peer_id(peer, "--peer"),
        jurisdiction.upper(),
        rules.charter.run.expires if valid_days is None else now_s + valid_days * arguments.DAY_S,
        now_s,
        "observer" if observer else "peer",
        run=rules.run_id,
    )
    write_document(out, passports.encode(signed), PassportError)
    show(_document(signed) | {"file": str(out)}, f"{_line(signed)}, written to {out}", as_json=json)


@app.command("verify")
def verify(
    file: Annotated[Path, typer.Argument(help="A passport file.")],
    charter: CharterOption,
    documents: DocumentsOption = None,
    json: JsonFlag = False,
) -> None:
    """Check a passport against a charter; exit 1 with the cause when the run would refuse it."""
    now_s = unix_s()
    rules = governed(charter, documents, now_s).rules
    signed = passports.decode(read_document(file, passports.MAX_PASSPORT_BYTES, PassportError))
    verdict = rules.admit(signed, signed.payload.peer_id, now_s)
    if isinstance(verdict, Refused):
        raise PassportError(f"passport refused ({verdict.reason}): {_CAUSES[verdict.reason]}")
    show(_document(signed), f"valid: {_line(signed)}", as_json=json)


def _document(signed: SignedPassport) -> dict[str, Any]:
    payload: dict[str, Any] = msgspec.to_builtins(signed.payload)
    return payload | {"signer": signed.signer, "digest": passports.digest(signed), "valid": True}


def _line(signed: SignedPassport) -> str:
    payload = signed.payload
    what = "a peer" if payload.role == "peer" else "an observer"
    until = datetime.fromtimestamp(payload.expires, UTC).date().isoformat()
    return (
        f"{payload.peer_id} is {what} of {payload.member} in {payload.jurisdiction} "
        f"(region {payload.region}) until {until}"
    )
