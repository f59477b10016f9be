"""What `tapestry doctor` makes of what it finds."""

import os
import socket
from pathlib import Path

import pytest
from multiaddr import Multiaddr

from peers import device
from peers.device import Device
from peers.doctor import answers, cgroup, confinement, machine
from peers.doctor.charters import charter_of
from peers.doctor.finding import Finding, Verdict
from peers.doctor.ports import ports
from swarm import events
from swarm.isolation import levels
from swarm.net import wire
from swarm.net.memory import MemoryNetwork, run_virtual
from swarm.state.run import Run
from tests.governing import amendment, changed
from tests.simulation import CREATED_S, MEMBER_KEYS, make_charter, peer_identity
from tests.unit.node.doors import Door, caller


def test_little_memory_stands_in_the_way() -> None:
    assert machine.memory_of(machine.MIN_MEMORY_BYTES, 8 * 10**9).verdict is Verdict.GOOD
    short = machine.memory_of(machine.MIN_MEMORY_BYTES - 1, 8 * 10**9)
    assert short.verdict is Verdict.WRONG and "of 8.0 GB" in short.found and short.remedy


def test_the_limit_of_a_container_counts_where_it_is_tighter() -> None:
    assert machine.memory_of(8 * 10**9, 16 * 10**9, 9 * 10**9) == machine.memory_of(8 * 10**9, 16 * 10**9)
    short = machine.memory_of(8 * 10**9, 16 * 10**9, 10**9)
    assert short.verdict is Verdict.WRONG and "1.0 GB are left within the limit" in short.found
    assert "MemoryMax" in short.remedy
    assert machine.memory_of(8 * 10**9, 16 * 10**9, 3 * 10**9).verdict is Verdict.GOOD


def write(folder: Path, **files: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(f"{content}\n")


def test_the_tightest_limit_of_control_groups_is_found(tmp_path: Path) -> None:
    assert cgroup.left_bytes("0::/a/b\n", tmp_path) is None
    write(tmp_path / "a" / "b", memory__max="max", memory__current=70)
    write(tmp_path / "a", memory__max=100, memory__current=80, memory__stat="anon 60\ninactive_file 15")
    assert cgroup.left_bytes("0::/a/b\n", tmp_path) == 35
    write(tmp_path / "a" / "b", memory__max=90, memory__current=70)
    assert cgroup.left_bytes("0::/a/b\n", tmp_path) == 20
    assert cgroup.left_bytes("0::/\n", tmp_path) is None, "a container sees its own group as the root"
    write(tmp_path, memory__max=30, memory__current=50)
    assert cgroup.left_bytes("0::/\n", tmp_path) == 0


def test_version_1_of_control_groups_is_known_too(tmp_path: Path) -> None:
    folder = tmp_path / "memory" / "a"
    write(folder, memory__limit_in_bytes=100, memory__usage_in_bytes=80, memory__stat="total_inactive_file 5")
    assert cgroup.left_bytes("4:memory:/a\n3:cpuset:/\n0::/\n", tmp_path) == 25
    assert cgroup.left_bytes("4:cpu:/a\n", tmp_path) is None


def test_the_kernel_is_asked_who_keeps_the_clock() -> None:
    found = machine.clock_keeping()
    assert found.verdict is not Verdict.WRONG and "clock" in found.found


def test_a_port_in_use_stands_in_the_way_and_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"/ip4/127.0.0.1/tcp/{taken.getsockname()[1]}"
        found = ports([Multiaddr("/ip4/127.0.0.1/tcp/0"), Multiaddr(address)])
    assert (found.check, found.verdict) == ("ports", Verdict.WRONG)
    assert address in found.found and "Address already in use" in found.found and "ss -ltnp" in found.remedy
    assert ports([Multiaddr("/ip4/127.0.0.1/tcp/0")]).verdict is Verdict.GOOD


def test_a_state_folder_that_does_not_exist_yet_is_judged_by_the_one_above_it(tmp_path: Path) -> None:
    assert str(tmp_path) in machine.disk(tmp_path / "not" / "yet").found


def test_a_state_folder_that_cannot_be_written_stands_in_the_way() -> None:
    found = machine.disk(Path("/proc/1"))
    assert found.verdict is Verdict.WRONG and "--state" in found.remedy


def test_few_open_files_are_a_note_that_says_how_to_have_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.resource, "getrlimit", lambda which: (256, 4096))
    found = machine.descriptors()
    assert found.verdict is Verdict.NOTE and "ulimit -n 4096" in found.remedy


@pytest.mark.parametrize("level", levels.LADDER)
def test_every_level_below_confined_is_a_note_with_its_cause(level: str) -> None:
    found = confinement.of_level(level, "because of this")
    assert (found.verdict is Verdict.GOOD) == (level == levels.CONFINED)
    assert "because of this" in found.found + found.remedy


def test_the_launcher_is_really_started_and_says_a_level() -> None:
    found = confinement.trainer()
    assert found.verdict is not Verdict.WRONG and any(level in found.found for level in levels.LADDER)


