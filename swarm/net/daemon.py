"""Starts and stops p2pd, the libp2p daemon inside hivemind's wheel, as a child that cannot outlive this process.

hivemind's own launcher gives up after 15 s, writes RSA identities and leaves the daemon running when its parent is
killed; so it is started here, and hivemind attaches to its control socket (`P2P.replicate`). The socket lies in a
private folder: whoever reaches it can speak as this peer.
"""

import asyncio
import socket
import subprocess
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

from multiaddr import Multiaddr

from swarm.clock import monotonic_s
from swarm.errors import NetworkError
from swarm.net.lifeline import tie_to_parent
from swarm.net.private_folder import PrivateFolder

START_LIMIT_S = 60.0
_ATTEMPT_LIMIT_S = 20.0
_RETRY_AFTER_S = 1.0
_POLL_S = 0.02
_WATCH_EVERY_S = 0.5
_LOG_LINES_SHOWN = 8
_CONTROL = "control.sock"
_LOG = "p2pd.log"


class Daemon:
    """A running p2pd."""

    def __init__(self, process: subprocess.Popen[bytes], folder: PrivateFolder) -> None:
        self._process = process
        self._folder = folder
        self.control = folder.path / _CONTROL
        """Path of its unix control socket."""

    @classmethod
    async def start(
        cls,
        *,
        identity: Path,
        listen: Sequence[Multiaddr],
        say: Callable[[str], None],
        limit_s: float = START_LIMIT_S,
    ) -> "Daemon":
        """Starts p2pd, trying again for up to `limit_s`.

        Raises:
            NetworkError: an address cannot be listened on, or the daemon does not start; the message ends with its log.
        """
        check_free(listen)
        deadline = monotonic_s() + limit_s
        while True:
            daemon, log = await cls._try_start(identity, listen)
            if daemon is not None:
                return daemon
            if monotonic_s() + _RETRY_AFTER_S > deadline:
                raise NetworkError(f"p2pd did not start within {limit_s:.0f} s; its log ends with: {log or 'nothing'}")
            say("p2pd did not start, trying again")
            await asyncio.sleep(_RETRY_AFTER_S)

    @classmethod
    async def _try_start(cls, identity: Path, listen: Sequence[Multiaddr]) -> tuple["Daemon | None", str]:
        folder = PrivateFolder()
        log_path = folder.path / _LOG
        arguments = [
            str(_binary()),
            f"-listen=/unix{folder.path / _CONTROL}",
            f"-id={identity}",
            f"-hostAddrs={','.join(str(address) for address in listen)}",
            "-dhtServer",
            "-tls=1",
            "-connManager=1",
            "-relay=1",
            "-natPortMap=0",
            "-quic=0",
        ]
        try:
            with log_path.open("wb") as log:
                process = subprocess.Popen(  # noqa: ASYNC220 - returns at once; readiness is awaited below
                    arguments, stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=tie_to_parent()
                )
        except OSError as error:
            folder.remove()
            return None, f"{arguments[0]} cannot be run: {error.strerror}"
        daemon = cls(process, folder)
        deadline = monotonic_s() + _ATTEMPT_LIMIT_S
        try:
            while monotonic_s() < deadline and process.poll() is None:
                if b"Peer ID:" in log_path.read_bytes():
                    return daemon, ""
                await asyncio.sleep(_POLL_S)
        except asyncio.CancelledError:
            daemon.stop()
            raise
        text = daemon.log()
        daemon.stop()
        return None, text

    @property
    def pid(self) -> int:
        return self._process.pid

    def log(self) -> str:
        """The last lines of its log, as one."""
        lines = (self._folder.path / _LOG).read_text(errors="replace").splitlines()
        return " | ".join(line.strip() for line in lines[-_LOG_LINES_SHOWN:] if line.strip())

    async def watch(self) -> NoReturn:
        """Waits for the daemon to die, and then raises NetworkError: nothing else of this peer can notice at once."""
        while (code := self._process.poll()) is None:  # noqa: ASYNC110 - a process sets no event
            await asyncio.sleep(_WATCH_EVERY_S)
        raise NetworkError(
            f"the libp2p daemon (p2pd) ended with code {code}; its log ends with: {self.log() or 'nothing'}"
        )

    def stop(self) -> None:
        """Ends the daemon and removes its folder."""
        self._process.kill()
        self._process.wait()
        self._folder.remove()


def check_free(listen: Sequence[Multiaddr]) -> None:
    """Binds each TCP port once: p2pd itself would share a port in use (SO_REUSEPORT) and miss half its streams.

    Raises:
        NetworkError: one cannot be listened on; the address and the cause are in the message.
    """
    for address in listen:
        family, host = (
            (socket.AF_INET6, address.value_for_protocol("ip6"))
            if str(address).startswith("/ip6/")
            else (socket.AF_INET, address.value_for_protocol("ip4"))
        )
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, int(address.value_for_protocol("tcp") or 0)))
            except OSError as error:
                raise NetworkError(
                    f"cannot listen on {address} ({error.strerror}): choose another with --listen, or port 0 for any"
                ) from None


def _binary() -> Path:
    spec = find_spec("hivemind")  # finds the wheel without importing it
    path = Path(spec.origin).parent / "hivemind_cli" / "p2pd" if spec and spec.origin else None
    if path is None or not path.is_file():
        raise NetworkError("the p2pd binary is missing: reinstall hivemind from its wheel")
    return path
