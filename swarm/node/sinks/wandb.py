"""Weights & Biases: two kinds of requests, in the form in which its own library (0.31) makes them.

    /graphql                                      UpsertBucket: the run, named by who is in which run of ours
    /files/ENTITY/PROJECT/RUN/file_stream         lines of wandb-history.jsonl, and the newest as the summary

A peer that comes back goes on with the same W&B run: its name is a digest, and the server says how many lines it has.
"""

import base64
from collections.abc import Sequence
from urllib.parse import quote

import blake3
import msgspec

from swarm.net.web import Post, WebRefusedError
from swarm.node.sinks.base import Author, Poster
from swarm.telemetry.figures import Figures

_NAME_CHARACTERS = 16
_UPSERT = """mutation UpsertBucket($name: String, $project: String, $displayName: String, $config: JSONString) {
  upsertBucket(input: {name: $name, modelName: $project, displayName: $displayName, config: $config}) {
    bucket { name project { name entity { name } } historyLineCount }
  }
}"""


class _Named(msgspec.Struct, frozen=True):
    name: str


class _Project(msgspec.Struct, frozen=True):
    name: str
    entity: _Named


class _Bucket(msgspec.Struct, frozen=True, rename="camel"):
    name: str
    project: _Project
    history_line_count: int | None = None


class _Upserted(msgspec.Struct, frozen=True):
    bucket: _Bucket


class _Data(msgspec.Struct, frozen=True, rename="camel"):
    upsert_bucket: _Upserted | None = None


class _Fault(msgspec.Struct, frozen=True):
    message: str = ""


class _Answer(msgspec.Struct, frozen=True):
    data: _Data | None = None
    errors: tuple[_Fault, ...] = ()


class Wandb:
    """One W&B run."""

    def __init__(self, project: str, author: Author, key: str) -> None:
        self._project = project
        self._author = author
        self._headers = {"Authorization": "Basic " + base64.b64encode(f"api:{key}".encode()).decode()}
        self._path = ""
        """Of the stream, once the run is there."""
        self._lines = 0
        """That the server has."""

    async def tell(self, web: Poster, lines: Sequence[Figures]) -> None:
        if not self._path:
            await self._begin(web)
        content = [_line(each, self._lines + number) for number, each in enumerate(lines)]
        await self._stream(
            web,
            {
                "files": {
                    "wandb-history.jsonl": {"offset": self._lines, "content": content},
                    "wandb-summary.json": {"offset": 0, "content": content[-1:]},
                },
                "uploaded": [],
            },
        )
        self._lines += len(lines)

    async def end(self, web: Poster) -> None:
        if self._path:
            await self._stream(web, {"files": {}, "uploaded": [], "complete": True, "exitcode": 0})

    async def _begin(self, web: Poster) -> None:
        name = blake3.blake3(f"{self._author.run_id}/{self._author.peer}".encode()).hexdigest()[:_NAME_CHARACTERS]
        config = {field: {"value": value} for field, value in self._author.config.items()}
        variables = {
            "name": name,
            "project": self._project,
            "displayName": self._author.title,
            "config": msgspec.json.encode(config).decode(),
        }
        asked = {"query": _UPSERT, "variables": variables, "operationName": "UpsertBucket"}
        data = await web.post(Post("/graphql", msgspec.json.encode(asked), self._headers))
        try:
            answer = msgspec.json.decode(data, type=_Answer)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise WebRefusedError("it does not answer as Weights & Biases does") from None
        if answer.data is None or answer.data.upsert_bucket is None:
            said = answer.errors[0].message if answer.errors else "no run was made"
            raise WebRefusedError(f"Weights & Biases says: {said[:200]}")
        bucket = answer.data.upsert_bucket.bucket
        parts = (bucket.project.entity.name, bucket.project.name, bucket.name)
        self._path = f"/files/{'/'.join(quote(part, safe='') for part in parts)}/file_stream"
        self._lines = max(0, bucket.history_line_count or 0)

    async def _stream(self, web: Poster, content: object) -> None:
        await web.post(Post(self._path, msgspec.json.encode(content), self._headers))


def _line(figures: Figures, step: int) -> str:
    """A line of history; `_step` must only ever grow, and a round that founders take back comes a second time."""
    named = {"_step": step, "_timestamp": figures.at, **msgspec.to_builtins(figures)}
    return msgspec.json.encode(named).decode()
