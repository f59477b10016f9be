"""Runs a command inside a namespace of the lab: `python -m benchmarks.wan.inside NAMESPACE COMMAND ...`."""

import os
import sys
from pathlib import Path

from benchmarks.wan import namespace


def main() -> None:
    namespace.enter_path(Path(sys.argv[1]))
    os.execvp(sys.argv[2], sys.argv[2:])


if __name__ == "__main__":
    main()
