"""The dashboard's web server: one page, its style and script, the view as JSON, and a stream of views. Loopback only.

/           the page            /view     the view, once
/static/..  style and script    /events   the view whenever it has changed (server-sent events)
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from importlib.resources import files

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from peers.dashboard.guard import HEADERS, hosts_of, refusal
from peers.watch.scene import Scene
from swarm.errors import NetworkError

HOST = "127.0.0.1"
LEAST_BETWEEN_S = 0.5
"""Between two views on a stream."""
REFRESH_S = 5.0
"""A view is sent again after so long: who was last heard when is part of it."""
MOST_STREAMS = 32
STOP_LIMIT_S = 2
_TYPES = {
    "page.html": "text/html; charset=utf-8",
    "style.css": "text/css; charset=utf-8",
    "app.js": "text/javascript; charset=utf-8",
    "charts.js": "text/javascript; charset=utf-8",
    "words.js": "text/javascript; charset=utf-8",
}


class Guarded:
    """Refuses strangers' requests before anything else sees them, and puts the headers on every answer."""

    def __init__(self, app: ASGIApp, hosts: frozenset[str]) -> None:
        self._app = app
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        cause = refusal(headers, self._hosts)
        answer: ASGIApp = self._app if cause is None else PlainTextResponse(cause + "\n", status_code=403)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message = {**message, "headers": [*message.get("headers", ()), *own]}
            await send(message)

        await answer(scope, receive, send_with_headers)


def dashboard(scene: Scene, port: int) -> Guarded:
    """The application that shows `scene` at this port of the loopback addresses."""
    streams = 0

    async def page(request: Request) -> Response:
        return _asset("page.html")

    async def asset(request: Request) -> Response:
        name = request.path_params["name"]
        return _asset(name) if name in _TYPES else PlainTextResponse("There is no such file.\n", status_code=404)

    async def once(request: Request) -> Response:
        return Response(msgspec.json.encode(scene.view), media_type="application/json")

    async def stream(request: Request) -> Response:
        if streams >= MOST_STREAMS:
            return PlainTextResponse(f"{MOST_STREAMS} pages are open already.\n", status_code=503)
        return StreamingResponse(views(), media_type="text/event-stream")

    async def views() -> AsyncIterator[bytes]:
        nonlocal streams
        streams += 1
        try:
            while True:
                changed = scene.changed.wait_within(REFRESH_S)
                yield b"event: view\ndata: " + msgspec.json.encode(scene.view) + b"\n\n"
                await changed
                await asyncio.sleep(LEAST_BETWEEN_S)
        finally:
            streams -= 1

    routes = [
        Route("/", page),
        Route("/static/{name}", asset),
        Route("/view", once),
        Route("/events", stream),
    ]
    return Guarded(Starlette(routes=routes), hosts_of(port))


def _asset(name: str) -> Response:
    data = files("peers.dashboard").joinpath("static", name).read_bytes()
    return Response(data, headers={"Content-Type": _TYPES[name]})


def open_port(port: int) -> socket.socket:
    """A listening socket on loopback; 0 is any free port. Raises NetworkError."""
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((HOST, port))
        listening.listen()
    except OSError as error:
        listening.close()
        raise NetworkError(f"cannot serve on {HOST}:{port}: {error.strerror}; choose another --port") from None
    return listening


async def serve(scene: Scene, listening: socket.socket, watching: Callable[[], Awaitable[None]]) -> None:
    """Serves while `watching` brings news, until either ends or is interrupted. Raises what `watching` raises."""
    config = uvicorn.Config(
        dashboard(scene, listening.getsockname()[1]),
        log_level="error",
        access_log=False,
        lifespan="off",
        server_header=False,
        timeout_graceful_shutdown=STOP_LIMIT_S,
    )
    server = uvicorn.Server(config)
    serving = asyncio.ensure_future(server.serve(sockets=[listening]))
    source = asyncio.ensure_future(watching())
    try:
        await asyncio.wait((serving, source), return_when=asyncio.FIRST_COMPLETED)
        if source.done():
            source.result()
    finally:
        server.should_exit = True
        source.cancel()
        await asyncio.gather(serving, source, return_exceptions=True)
