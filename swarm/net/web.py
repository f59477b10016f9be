"""Requests to a service that is no peer: POSTs over HTTPS, each under a permit for the address, and on record first.

`AuditedWeb` is the only way to send one. What the ledger counts and digests is the request's line and its body; other
headers (the key among them) and encryption come on top. No redirect is followed: a permit is for one address.
"""

import asyncio
import http.client
import io
import ipaddress
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import urlsplit

from swarm.errors import UsageError
from swarm.net.audited import PermitViolationError
from swarm.sovereignty.ledger import Ledger
from swarm.sovereignty.permit import Kind, Permit

ANSWER_LIMIT_S = 10.0
MAX_ANSWER_BYTES = 262_144
MAX_REQUEST_BYTES = 1_048_576
_READ_BYTES = 65_536
_USER_AGENT = "tapestry"


class WebLostError(Exception):
    """No answer: nobody there, too slow, or a server in trouble (status 429 or 500 and above). Worth trying again."""


class WebRefusedError(Exception):
    """The server understood and said no, or is not what it was taken for. Not worth trying again."""


@dataclass(frozen=True)
class Address:
    """Where a service is: scheme and authority are what a policy and a permit name."""

    origin: str
    """Such as https://api.wandb.ai, or http://127.0.0.1:8080."""
    prefix: str = ""
    """What every path begins with, without a slash at its end."""


@dataclass(frozen=True)
class Post:
    """One request. `headers` are not on record: they hold keys."""

    path: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)

    @property
    def on_record(self) -> bytes:
        """What the ledger counts."""
        return b"POST %s\n%s" % (self.path.encode(), self.body)


class Web(Protocol):
    """Posts to one address."""

    @property
    def address(self) -> Address: ...

    async def post(self, post: Post) -> bytes:
        """The answer's body. Raises WebLostError or WebRefusedError."""
        ...


def parse_address(text: str) -> Address:
    """An address as a person writes it: `https://HOST[:PORT][/PREFIX]`; without encryption on loopback only.

    Raises:
        UsageError: anything else.
    """
    try:
        parts = urlsplit(text.strip())
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise UsageError(f"{text!r} is no web address") from None
    if parts.scheme not in ("http", "https") or not host or not host.isascii() or not host.isprintable():
        raise UsageError(f"{text!r} is not of the form https://HOST[:PORT]")
    if parts.username is not None or parts.query or parts.fragment:
        raise UsageError("a service's address holds no user, query or fragment: keys come from the environment")
    if parts.scheme == "http" and not _is_loopback(host):
        raise UsageError(f"{text!r}: figures and keys go unencrypted to this machine only: use https")
    named = f"[{host}]" if ":" in host else host
    return Address(f"{parts.scheme}://{named}{'' if port is None else f':{port}'}", parts.path.rstrip("/"))


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_service(recipient: str) -> bool:
    """Whether a recipient in the ledger is a service outside the run, and no peer."""
    return "://" in recipient


class AuditedWeb:
    """The only way to post: needs the gate's permit for figures to this address, and is on record before it goes."""

    def __init__(self, web: Web, ledger: Ledger, permit: Permit) -> None:
        self._web = web
        self._ledger = ledger
        self._permit = permit

    async def post(self, post: Post) -> bytes:
        """Posts.

        Raises:
            WebLostError, WebRefusedError: as `Web.post`.
            StateError: the ledger cannot be written, so nothing was sent.
            PermitViolationError: the permit is for another address, or not for figures.
        """
        origin = self._web.address.origin
        if not self._permit.covers(Kind.FIGURES, origin):
            raise PermitViolationError(f"permit {self._permit.id} does not cover {Kind.FIGURES} to {origin}")
        if len(post.on_record) > MAX_REQUEST_BYTES:
            raise WebRefusedError(f"a request of {len(post.on_record)} bytes is longer than {MAX_REQUEST_BYTES}")
        self._ledger.record(origin, Kind.FIGURES, post.on_record, self._permit.id)
        return await self._web.post(post)


class HttpWeb:
    """Over the network: one connection for each request, certificates checked."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._parts = urlsplit(address.origin)

    @property
    def address(self) -> Address:
        return self._address

    async def post(self, post: Post) -> bytes:
        head = self._head(post)
        try:
            async with asyncio.timeout(ANSWER_LIMIT_S):
                data = await self._exchange(head + post.body)
            answer = http.client.HTTPResponse(_Received(data))  # pyright: ignore[reportArgumentType]
            answer.begin()
            body = answer.read()
        except TimeoutError:
            raise WebLostError(f"no answer within {ANSWER_LIMIT_S:.0f} s") from None
        except (OSError, http.client.HTTPException) as error:
            raise WebLostError(str(error) or type(error).__name__) from None
        if answer.status == http.client.TOO_MANY_REQUESTS or answer.status >= http.client.INTERNAL_SERVER_ERROR:
            raise WebLostError(f"it answers {answer.status} {answer.reason}")
        if answer.status != http.client.OK:
            raise WebRefusedError(f"it answers {answer.status} {answer.reason}")
        return body

    def _head(self, post: Post) -> bytes:
        lines = {
            "Host": self._parts.netloc,
            "Connection": "close",
            "User-Agent": _USER_AGENT,
            "Content-Type": "application/json",
            "Content-Length": str(len(post.body)),
            **post.headers,
        }
        if not all(text.isascii() and text.isprintable() for text in (post.path, *lines.values())):
            raise WebRefusedError("its path or key has characters that no request can have")
        named = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        return f"POST {self._address.prefix}{post.path} HTTP/1.1\r\n{named}\r\n".encode()

    async def _exchange(self, request: bytes) -> bytes:
        """Sends, and reads to the end of the connection."""
        is_secure = self._parts.scheme == "https"
        port = self._parts.port or (http.client.HTTPS_PORT if is_secure else http.client.HTTP_PORT)
        reader, writer = await asyncio.open_connection(
            self._parts.hostname, port, ssl=ssl.create_default_context() if is_secure else None
        )
        try:
            writer.write(request)
            await writer.drain()
            data = bytearray()
            while part := await reader.read(_READ_BYTES):
                data += part
                if len(data) > MAX_ANSWER_BYTES:
                    raise WebRefusedError(f"it answers more than {MAX_ANSWER_BYTES} bytes")
            return bytes(data)
        finally:
            writer.close()


class _Received:
    """Bytes that were received, as `http.client` wants a socket."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, mode: str) -> io.BytesIO:
        return io.BytesIO(self._data)


class MemoryWeb:
    """A service in memory, for tests: `answer` is called with each request, and may raise what `post` may."""

    def __init__(self, address: Address, answer: Callable[[Post], bytes]) -> None:
        self._address = address
        self._answer = answer

    @property
    def address(self) -> Address:
        return self._address

    async def post(self, post: Post) -> bytes:
        return self._answer(post)
