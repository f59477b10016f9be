"""The readings of /proc and netlink, checked against what this very process does."""

import os
import socket
import time

from benchmarks import process_group


def test_this_process_is_in_its_own_group() -> None:
    assert os.getpid() in process_group.members(os.getpgid(0))


def test_cpu_seconds_agree_with_the_process_clock() -> None:
    tick_s = 1 / os.sysconf("SC_CLK_TCK")
    before_s = time.process_time()
    read_s = process_group.cpu_s([os.getpid()])
    children_s = sum(os.times()[2:4])
    assert before_s - 3 * tick_s <= read_s - children_s <= time.process_time() + 3 * tick_s


def test_memory_rises_by_what_is_allocated() -> None:
    size_bytes = 64 << 20
    before_bytes = process_group.memory_bytes([os.getpid()])
    block = bytearray(size_bytes)
    block[::4096] = b"x" * len(block[::4096])
    risen_bytes = process_group.memory_bytes([os.getpid()]) - before_bytes
    assert 0.9 * size_bytes < risen_bytes < 1.5 * size_bytes


def test_a_process_that_is_gone_costs_nothing() -> None:
    child = os.posix_spawn("/bin/true", ["true"], {})
    os.waitpid(child, 0)
    assert process_group.cpu_s([child]) == 0
    assert process_group.memory_bytes([child]) == 0
    assert process_group.socket_inodes([child]) == frozenset()


def test_tcp_bytes_are_those_that_were_sent() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as ours,
    ):
        theirs, _ = server.accept()
        with theirs:
            before = process_group.tcp_bytes_sent()
            ours.sendall(bytes(5_000))
            assert len(theirs.recv(5_000, socket.MSG_WAITALL)) == 5_000
            after = process_group.tcp_bytes_sent()
            inode, other = os.fstat(ours.fileno()).st_ino, os.fstat(theirs.fileno()).st_ino
            assert after[inode] - before.get(inode, 0) == 5_000
            assert after[other] == before.get(other, 0)
            assert {inode, other} <= process_group.socket_inodes([os.getpid()])
