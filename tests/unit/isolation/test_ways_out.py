"""A program that tries every way out, in each kind of confinement, and without any to show that the ways are real."""

import ctypes
import errno
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from swarm.isolation import landlock, levels

HERE = Path(__file__).parent
LIMIT_S = 60
WAYS_OUT_WITHOUT_PRIVILEGE = {
    *("tcp", "udp", "tcp6", "netlink", "unix socket by path", "unix socket by abstract name", "datagram pair"),
    *("sight of host sockets", "reading outside", "reading the state folder", "writing outside", "writing the data"),
    *("making a file outside", "SCM_RIGHTS", "inherited descriptors", "sight of other processes", "signals"),
    *("signals to a bystander", "root by /proc", "descriptors by /proc", "keyring"),
}
HARMFUL_UNCONFINED = ["mount", "unshare", "changing the kernel", "writing programs", "making a file in the root", "bpf"]


@dataclass
class Place:
    """What a confined program would like to reach, and where it may write."""

    folder: Path
    targets: dict
    bystander: subprocess.Popen[bytes]

    def run(self, name: str, absent: dict[str, int] | None = None, required: str = levels.NONE) -> dict:
        """Tries all ways below a launcher; the level reached, its detail, the exit code and what came of each way."""
        scratch = self.folder / name
        report = scratch / "trainer" / "report.json"
        words = [sys.executable, str(HERE / "ways_out.py"), json.dumps({**self.targets, "harmful": []}), str(report)]
        told, code, errors = start_one(self.folder, name, words, absent, required)
        came_of = json.loads(report.read_text()) if report.exists() else {}
        if not Path(self.targets["beside"]).exists():
            came_of.pop("making a file outside", None)  # if it was made, then where nobody else sees it
        return {"told": told, "code": code, "errors": errors, "came_of": came_of}


def start_one(
    folder: Path, name: str, words: list[str], absent: dict[str, int] | None = None, required: str = levels.NONE
) -> list:
    asked = {
        "command": words,
        "data": [str(folder / "data")],
        "scratch": str(folder / name),
        "programs": [str(HERE)],
        "required": required,
        "absent": absent or {},
    }
    with open(os.devnull, "rb") as extra:
        os.set_inheritable(extra.fileno(), True)
        done = subprocess.run(
            [sys.executable, str(HERE / "start_one.py"), json.dumps(asked)],
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            close_fds=False,
        )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[1])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("i")
    for name in ("data", "elsewhere", "state"):
        (folder / name).mkdir()
    for name in ("data/a.txt", "elsewhere/secret", "state/identity.key"):
        (folder / name).write_text("something")
    memory = ctypes.create_string_buffer(b"secret")
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.socket(socket.AF_UNIX) as control,
        socket.socket(socket.AF_UNIX) as abstract,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagram,
        subprocess.Popen(["sleep", "600"]) as bystander,
    ):
        name = f"tapestry-test-{os.getpid()}"
        for each, address in ((control, str(folder / "s")), (abstract, f"\0{name}"), (datagram, str(folder / "d"))):
            each.bind(address)
        control.listen()
        abstract.listen()
        targets = {
            "parent": os.getpid(),
            "cmdline": Path("/proc/self/cmdline").read_bytes().hex(),
            "address": ctypes.addressof(memory),
            "bystander": bystander.pid,
            "port": listener.getsockname()[1],
            "socket": str(folder / "s"),
            "datagram": str(folder / "d"),
            "abstract": name,
            "secret": str(folder / "elsewhere" / "secret"),
            "state": str(folder / "state" / "identity.key"),
            "data": str(folder / "data" / "a.txt"),
            "program": str(HERE / "ways_out.py"),
            "beside": str(folder / "new"),
        }
        yield Place(folder, targets, bystander)
        bystander.kill()


@pytest.fixture(scope="module")
def usual(place: Place) -> dict:
    return place.run("usual")


def test_nothing_gets_out(usual: dict) -> None:
    assert usual["code"] == 0, usual
    came_of = usual["came_of"]
    assert came_of.pop("reading the data") == "out"
    assert len(came_of) > 45
    assert not {way for way, what in came_of.items() if what == "out"}, came_of


def test_the_level_reached_is_told_with_what_was_done(usual: dict) -> None:
    told = usual["told"]
    assert told["t"] == "Confined"
    assert told["isolation"] == levels.CONFINED or levels.judge({}, "")[0] != told["isolation"]
    if told["isolation"] == levels.CONFINED:
        assert f"Landlock {landlock.abi()}" in told["detail"]
    else:
        assert "allow them" in told["detail"] or "use Linux" in told["detail"]


def test_the_ways_are_real(place: Place, tmp_path: Path) -> None:
    """Without confinement the same program gets out by them."""
    report = tmp_path / "report.json"
    targets = {**place.targets, "harmful": HARMFUL_UNCONFINED}
    with open(os.devnull, "rb") as extra:
        os.set_inheritable(extra.fileno(), True)
        words = [sys.executable, str(HERE / "ways_out.py"), json.dumps(targets), str(report)]
        subprocess.run(words, check=True, timeout=LIMIT_S, close_fds=False)
    came_of = json.loads(report.read_text())
    Path(place.targets["beside"]).unlink()
    assert {way for way in WAYS_OUT_WITHOUT_PRIVILEGE if came_of[way] != "out"} == set(), came_of


def test_without_landlock_the_level_is_lower_and_nothing_gets_out(place: Place) -> None:
    result = place.run("no-landlock", {"landlock_create_ruleset": errno.ENOSYS})
    assert result["told"]["isolation"] in (levels.NAMESPACES, levels.FILTERED)
    assert "use Linux 5.19" in result["told"]["detail"]
    if result["told"]["isolation"] == levels.NAMESPACES:
        out = {way for way, what in result["came_of"].items() if what == "out"}
        assert out == {"reading the data"}, result["came_of"]


def test_without_a_file_system_of_its_own_nothing_gets_out(place: Place) -> None:
    result = place.run("no-mounts", {"mount": errno.EPERM})
    assert result["told"]["isolation"] in (levels.NETWORK_NAMESPACE, levels.FILTERED)
    assert "allow them" in result["told"]["detail"]
    out = {way for way, what in result["came_of"].items() if what == "out"}
    assert out <= {"reading the data", "sight of host sockets", "sight of other processes"}, result["came_of"]


def test_where_namespaces_are_forbidden_filters_remain_and_the_remedy_is_said(place: Place) -> None:
    result = place.run("no-namespaces", {"unshare": errno.EPERM})
    assert result["told"]["isolation"] == levels.FILTERED
    assert "kernel.apparmor_restrict_unprivileged_userns" in result["told"]["detail"]
    allowed = {"reading the data", "sight of host sockets", "sight of other processes"}
    if landlock.abi() < 6:
        allowed |= {"signals", "signals to a bystander"}
    if landlock.abi() >= landlock.MIN_ABI:
        assert {way for way, what in result["came_of"].items() if what == "out"} <= allowed, result["came_of"]


def test_a_level_that_a_policy_demands_is_reached_or_nothing_runs(place: Place) -> None:
    result = place.run("demanded", {"landlock_create_ruleset": errno.ENOSYS}, levels.CONFINED)
    assert result["code"] == 1 and result["told"] is None and not result["came_of"]
    (cause,) = result["errors"].splitlines()
    assert cause.startswith('tapestry-cause: the policy demands isolation "confined", this machine reaches')
    assert "use Linux 5.19" in cause
