"""Every command of `tapestry`, one line each.

Command modules import torch, transformers, hivemind and whatever else is slow inside their functions, so that
`--help` and the document commands answer at once; a test holds them to it.
"""

import typer

from benchmarks import cli as bench
from peers.cli import audit, bootstrap, build, charter, demo, doctor, exit, keys, lineage, passport, peer, watch
from peers.cli.output import TapestryGroup

app = typer.Typer(
    name="tapestry",
    cls=TapestryGroup,
    help="Train one shared model together with others, and keep your data at home.",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _root() -> None:  # pyright: ignore[reportUnusedFunction]
    """Train one shared model together with others, and keep your data at home."""


app.add_typer(keys.app, name="keys")
app.add_typer(charter.app, name="charter")
app.add_typer(passport.app, name="passport")
app.add_typer(audit.app, name="audit")
app.add_typer(bench.app, name="bench")
app.add_typer(build.app, name="build")
app.add_typer(lineage.app, name="lineage")
app.add_typer(exit.app, name="exit")
app.command("bootstrap")(bootstrap.bootstrap)
app.command("peer")(peer.peer)
app.command("demo")(demo.demo)
app.command("doctor")(doctor.doctor)
app.command("watch")(watch.watch)
app.command("dashboard")(watch.dashboard)
