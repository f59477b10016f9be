"""Checkpoints of a stage: which one it goes on from."""

from pathlib import Path

from peers.build.training import whole_checkpoint


def checkpoint(folder: Path, step: int, state: str | None) -> Path:
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    (path / "adapter_model.safetensors").touch()
    if state is not None:
        (path / "trainer_state.json").write_text(state)
    return path


def test_a_stage_goes_on_from_the_newest_checkpoint_that_is_whole(tmp_path: Path) -> None:
    assert whole_checkpoint(tmp_path / "none") is None
    old, whole = checkpoint(tmp_path, 9, "{}"), checkpoint(tmp_path, 10, '{"global_step": 10}')
    cut_short = [checkpoint(tmp_path, 20, None), checkpoint(tmp_path, 30, ""), checkpoint(tmp_path, 100, '{"global')]
    assert whole_checkpoint(tmp_path) == whole
    assert old.is_dir() and not any(path.exists() for path in cut_short)
