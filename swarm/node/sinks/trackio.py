"""Trackio: one kind of request to a Trackio server of one's own, in the form of its HTTP interface (0.43).

    /api/bulk_log       lines with an id each, so that one that is sent twice counts once

Hugging Face Spaces are Trackio servers too; their tokens go in the address's `write_token`, as its own library has it.
"""

from collections.abc import Sequence

import blake3
import msgspec

from swarm.net.web import Post, WebRefusedError
from swarm.node.sinks.base import Author, Poster
from swarm.telemetry.figures import Figures

_NAME_CHARACTERS = 32


class _Answer(msgspec.Struct, frozen=True):
    error: str | None = None


class Trackio:
    """One run of a Trackio project."""

    def __init__(self, project: str, author: Author, key: str) -> None:
        self._project = project
        self._author = author
        self._headers = {"x-trackio-write-token": key} if key else {}
        self._id = blake3.blake3(f"{author.run_id}/{author.peer}".encode()).hexdigest()[:_NAME_CHARACTERS]

    async def tell(self, web: Poster, lines: Sequence[Figures]) -> None:
        logs = [
            {
                "project": self._project,
                "run": self._author.title,
                "run_id": self._id,
                "metrics": msgspec.to_builtins(each),
                "step": each.round,
                "config": self._author.config,
                "log_id": f"{self._id}/{each.round}/{each.at:.3f}",
            }
            for each in lines
        ]
        asked = {"args": [], "kwargs": {"logs": logs, "hf_token": None}}
        data = await web.post(Post("/api/bulk_log", msgspec.json.encode(asked), self._headers))
        try:
            answer = msgspec.json.decode(data, type=_Answer)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise WebRefusedError("it does not answer as Trackio does") from None
        if answer.error is not None:
            raise WebRefusedError(f"Trackio says: {answer.error[:200]}")

    async def end(self, web: Poster) -> None:
        """Trackio's runs have no end."""
