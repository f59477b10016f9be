"""Checkpoints of a stage: which one it goes on from, and what a power cut makes of them."""

import os
from pathlib import Path

import pytest

from peers.build import checkpoints
from peers.build.checkpoints import newest_whole
from peers.build.mark import is_sovereign
from tests.build.records import weights


def checkpoint(folder: Path, step: int, state: str | None) -> Path:
    path = weights(folder / f"checkpoint-{step}", step, "adapter_model.safetensors")
    if state is not None:
        (path / "trainer_state.json").write_text(state)
    return path


def vouched(folder: Path, step: int) -> Path:
    path = checkpoint(folder, step, "{}")
    checkpoints.vouch(path)
    return path


def test_a_stage_goes_on_from_the_newest_checkpoint_that_is_whole(tmp_path: Path) -> None:
    """As an earlier version has left them."""
    assert newest_whole(tmp_path / "none").checkpoint is None
    old, whole = checkpoint(tmp_path, 9, "{}"), checkpoint(tmp_path, 10, '{"global_step": 10}')
    cut_short = [checkpoint(tmp_path, 20, None), checkpoint(tmp_path, 30, ""), checkpoint(tmp_path, 100, '{"global')]
    found = newest_whole(tmp_path)
    assert (found.checkpoint, found.step, found.is_damaged) == (whole, 10, False)
    assert old.is_dir() and not any(path.exists() for path in cut_short)
    checkpoints.begin(tmp_path, found)
    assert newest_whole(tmp_path) == found
    unknown = checkpoint(tmp_path, 50, "{}")
    assert newest_whole(tmp_path) == found and not unknown.exists()


def test_a_checkpoint_counts_once_it_is_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A power cut leaves whole state files beside weights that never came to the disk."""
    checkpoints.begin(tmp_path, newest_whole(tmp_path))
    first, second = vouched(tmp_path, 50), vouched(tmp_path, 100)
    assert is_sovereign(first / "adapter_model.safetensors") and is_sovereign(first)
    unsynced = checkpoint(tmp_path, 150, "{}")
    found = newest_whole(tmp_path)
    assert (found.checkpoint, found.is_damaged, unsynced.exists()) == (second, False, False)
    os.truncate(second / "adapter_model.safetensors", 0)
    found = newest_whole(tmp_path)
    assert (found.checkpoint, found.step, found.is_damaged, second.exists()) == (first, 50, True, False)
    checkpoints.begin(tmp_path, found)
    assert not newest_whole(tmp_path).is_damaged, "said once"
    os.truncate(first / "trainer_state.json", 1)
    assert (newest_whole(tmp_path).checkpoint, newest_whole(tmp_path).step) == (None, 0)

    synced: set[int] = set()
    sync = os.fsync

    def recorded(descriptor: int) -> None:
        synced.add(os.fstat(descriptor).st_ino)
        sync(descriptor)

    path = checkpoint(tmp_path, 200, "{}")
    monkeypatch.setattr(os, "fsync", recorded)
    checkpoints.vouch(path)
    assert {each.stat().st_ino for each in (path, *path.iterdir(), tmp_path)} <= synced


def test_what_vouches_for_nothing_is_believed_in_nothing(tmp_path: Path) -> None:
    vouched(tmp_path, 50)
    (tmp_path / "whole.json").write_bytes(b"{")
    assert newest_whole(tmp_path).checkpoint is None
