"""`tapestry exit`: leaves with everything, in one file, and checks or unpacks such a file anywhere."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from peers.cli import arguments
from peers.cli.output import JsonFlag, show
from swarm.errors import UsageError

_WRITE = "write"


class ExitGroup(TyperGroup):
    """`tapestry exit STATE_DIR` writes a bundle; `tapestry exit verify` and `restore` are commands."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """A first word that is no command is the state folder of `write`."""
        if args and args[0] not in (*self.commands, "--help", "-h"):
            args = [_WRITE, *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=ExitGroup,
    help="Leave with everything: `tapestry exit STATE_DIR --out BUNDLE` writes it, `verify` and `restore` use it.",
)

Bundle = Annotated[Path, typer.Argument(help="A bundle that `tapestry exit` has written.")]
RunId = Annotated[str, typer.Option(help="The run's id, from somebody you trust: 64 hexadecimal digits.")]
Witness = Annotated[
    list[Path] | None, typer.Option(help="Heads that other peers hold of this one's ledger: a file or folder. Repeat.")
]


@app.command(_WRITE)
def write(
    state: Annotated[Path, typer.Argument(help="The peer's state folder; the peer may be running.")],
    out: Annotated[Path, typer.Option(help="Where to write the bundle; must not exist yet.")],
    build: Annotated[list[Path] | None, typer.Option(help="A Sovereign Build to take along. Repeat for more.")] = None,
    policy: Annotated[
        list[Path] | None,
        typer.Option(help="A policy file that neither the state folder nor a build has kept. Repeat for more."),
    ] = None,
    passport: Annotated[Path | None, typer.Option(help="The peer's passport.")] = None,
    identity: Annotated[
        Path | None,
        typer.Option(help="The peer's key file, which signs the bundle; the state folder's own if left out."),
    ] = None,
    with_private_key: Annotated[
        bool, typer.Option("--with-private-key", help="Put the key file in: whoever has the bundle is then the peer.")
    ] = False,
    json: JsonFlag = False,
) -> None:
    """Write everything this peer leaves with: models, chain, policies, ledger, evidence, keys, how to restore it.

    Nobody is asked. The bundle has passed `tapestry exit verify` when this ends.
    """
    from peers.leaving.write import Extras, write_bundle
    from swarm.clock import unix_s
    from swarm.identity.key import Identity

    arguments.existing_file(state, "STATE_DIR")
    arguments.new_file(out)
    builds = tuple(arguments.existing_file(each, "--build") for each in build or ())
    policies = tuple(arguments.existing_file(each, "--policy") for each in policy or ())
    if passport is not None:
        arguments.existing_file(passport, "--passport")
    key_file = arguments.key_of(state, identity)
    key = Identity.load(key_file)
    extras = Extras(builds, policies, passport, key_file if with_private_key else None)
    found = write_bundle(state, out, key, extras, at=unix_s())
    _show(found, {"bundle": str(out), "bytes": out.stat().st_size}, f"{found.text}\nwritten to {out}", as_json=json)


@app.command("verify")
def verify(bundle: Bundle, run_id: RunId, witness: Witness = None, json: JsonFlag = False) -> None:
    """Check a bundle with nothing else at hand but the run id. Exit 1 with the file that does not hold.

    It is unpacked into a temporary folder (TMPDIR) meanwhile.
    """
    from peers.leaving.check import check_bundle

    witnesses = [arguments.existing_file(each, "--witness") for each in witness or ()]
    with TemporaryDirectory(prefix="tapestry-exit-") as scratch:
        found = check_bundle(bundle, _run_id(run_id), witnesses, Path(scratch))
    _show(found, {"bundle": str(bundle)}, found.text, as_json=json)


@app.command("restore")
def restore(
    bundle: Bundle,
    run_id: RunId,
    out: Annotated[Path, typer.Option(help="Folder to make; must not exist yet.")],
    witness: Witness = None,
    json: JsonFlag = False,
) -> None:
    """Check a bundle and unpack it: OUT/state is a state folder for `tapestry peer --state`."""
    from peers.leaving.check import check_bundle

    witnesses = [arguments.existing_file(each, "--witness") for each in witness or ()]
    arguments.new_file(out)
    with TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as scratch:
        unpacked = Path(scratch) / "bundle"
        unpacked.mkdir()
        found = check_bundle(bundle, _run_id(run_id), witnesses, unpacked)
        unpacked.rename(out)
    _show(found, {"bundle": str(bundle), "folder": str(out)}, f"{found.text}\nunpacked to {out}", as_json=json)


def _show(found: Any, more: dict[str, object], text: str, *, as_json: bool) -> None:
    import msgspec

    show({"valid": True, **msgspec.to_builtins(found), **more}, text, as_json=as_json)


def _run_id(text: str) -> str:
    if len(text) != 64 or not set(text) <= set("0123456789abcdef"):
        raise UsageError(f"--run-id: {text!r} is not 64 hexadecimal digits")
    return text
