"""`tapestry watch` itself, on a pseudo-terminal, read back through a terminal emulator."""

import os
import pty
import signal
import struct
import subprocess
import sys
import termios
from fcntl import ioctl
from pathlib import Path

import pyte

from tests.unit.telemetry.story import spent, story, write_logs

COLUMNS, LINES = 150, 45
LIMIT_S = 60


def test_a_terminal_shows_it_and_q_leaves(tmp_path: Path) -> None:
    folder = write_logs(tmp_path, [*story(), spent()])
    controller, terminal = pty.openpty()
    ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    watching = subprocess.Popen(
        [sys.executable, "-m", "peers", "watch", "--events", str(folder)],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env={**os.environ, "TERM": "xterm-256color"},
        start_new_session=True,
    )
    os.close(terminal)
    screen = pyte.Screen(COLUMNS, LINES)
    stream = pyte.ByteStream(screen)
    try:
        signal.alarm(LIMIT_S)  # a read that never returns fails the test
        while not all(words in "\n".join(screen.display) for words in ("round 4", "3 peers", "asia", f"{4:064x}"[:12])):
            stream.feed(os.read(controller, 65_536))
        text = "\n".join(screen.display)
        assert "ada" in text and "confined" in text and "1 frames refused" in text and "from \\ to" in text
        assert "ε 0.50 spent at most" in text
        os.write(controller, b"q")
        _drain(controller)
        assert watching.wait(LIMIT_S) == 0
    finally:
        signal.alarm(0)
        watching.kill()
        watching.wait()
        os.close(controller)


def _drain(controller: int) -> None:
    try:
        while os.read(controller, 65_536):
            pass
    except OSError:
        return  # the other end is closed
