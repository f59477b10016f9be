"""The Shared Base as a model folder in a state folder: what it is called, and what an older one that is kept is called.

Nothing in a run is decided by these folders: records and checkpoints prove a base, and it is written from them again.
"""

from pathlib import Path

EXPORT = "shared-base"


def set_aside(folder: Path) -> None:
    """Gives an older model folder another name: it keeps its files, and its statement if it has one. Raises OSError."""
    if folder.exists():
        number = 1
        while (aside := folder.with_name(f"{folder.name}.before-{number}")).exists():
            number += 1
        folder.rename(aside)


def exports(state: Path) -> list[Path]:
    """Every such folder in a state folder, the one in use first."""
    found = [state / EXPORT, *sorted(state.glob(f"{EXPORT}.before-*"))]
    return [folder for folder in found if folder.exists()]
