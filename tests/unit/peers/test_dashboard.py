"""The dashboard's door and what it serves: strangers' hosts and origins, headers, the view, and a stream of it."""

import asyncio
from typing import Any

import msgspec
import pytest

from peers.dashboard.guard import HEADERS, hosts_of, refusal
from peers.dashboard.server import dashboard, open_port
from peers.watch.scene import Scene
from swarm.errors import NetworkError
from swarm.telemetry.view import View
from tests.unit.telemetry.story import BEGAN_AT, ROUNDS, story

PORT = 8470
HERE = f"127.0.0.1:{PORT}"


def scene() -> Scene:
    made = Scene(lambda: BEGAN_AT + 72)
    for seen in story():
        made.take(seen)
    return made


async def ask(path: str, headers: dict[str, str], made: Scene | None = None, parts: int = 1) -> tuple[int, dict, bytes]:
    """Status, headers and the first parts of the body."""
    status, got, body, left = 0, {}, b"", parts
    enough = asyncio.Event()

    async def receive() -> dict[str, Any]:
        await enough.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        nonlocal status, got, body, left
        if message["type"] == "http.response.start":
            status = message["status"]
            got = {name.decode().lower(): value.decode() for name, value in message["headers"]}
        else:
            body += message.get("body", b"")
            left -= 1
            if left == 0 or not message.get("more_body", False):
                enough.set()

    scope = {
        "type": "http",
        "http_version": "1.1",
        "asgi": {"version": "3.0"},
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }
    async with asyncio.timeout(20):
        await dashboard(made or scene(), PORT)(scope, receive, send)  # pyright: ignore[reportArgumentType]
    return status, got, body


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ({"host": "evil.example"}, "evil.example"),
        ({"host": f"evil.example:{PORT}"}, "answers as"),
        ({"host": "127.0.0.1:9"}, "answers as"),
        ({"host": f"127.0.0.1.evil.example:{PORT}"}, "answers as"),
        ({}, "answers as"),
        ({"host": HERE, "origin": "https://evil.example"}, "https://evil.example"),
        ({"host": HERE, "origin": "null"}, "comes from"),
        ({"host": HERE, "origin": f"https://{HERE}"}, "comes from"),
        ({"host": HERE, "origin": "http://127.0.0.1:9"}, "comes from"),
        ({"host": HERE, "sec-fetch-site": "cross-site"}, "cross-site"),
        ({"host": HERE, "sec-fetch-site": "same-site"}, "same-site"),
    ],
)
@pytest.mark.parametrize("path", ["/", "/view", "/events", "/static/app.js", "/nowhere"])
def test_a_browser_from_elsewhere_is_refused_with_a_sentence(headers: dict[str, str], words: str, path: str) -> None:
    status, got, body = asyncio.run(ask(path, headers))
    text = body.decode()
    assert status == 403 and words in text and text.endswith(".\n") and text.count("\n") == 1
    assert "three" not in text and "ada" not in text
    assert got["content-security-policy"] == HEADERS["Content-Security-Policy"]


@pytest.mark.parametrize("host", [HERE, f"localhost:{PORT}", f"LOCALHOST:{PORT}", f"[::1]:{PORT}"])
@pytest.mark.parametrize("origin", [None, f"http://{HERE}"])
def test_its_own_page_is_answered(host: str, origin: str | None) -> None:
    headers = {"host": host, "sec-fetch-site": "same-origin"} | ({} if origin is None else {"origin": origin})
    assert refusal(headers, hosts_of(PORT)) is None


def test_what_a_stranger_wrote_is_quoted_harmlessly() -> None:
    cause = refusal({"host": "<script>\x1b[2J" + "a" * 500}, hosts_of(PORT))
    assert cause is not None and "<" not in cause and "\x1b" not in cause and len(cause) < 300


@pytest.mark.parametrize("path", ["/", "/static/style.css", "/static/app.js", "/static/charts.js", "/static/words.js"])
def test_the_page_loads_nothing_from_elsewhere(path: str) -> None:
    status, got, body = asyncio.run(ask(path, {"host": HERE}))
    text = body.decode().replace("http://www.w3.org/2000/svg", "")
    assert status == 200 and body
    assert not [word for word in ("http:", "https:", "//cdn", "@import", "innerHTML", "cookie") if word in text]
    policy = got["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    assert "set-cookie" not in got


@pytest.mark.parametrize("path", ["/static/../guard.py", "/static/page.htm", "/static/__init__.py", "/nowhere"])
def test_there_are_no_other_files(path: str) -> None:
    assert asyncio.run(ask(path, {"host": HERE}))[0] == 404


def test_the_view_is_served_as_json() -> None:
    status, _, body = asyncio.run(ask("/view", {"host": HERE}))
    seen = msgspec.json.decode(body, type=View)
    assert (status, seen.head, len(seen.peers)) == (200, ROUNDS, 3)


def test_a_stream_sends_the_view_again_when_something_has_changed() -> None:
    async def main() -> bytes:
        told = story()
        made = Scene(lambda: BEGAN_AT + 72)
        for seen in told[:-1]:
            made.take(seen)

        async def later() -> None:
            async with asyncio.timeout(10):
                while made.version < len(told) - 1 or not asked.done():
                    made.take(told[-1])
                    await asyncio.sleep(0.05)

        asked = asyncio.ensure_future(ask("/events", {"host": HERE}, made, parts=2))
        changing = asyncio.ensure_future(later())
        _, got, body = await asked
        changing.cancel()
        assert got["content-type"].startswith("text/event-stream")
        return body

    views = [
        msgspec.json.decode(line.removeprefix(b"data: "), type=View)
        for line in asyncio.run(main()).splitlines()
        if line.startswith(b"data: ")
    ]
    assert len(views) >= 2 and views[-1].totals.refused > views[0].totals.refused


def test_a_port_in_use_is_a_sentence() -> None:
    with open_port(0) as taken, pytest.raises(NetworkError, match="choose another --port"):
        open_port(taken.getsockname()[1])
