"""The Shared Base as a model folder: an older one keeps its files under another name, and is found there."""

from pathlib import Path

from swarm.state.shared_base import EXPORT, exports, set_aside
from swarm.state.trails import copies


def test_an_older_one_keeps_its_files(tmp_path: Path) -> None:
    folder = tmp_path / EXPORT
    set_aside(folder)
    assert exports(tmp_path) == []
    for text in ("first", "second", "third"):
        set_aside(folder)
        folder.mkdir()
        (folder / "file").write_text(text)
    assert [(path.name, (path / "file").read_text()) for path in exports(tmp_path)] == [
        (EXPORT, "third"),
        (f"{EXPORT}.before-1", "first"),
        (f"{EXPORT}.before-2", "second"),
    ]
    assert set(copies(tmp_path, 0)) == set(exports(tmp_path)), "a withdrawal names them all"
