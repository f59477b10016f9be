"""What the command line prints, and how it exits: the one place that knows.

    exit 0    success
    exit 1    a TapestryError, the system refused something, or Ctrl+C before a command had ended
    exit 2    wrong syntax, or a path that does not exist

A failure is one line on stderr, `tapestry: cause`, never a traceback. With `--json` a command prints exactly
one JSON document on stdout; everything for people goes to stderr then.
"""

import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup
from typer.exceptions import Abort, TyperException

from swarm.errors import TapestryError, UsageError

JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout; logs go to stderr.")]

FAILED = 1
WRONG_USAGE = 2
INTERRUPTED = 130
"""What typer itself returns for Ctrl+C."""


class TapestryGroup(TyperGroup):
    """The root command group: maps every expected failure to one line and an exit code."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,  # the base class's signature; only its test runner fills it
    ) -> NoReturn:
        try:
            code: object = super().main(
                args, prog_name or "tapestry", complete_var, False, windows_expand_args, **extra
            )
        except (KeyboardInterrupt, Abort):
            code = INTERRUPTED
        except TyperException as error:
            _fail(f"{error.format_message().rstrip('.')} (see `tapestry --help`)", error.exit_code)
        except UsageError as error:
            _fail(str(error), WRONG_USAGE)
        except TapestryError as error:
            _fail(str(error), FAILED)
        except OSError as error:
            place = f": {error.filename}" if error.filename else ""
            _fail(f"{error.strerror or error}{place}", FAILED)
        if code == INTERRUPTED:
            _fail("interrupted", FAILED)
        # Commands return nothing; an int is the code of typer's own exits, --help among them.
        sys.exit(code if isinstance(code, int) else 0)


def show(document: Mapping[str, Any], text: str, *, as_json: bool) -> None:
    """A command's result: the document for programs or the text for people."""
    if as_json:
        import msgspec

        print(msgspec.json.encode(document).decode(), flush=True)
    else:
        print(text, flush=True)


def _fail(cause: str, code: int) -> NoReturn:
    # Causes quote what strangers wrote: no control character of theirs reaches the terminal.
    line = "".join(char if char.isprintable() else "?" for char in " ".join(cause.split()))
    print(f"tapestry: {line}", file=sys.stderr, flush=True)
    sys.exit(code)
