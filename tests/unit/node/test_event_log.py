"""The file of events: one line each, and a line torn by a full disk spoils no other."""

from pathlib import Path

import pytest

from swarm import events
from swarm.errors import StateError
from swarm.node.event_log import EventLog

NOTE = events.Note(text="hello")


def log(folder: Path, event: events.AnyEvent) -> None:
    """One life of a node that says one thing."""
    sink = EventLog(folder)
    try:
        sink(event)
    finally:
        sink._file.close()


def lines(folder: Path) -> list[bytes]:
    return (folder / "events.jsonl").read_bytes().splitlines()


def test_every_event_is_a_line_on_stdout_and_in_the_file(tmp_path: Path, capfdbinary: pytest.CaptureFixture) -> None:
    log(tmp_path, NOTE)
    log(tmp_path, events.Note(text="again"))
    assert [events.decode_line(line).event for line in lines(tmp_path)] == [NOTE, events.Note(text="again")]
    assert capfdbinary.readouterr().out == (tmp_path / "events.jsonl").read_bytes()


def test_a_torn_line_is_closed_before_the_next_one(tmp_path: Path) -> None:
    log(tmp_path, NOTE)
    path = tmp_path / "events.jsonl"
    path.write_bytes(path.read_bytes() * 2)
    path.write_bytes(path.read_bytes()[:-7])
    log(tmp_path, NOTE)
    first, torn, last = lines(tmp_path)
    assert [events.decode_line(line).event for line in (first, last)] == [NOTE, NOTE]
    assert torn == first[:-6]


def test_a_full_disk_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").symlink_to("/dev/full")
    with pytest.raises(StateError, match=r"cannot write .*events\.jsonl: No space left on device"):
        log(tmp_path, NOTE)
