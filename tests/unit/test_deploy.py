"""The service units and the container's files: what they start exists, and what confinement needs is not taken away."""

import json
import re
import shutil
import subprocess
from configparser import ConfigParser
from pathlib import Path

import pytest
from typer.main import get_command

from peers.cli.app import app

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
NEEDED_NAMESPACES = {"user", "mnt", "pid", "net", "ipc", "uts"}
NEEDED_CALLS = {"unshare", "mount", "umount2", "pivot_root", "mount_setattr", "seccomp", "clone", "clone3", "setns"}
NEEDED_CALLS |= {"landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self", "memfd_create"}
OVERMOUNTS_PROC = {"ProtectKernelTunables", "ProtectKernelLogs", "ProcSubset"}
"""With one of these in force the kernel lets nobody mount a /proc of his own (measured)."""


def service(path: Path) -> dict[str, str]:
    parser = ConfigParser(interpolation=None, strict=False)
    parser.optionxform = str
    parser.read(path)
    return dict(parser["Service"])


def options(words: list[str]) -> set[str]:
    """The options of a command of `tapestry`."""
    command = get_command(app).commands[words[0]]
    return {name for parameter in command.params for name in parameter.opts}


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_a_unit_starts_a_command_that_exists(path: Path) -> None:
    program, *words = service(path)["ExecStart"].split()
    assert program == "/opt/tapestry/bin/tapestry"
    typed = [word for word in words if word.startswith("--")]
    assert typed and set(typed) <= options(words)
    names = set(re.findall(r"\$\{?([A-Z]+)\}?", service(path)["ExecStart"]))
    example = DEPLOY / "systemd" / f"{words[0]}.env.example"
    assigned = {line.partition("=")[0] for line in example.read_text().splitlines() if not line.startswith("#")}
    assert names == assigned


def test_both_kinds_of_nodes_have_a_unit() -> None:
    assert [path.name for path in UNITS] == ["tapestry-bootstrap.service", "tapestry-peer@.service"]


def test_a_peers_unit_leaves_the_trainer_what_its_walls_are_made_of() -> None:
    unit = service(DEPLOY / "systemd" / "tapestry-peer@.service")
    assert set(unit["RestrictNamespaces"].split()) == NEEDED_NAMESPACES
    assert not OVERMOUNTS_PROC & unit.keys()
    calls = set(unit["SystemCallFilter"].split())
    assert {"@system-service", "@mount", "seccomp"} <= calls
    assert {"landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self"} <= calls
    assert "MemoryDenyWriteExecute" not in unit, "p2pd does not start under it (measured)"


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_a_unit_is_hardened(path: Path) -> None:
    unit = service(path)
    assert unit["User"] == "tapestry" and unit["CapabilityBoundingSet"] == ""
    for name in ("NoNewPrivileges", "PrivateTmp", "RestrictSUIDSGID", "LockPersonality", "ProtectClock"):
        assert unit[name] == "yes", name
    assert unit["ProtectSystem"] == "strict" and unit["LimitCORE"] == "0" and unit["UMask"] == "0077"
    assert unit["Restart"] == "on-failure"


def test_the_containers_filter_lets_the_trainer_build_its_walls() -> None:
    profile = json.loads((DEPLOY / "container" / "seccomp.json").read_text())
    assert profile["defaultAction"] == "SCMP_ACT_ALLOW"
    refused = {name for rule in profile["syscalls"] for name in rule["names"]}
    assert not refused & NEEDED_CALLS
    assert refused >= {"bpf", "init_module", "kexec_load", "ptrace", "keyctl", "io_uring_setup", "perf_event_open"}


def test_the_container_is_nobody_special_and_starts_the_command() -> None:
    lines = (DEPLOY / "container" / "Containerfile").read_text().replace("\\\n", " ").splitlines()
    last = {line.split()[0]: line.partition(" ")[2] for line in lines if line.strip()}
    assert last["USER"] == "31337:31337" and last["STOPSIGNAL"] == "SIGINT"
    assert json.loads(last["ENTRYPOINT"]) == ["tapestry"]
    for line in lines:
        for source in line.split()[1:-1] if line.startswith("COPY") and "--from" not in line else ():
            assert (DEPLOY.parent / source).exists(), line


def test_systemd_itself_finds_nothing_wrong(tmp_path: Path) -> None:
    """Where there is a systemd to ask; its other checks are in the tests above."""
    analyze = shutil.which("systemd-analyze")
    for unit in UNITS:
        text = unit.read_text().replace("/opt/tapestry/bin/tapestry", "/bin/true")
        (tmp_path / unit.name).write_text(text)
        assert "\nExecStart=/bin/true " in text
        if analyze is not None:
            done = subprocess.run(
                [analyze, "verify", tmp_path / unit.name], capture_output=True, text=True, timeout=60, check=False
            )
            assert (done.returncode, done.stderr) == (0, ""), done.stderr
