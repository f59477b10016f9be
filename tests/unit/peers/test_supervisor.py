"""What a supervisor puts into the state folder: the Shared Base at the end, the tokenizer once the run is known."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
from msgspec.structs import replace

from peers.ecosystem.tokenizer import tokenizer_digest_of
from peers.lineage.subjects import STATEMENT_NAME
from peers.supervisor import Peer, Training, take_export
from swarm import events
from swarm.charter import files
from swarm.charter.signing import SignedCharter
from swarm.node.config import NodeConfig
from swarm.node.spawn import NodeProcess
from tests.simulation import make_charter


def wrote(scratch: Path, text: str) -> None:
    """A trainer's Shared Base."""
    (scratch / "shared-base").mkdir(parents=True)
    (scratch / "shared-base" / "model.safetensors").write_text(text)


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    return tmp_path / "state" / "trainer"


def test_a_signed_base_stays_when_the_peer_ends_again(scratch: Path) -> None:
    state = scratch.parent
    kept: list[str] = []
    for text in ("first", "second", "third"):
        wrote(scratch, text)
        assert take_export(scratch, state) == state / "shared-base"
        assert (state / "shared-base" / "model.safetensors").read_text() == text
        assert not (state / "shared-base" / STATEMENT_NAME).exists()
        kept = [path.read_text() for path in sorted(state.glob(f"shared-base.before-*/{STATEMENT_NAME}"))]
        (state / "shared-base" / STATEMENT_NAME).write_text(f"says {text}")
    assert kept == ["says first", "says second"]
    weights = sorted(state.glob("shared-base.before-*/model.safetensors"))
    assert [path.read_text() for path in weights] == ["first", "second"]


def test_an_unsigned_base_makes_room(scratch: Path) -> None:
    state = scratch.parent
    for text in ("first", "second"):
        wrote(scratch, text)
        take_export(scratch, state)
    assert {path.name for path in state.iterdir()} == {"trainer", "shared-base"}
    assert (state / "shared-base" / "model.safetensors").read_text() == "second"


def test_without_a_base_the_older_one_stays(scratch: Path) -> None:
    state = scratch.parent
    wrote(scratch, "first")
    take_export(scratch, state)
    assert take_export(scratch, state) is None
    assert (state / "shared-base" / "model.safetensors").read_text() == "first"


class Node:
    """A node process that says one thing and ends."""

    def __init__(self, event: events.CharterReady) -> None:
        self._left: Iterator[events.CharterReady] = iter([event])
        self.ended = False

    def next_event(self, timeout_s: float) -> events.Stamped | None:
        event = next(self._left, None)
        self.ended = event is None
        return None if event is None else events.Stamped(at=0.0, event=event)


class Trainer:
    def poll(self) -> None:
        """At work."""


@pytest.mark.parametrize("is_the_runs", [True, False])
def test_an_adopted_tokenizer_is_kept_as_soon_as_the_charter_is_known(is_the_runs: bool, tmp_path: Path) -> None:
    adopted, state = tmp_path / "adopted", tmp_path / "state"
    adopted.mkdir()
    state.mkdir()
    (adopted / "tokenizer.json").write_text('{"of": "the run"}')
    charter = make_charter(3)
    charter = replace(charter, model=replace(charter.model, tokenizer_digest=tokenizer_digest_of(adopted)))
    files.write(state / "charter.toml", SignedCharter(charter=charter))
    if not is_the_runs:
        (adopted / "tokenizer.json").write_text('{"of": "another"}')
    ready = events.CharterReady(path=str(state / "charter.toml"), run_id="", parameters=1, trust="first use")
    seen: list[events.Stamped] = []
    peer = Peer(NodeConfig(join=(), state=str(state)), Training(files=[], adopted=adopted), seen.append)
    peer._follow(cast(NodeProcess, Node(ready)), cast("subprocess.Popen[bytes]", Trainer()))
    assert [stamped.event for stamped in seen] == [ready]
    assert (tokenizer_digest_of(state / "tokenizer") == charter.model.tokenizer_digest) == is_the_runs
