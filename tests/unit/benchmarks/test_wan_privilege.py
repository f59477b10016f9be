"""Systems that do not let a user make namespaces say so in one line, with the way out."""

import os
from pathlib import Path

import pytest

from benchmarks.wan import lab, privilege, tun
from benchmarks.wan.topology import Host, Topology
from swarm.errors import TapestryError


def _tools(folder: Path, monkeypatch: pytest.MonkeyPatch, **scripts: str) -> None:
    """Makes these shell scripts the only programs there are."""
    for name, text in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)


def test_a_system_that_refuses_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _tools(tmp_path, monkeypatch, unshare="echo 'unshare failed: Operation not permitted' >&2; exit 1")
    with pytest.raises(TapestryError, match=r"only root.*Operation not permitted.*run as root"):
        privilege.become_root_of_a_user_namespace()


def test_a_missing_unshare_names_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _tools(tmp_path, monkeypatch)
    with pytest.raises(TapestryError, match="util-linux"):
        privilege.become_root_of_a_user_namespace()


def test_a_tun_device_for_root_only_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _tools(tmp_path, monkeypatch, unshare="exit 0")
    monkeypatch.setattr(tun, "DEVICE", tmp_path / "no-such-device")
    with pytest.raises(TapestryError, match="no-such-device"):
        privilege.become_root_of_a_user_namespace()


def test_a_user_is_made_root_of_a_namespace_with_the_same_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _tools(tmp_path, monkeypatch, unshare="exit 0")
    monkeypatch.setattr(tun, "DEVICE", tmp_path)
    monkeypatch.setattr("sys.orig_argv", ["python", "-m", "peers", "bench", "wan"])
    started: list[list[str]] = []

    def start(_file: str, arguments: list[str]) -> None:
        started.append(arguments)

    monkeypatch.setattr(os, "execvp", start)
    privilege.become_root_of_a_user_namespace()
    assert started[0][:4] == ["unshare", "--user", "--map-root-user", "--"]
    assert started[0][5:] == ["-m", "peers", "bench", "wan"]


def test_a_missing_tool_names_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(lab, "TOOL_FOLDERS", ())
    with (
        pytest.raises(TapestryError, match="`ip` is not installed: it comes with the package iproute2"),
        lab.started(Topology(hosts=(Host(rate_bps=1),))),
    ):
        pytest.fail("it stands")
