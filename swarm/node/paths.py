"""Where a peer keeps things when nobody says where."""

import os
from pathlib import Path


def default_state() -> Path:
    """`$XDG_STATE_HOME/tapestry/default`, which is under ~/.local/state unless set otherwise."""
    home = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(home) / "tapestry" / "default"
