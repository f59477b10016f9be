"""The `tapestry` command: `app.py` lists the commands, `output.py` says what is printed and how it exits."""


def main() -> None:
    """Entry point of the installed command."""
    from peers.cli.app import app  # here, so that `import peers.cli` alone loads nothing

    app()