@pytest.mark.parametrize(("ahead_s", "word"), [(90.0, "90 s ahead of theirs"), (-90.0, "90 s behind theirs")])
def test_a_wrong_clock_stands_in_the_way(ahead_s: float, word: str) -> None:
    found = answers.clock([events.ClockWrong(ahead_s=ahead_s, peers=2)], 2)
    assert found.verdict is Verdict.WRONG and found.found == word
    alone = answers.clock([events.ClockWrong(ahead_s=ahead_s, peers=1)], 1)
    assert alone.found == f"{word}, or theirs is wrong", "of two clocks one is wrong"
    assert answers.clock([], 1).verdict is Verdict.GOOD


def test_a_clock_that_nobody_was_compared_with_is_not_called_right() -> None:
    assert answers.clock([], 0).verdict is Verdict.NOTE


@pytest.mark.parametrize(
    ("how", "verdict"),
    [
        ("direct", Verdict.GOOD),
        ("direct, without lanes", Verdict.NOTE),
        ("behind NAT", Verdict.NOTE),
        ("unknown", Verdict.NOTE),
    ],
)
def test_how_others_reach_this_machine(how: str, verdict: Verdict) -> None:
    found = answers.reachability([events.Reachable(how=how, host="192.0.2.1", relays=(), asked=1)])
    assert found.verdict is verdict
    assert (verdict is Verdict.GOOD) == (found.remedy == "")


def test_a_run_is_over_by_its_newest_charter_only() -> None:
    charter = changed(make_charter(3), run={"expires": CREATED_S + 10**6})
    extended = amendment(Run(charter).rules, MEMBER_KEYS[:9], run={"expires": CREATED_S + 10**9})
    door = Door(MemoryNetwork(0), peer_identity(50), charter)
    address = Multiaddr(f"/ip4/127.0.0.1/tcp/1/p2p/{door.identity.peer_id}")

    async def asked() -> Finding:
        return await charter_of(caller(door.network, peer_identity(51), wire.Hello("", b"")), address)

    async def main() -> None:
        await door.open()
        over = await asked()
        assert over.verdict is Verdict.WRONG and "has expired" in over.found
        door.documents = (b"nonsense", extended)
        going = await asked()
        assert going.verdict is Verdict.GOOD and f"--run-id {Run(charter).id}" in going.found

    run_virtual(main())


CPU = Device("cpu", "AVX2, 2 cores", 8 * 10**9, ("fp32",))
NO_DRIVER = "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver."


@pytest.mark.parametrize(
    ("program", "found", "remedy"),
    [
        ("echo NVIDIA H100; echo NVIDIA L4", "though the driver reports NVIDIA H100, NVIDIA L4", "CUDA build"),
        (f'echo "{NO_DRIVER}"; exit 9', f"and nvidia-smi fails: {NO_DRIVER}", "mend the NVIDIA driver"),
        ("echo no libnvidia-ml.so >&2; exit 12", "and nvidia-smi fails: no libnvidia-ml.so", "mend the NVIDIA driver"),
        ("exit 3", "and nvidia-smi fails: exit status 3", "mend the NVIDIA driver"),
        ("exec sleep 60", "and nvidia-smi does not answer within 0.5 s", "mend the NVIDIA driver"),
        ("echo No devices were found", "none: the CPU trains (AVX2, 2 cores", "bench device"),
        ("", "none: the CPU trains (AVX2, 2 cores", "bench device"),
        (None, "none: the CPU trains (AVX2, 2 cores", "bench device"),
    ],
)
def test_what_the_nvidia_driver_says_where_torch_sees_no_card(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str | None, found: str, remedy: str
) -> None:
    monkeypatch.setattr(device, "probe", lambda: CPU)
    monkeypatch.setattr(machine, "_NVIDIA", tmp_path / "driver")
    monkeypatch.setattr(machine, "_NVIDIA_LIMIT_S", 0.5)
    monkeypatch.setattr(machine.shutil, "which", lambda name: None if program is None else name)
    if program is not None:
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{program}\n")
        (tmp_path / "nvidia-smi").chmod(0o755)
    said = machine.accelerator()
    assert said.verdict is Verdict.NOTE and said.found.startswith(("torch sees no CUDA device", "none"))
    assert found in said.found and remedy in said.remedy


def test_a_driver_without_its_program_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_NVIDIA", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert machine.nvidia_cards() == machine.Unanswered("cannot be run: No such file or directory")


def test_a_card_that_torch_sees_is_named_without_asking_the_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "probe", lambda: Device("cuda", "NVIDIA H200", 150 * 10**9, ("fp32", "bf16")))
    monkeypatch.setattr(machine, "nvidia_cards", lambda: pytest.fail("the driver was asked"))
    found = machine.accelerator()
    assert (found.verdict, found.found) == (Verdict.GOOD, "NVIDIA H200, 150 GB, bf16")
