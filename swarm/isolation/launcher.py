"""Starts a program that the kernel keeps from everything it was not given. Runs alone, in a small process of its own.

    launcher      the process that was started: new namespaces, then waits and ends as the program did
      guard       process 1 of the PID namespace: new root, no capabilities, system call filter; waits for the program
        program   puts on Landlock as well, and only then becomes the command

When the launcher dies the kernel kills the guard, and with it all in its namespace. Where PID namespaces are
refused the launcher becomes the program itself. Imports only what starts in milliseconds.
"""

import json
import os
import resource
import select
import signal
import sys
from pathlib import Path
from typing import NoReturn

from swarm.isolation import kernel, landlock, levels, seccomp, view
from swarm.isolation.spec import CAUSE, FAILED, Spec

_NEW_USER, _NEW_NETWORK, _NEW_MOUNTS, _NEW_PIDS, _NEW_IPC, _NEW_UTS = (
    0x10000000,
    0x40000000,
    0x00020000,
    0x20000000,
    0x08000000,
    0x04000000,
)
_NEW_ALL = _NEW_NETWORK | _NEW_MOUNTS | _NEW_PIDS | _NEW_IPC | _NEW_UTS
_MAX_SPEC_BYTES = 1 << 24

_ALLOW_NAMESPACES = (
    "allow them (kernel.unprivileged_userns_clone = 1, user.max_user_namespaces above 0, "
    "kernel.apparmor_restrict_unprivileged_userns = 0; "
    "in a container: a seccomp profile that permits unshare and mount, and nothing mounted over parts of /proc)"
)


def main() -> NoReturn:
    """Reads the specification from standard input and does what it says; never returns."""
    with open(0, "rb", closefd=False) as file:
        spec = Spec.decode(file.read(_MAX_SPEC_BYTES))
    kernel.die_with_parent()
    if os.getppid() != spec.parent_pid:
        os._exit(FAILED)
    for number in (signal.SIGINT, signal.SIGTERM):  # they reach every process of a terminal: whoever started us ends us
        signal.signal(number, signal.SIG_IGN)
    _keep_only(spec)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold the data
    missing: dict[str, str] = {}
    if not _leave_namespaces(missing):
        kernel.die_with_parent()
        if kernel.is_supported():
            _harden(missing)
        _become_program(spec, missing)
    kernel.die_with_parent()  # anew: changing credentials can undo it
    alive, launcher_holds = os.pipe()
    told, tell = os.pipe()
    guard = os.fork()
    if guard == 0:
        os.close(launcher_holds)
        os.close(told)
        _guard(spec, missing, alive, tell)
    for descriptor in (alive, tell, *spec.descriptors):
        os.close(descriptor)
    kernel.drop_capabilities()
    os.waitpid(guard, 0)
    status = os.read(told, 16)
    _end_like(int(status) if status else signal.SIGKILL)


def _keep_only(spec: Spec) -> None:
    """Closes every descriptor but standard input (from now on empty), output, error and those of the specification."""
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    last = 2
    for descriptor in (*sorted(spec.descriptors), os.sysconf("SC_OPEN_MAX")):
        os.closerange(last + 1, descriptor)
        last = descriptor
    for descriptor in spec.descriptors:
        os.set_inheritable(descriptor, True)


def _leave_namespaces(missing: dict[str, str]) -> bool:
    """Leaves as many of its parent's namespaces as the kernel lets it; whether the PID namespace is among them."""
    if not kernel.is_supported():
        cause = f"no isolation is built for {sys.platform} on {kernel.MACHINE}: use Linux on x86-64 or 64-bit Arm"
        missing[levels.FILTERED] = cause
        return False
    user, group = os.getuid(), os.getgid()
    causes: list[str] = []
    for flags in (_NEW_USER | _NEW_ALL, _NEW_ALL, _NEW_USER | _NEW_NETWORK, _NEW_NETWORK):
        try:
            kernel.system_call("unshare", flags)
        except OSError as error:
            causes.append(error.strerror or "")
            continue
        if flags & _NEW_USER:
            _map_own_ids(user, group)
        if flags & _NEW_PIDS:
            return True
        missing[levels.NAMESPACES] = f"the kernel refuses mount and PID namespaces ({causes[0]}): {_ALLOW_NAMESPACES}"
        return False
    missing[levels.NETWORK_NAMESPACE] = f"the kernel refuses namespaces ({causes[0]}): {_ALLOW_NAMESPACES}"
    return False


