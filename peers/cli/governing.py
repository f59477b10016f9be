"""What commands read of a run's rules: the founders' charter, and the governance documents that follow it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from swarm.charter import epochs, files
from swarm.charter.documents import read_document
from swarm.charter.epochs import MAX_DOCUMENT_BYTES, Rules, SignedDocument
from swarm.charter.holdings import Equivocation, Rejected, Taken, judge, newest_of
from swarm.charter.signing import SignedCharter, check_not_expired, verify_charter
from swarm.errors import CharterError, UsageError

DocumentsOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--documents",
        help="Amendments and revocations in force: a file, or a folder of them such as a peer's STATE/governance. "
        "Repeat for more.",
    ),
]
CharterOption = Annotated[Path, typer.Option("--charter", help="The run's founding charter.")]


@dataclass(frozen=True)
class Governed:
    """A verified charter under what follows it."""

    founding: SignedCharter
    rules: Rules
    """With every good document in force, whatever round it waits for."""
    held: tuple[bytes, ...]


def governed(charter: Path, documents: list[Path] | None, now_s: float) -> Governed:
    """The rules of a run. Its expiry is judged by the newest charter: an amendment may have moved it.

    Raises:
        UsageError: a path does not exist.
        CharterError: the charter or a document is not good, or the run has expired.
    """
    founding = files.read(charter)
    genesis = Rules.genesis(verify_charter(founding))
    held = _held(genesis, [data for path in documents or [] for data in _read(path)])
    rules = newest_of(genesis, held)
    check_not_expired(rules.charter, now_s)
    return Governed(founding, rules, held)


def document_in(path: Path) -> SignedDocument:
    """One governance document; nothing about it is judged. Raises UsageError or CharterError."""
    return epochs.decode(read_document(path, MAX_DOCUMENT_BYTES, CharterError))


def _read(path: Path) -> list[bytes]:
    if not path.exists():
        raise UsageError(f"--documents: {path} does not exist")
    found = sorted(entry for entry in path.iterdir() if entry.is_file()) if path.is_dir() else [path]
    return [read_document(entry, MAX_DOCUMENT_BYTES, CharterError) for entry in found]


def _held(genesis: Rules, waiting: list[bytes]) -> tuple[bytes, ...]:
    held: tuple[bytes, ...] = ()
    while waiting:
        verdicts = [judge(genesis, held, data) for data in waiting]
        for verdict in verdicts:
            if isinstance(verdict, Equivocation):
                raise CharterError(verdict.reason)
        taken = [verdict.data for verdict in verdicts if isinstance(verdict, Taken)]
        refused = [verdict.reason for verdict in verdicts if isinstance(verdict, Rejected)]
        if refused and not taken:
            raise CharterError(refused[0])
        held += tuple(taken[:1])
        waiting = [data for data in waiting if data not in held] if taken else []
    return held
