"""What a power cut would leave: which files were on disk when the record that vouches for them came to its place."""

import os
from pathlib import Path

import pytest


class Disk:
    """Watches `os.fsync`, up to the last time that a file of this name was put in its place."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, record: str) -> None:
        self._synced: set[int] = set()
        self._in_time: set[int] = set()
        sync, rename = os.fsync, Path.rename

        def synced(descriptor: int) -> None:
            self._synced.add(os.fstat(descriptor).st_ino)
            sync(descriptor)

        def renamed(path: Path, target: Path) -> Path:
            if Path(target).name == record:
                self._in_time = set(self._synced)
            return rename(path, target)

        monkeypatch.setattr(os, "fsync", synced)
        monkeypatch.setattr(Path, "rename", renamed)

    def is_synced(self, *paths: Path) -> bool:
        return {path.stat().st_ino for path in paths} <= self._in_time