def _map_own_ids(user: int, group: int) -> None:
    """Keeps this user's own ids inside the new user namespace, so that files belong to whom they did."""
    for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        try:
            Path("/proc/self", name).write_text(text)
        except OSError as error:
            _fail(f"this user's ids cannot be kept in a user namespace ({name}: {error.strerror}): {_ALLOW_NAMESPACES}")


def _guard(spec: Spec, missing: dict[str, str], alive: int, tell: int) -> NoReturn:
    """Process 1 of the namespace: builds the walls, starts the program inside them and waits for its end."""
    kernel.die_with_parent()
    if select.select([alive], [], [], 0)[0]:
        os._exit(FAILED)  # the launcher died before it was being watched
    os.close(alive)
    try:
        view.enter(view.View((*spec.run, *spec.read, *spec.files), spec.write), spec.root)
    except OSError as error:
        cause = f"{error.filename}: {error.strerror}"
        missing[levels.NAMESPACES] = f"the kernel refuses a file system of its own ({cause}): {_ALLOW_NAMESPACES}"
    _harden(missing)  # before the program can lay hands on this process
    kernel.hide_memory()
    program = os.fork()
    if program == 0:
        os.close(tell)
        _become_program(spec, missing)
    for descriptor in (0, 1, 2, *spec.descriptors):
        os.close(descriptor)
    ended, status = 0, 0
    while ended != program:
        ended, status = os.wait()
    os.write(tell, str(status).encode())
    os._exit(0)


def _harden(missing: dict[str, str]) -> None:
    """Without capabilities, and with only the system calls that a trainer needs."""
    kernel.drop_capabilities()
    kernel.keep_from_new_privileges()
    try:
        seccomp.install(seccomp.trainer_filter())
    except OSError as error:
        cause = f"the kernel has no system call filters ({error.strerror}): enable CONFIG_SECCOMP_FILTER"
        missing[levels.FILTERED] = cause


def _become_program(spec: Spec, missing: dict[str, str]) -> NoReturn:
    """The last wall, the level reached to the node, and then the program in this process's place."""
    done = "namespaces for users, network, mounts, processes and IPC, system calls filtered"
    if kernel.is_supported():
        _restrict_files(spec, missing)
        done += f", Landlock {landlock.abi()}"
    level, detail = levels.judge(missing, done)
    if not levels.is_enough(level, spec.required):
        _fail(levels.refusal(level, detail, spec.required))
    message = json.dumps({"t": "Confined", "isolation": level, "detail": detail}).encode() + b"\n"
    os.write(spec.control_fd, message)
    try:
        os.chdir(spec.folder if Path(spec.folder).is_dir() else "/")
        os.execvp(spec.command[0], spec.command)
    except OSError as error:
        _fail(f"cannot start {spec.command[0]}: {error.strerror}")


def _restrict_files(spec: Spec, missing: dict[str, str]) -> None:
    version = landlock.abi()
    if version < landlock.MIN_ABI:
        missing[levels.CONFINED] = (
            "the kernel has no Landlock: use Linux 5.19 or later with landlock in CONFIG_LSM or the lsm= boot parameter"
        )
        return
    own_tmp = levels.NAMESPACES not in missing and levels.NETWORK_NAMESPACE not in missing
    rules = landlock.Rules(
        run=spec.run,
        read=(*spec.read, *spec.files, "/proc"),
        write=(*spec.write, *(view.TEMPORARY if own_tmp else ())),
        use=view.devices(),
        without_network=True,
    )
    ruleset = landlock.make_ruleset(rules)
    landlock.restrict_self(ruleset)
    os.close(ruleset)


def _end_like(status: int) -> NoReturn:
    """Ends as the program did, so that whoever started this process sees the same."""
    if os.WIFSIGNALED(status):
        signal.signal(os.WTERMSIG(status), signal.SIG_DFL) if os.WTERMSIG(status) != signal.SIGKILL else None
        os.kill(os.getpid(), os.WTERMSIG(status))
    os._exit(os.WEXITSTATUS(status))


def _fail(cause: str) -> NoReturn:
    os.write(2, f"{CAUSE}{cause}\n".encode())
    os._exit(FAILED)
