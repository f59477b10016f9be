"""A server on loopback that answers as Weights & Biases and as Trackio do, and keeps every request."""

import json
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

ENTITY = "some-team"


@dataclass(frozen=True)
class Received:
    """One request."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict:
        return json.loads(self.body)

    @property
    def on_record(self) -> bytes:
        """What the sender's ledger must have of it."""
        return f"{self.method} {self.path}\n".encode() + self.body


class StandIn:
    """Serves while it is open; use as a context manager."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.lines_before = 0
        """What W&B is to say it has of a run."""
        self.status = 200
        self.answer: bytes | None = None
        """Instead of the right one."""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def at(self, path: str) -> list[Received]:
        """Requests whose path ends so."""
        return [each for each in self.received if each.path.endswith(path)]

    def history(self) -> list[dict]:
        """The lines that a W&B run has."""
        streams = (each.json["files"].get("wandb-history.jsonl") for each in self.at("/file_stream"))
        return [json.loads(line) for stream in streams if stream is not None for line in stream["content"]]

    def logs(self) -> list[dict]:
        """The entries that a Trackio project has."""
        return [entry for each in self.at("/api/bulk_log") for entry in each.json["kwargs"]["logs"]]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def right_answer(received: Received, lines_before: int) -> dict:
    """What a real server would say, as far as a client needs it."""
    if not received.path.endswith("/graphql"):
        return {"data": None, "error": None} if "/api/" in received.path else {}
    asked = received.json
    variables = asked["variables"]
    if "upsertBucket" in asked["query"]:
        project = {"id": "p", "name": variables["project"], "entity": {"id": "e", "name": ENTITY}}
        bucket = {"id": "r", "name": variables["name"], "displayName": "r", "description": None, "config": "{}"}
        bucket |= {"sweepName": None, "project": project, "historyLineCount": lines_before}
        return {"data": {"upsertBucket": {"bucket": bucket, "inserted": True}}}
    if "createRunFiles" in asked["query"]:
        store = f"http://{received.headers['Host']}/store/"
        files = [{"name": name, "uploadUrl": store + name} for name in variables["files"]]
        return {"data": {"createRunFiles": {"runID": "r", "uploadHeaders": [], "files": files}}}
    return {"data": {}}


def _handler(stand_in: StandIn) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _take(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            received = Received(self.command, self.path, dict(self.headers), body)
            stand_in.received.append(received)
            answer = stand_in.answer
            if answer is None:
                answer = json.dumps(right_answer(received, stand_in.lines_before)).encode()
            self.send_response(stand_in.status)
            if stand_in.status == 302:
                self.send_header("Location", stand_in.address + "/elsewhere")
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_POST = do_PUT = do_GET = _take

        def log_message(self, format: str, *args: object) -> None:
            """Nothing on stderr."""

    return Handler
