"""A p2pd that does not start is tried again, and then its log is shown; one that dies is noticed. Real processes."""

import asyncio
from pathlib import Path

import pytest
from multiaddr import Multiaddr

from swarm.errors import NetworkError
from swarm.identity.key import Identity
from swarm.net import daemon
from swarm.net.daemon import Daemon

LISTEN = [Multiaddr("/ip4/127.0.0.1/tcp/0")]


@pytest.fixture
def identity(tmp_path: Path) -> Path:
    Identity.generate().save(tmp_path / "key")
    return tmp_path / "key"


def fake_binary(path: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o700)
    monkeypatch.setattr(daemon, "_binary", lambda: path)


def start_fails(identity: Path, said: list[str]) -> str:
    with pytest.raises(NetworkError) as caught:
        asyncio.run(Daemon.start(identity=identity, listen=LISTEN, say=said.append, limit_s=1.5))
    return str(caught.value)


def test_a_daemon_that_does_not_start_is_tried_again_and_its_log_shown(
    identity: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = f"echo x >> {tmp_path}/tries; echo out of luck; echo really >&2; exit 3"
    fake_binary(tmp_path / "p2pd", script, monkeypatch)
    said: list[str] = []
    message = start_fails(identity, said)
    assert message.startswith("p2pd did not start within 2 s")
    assert message.endswith("out of luck | really")
    assert said == ["p2pd did not start, trying again"]
    assert (tmp_path / "tries").read_text() == "x\nx\n"


def test_a_binary_that_cannot_be_run_is_named(identity: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemon, "_binary", lambda: tmp_path / "nothing")
    assert "cannot be run: No such file or directory" in start_fails(identity, [])


def test_a_daemon_that_dies_is_noticed(identity: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_binary(tmp_path / "p2pd", "echo Peer ID: made up; sleep 0.1; echo bad news; exit 4", monkeypatch)

    async def scenario() -> None:
        running = await Daemon.start(identity=identity, listen=LISTEN, say=lambda text: None)
        folder = running.control.parent
        try:
            await running.watch()
        finally:
            running.stop()
            assert not folder.exists()

    with pytest.raises(NetworkError, match=r"ended with code 4; its log ends with: .*bad news"):
        asyncio.run(scenario())
