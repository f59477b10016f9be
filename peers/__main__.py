"""`python -m peers` is the `tapestry` command."""

from peers.cli import main

main()
