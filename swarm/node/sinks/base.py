"""What a service's client needs: something to post with, and whom the figures are of."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from swarm.net.web import Post
from swarm.telemetry.figures import Figures


class Poster(Protocol):
    """Sends one request; `swarm.net.web.AuditedWeb`."""

    async def post(self, post: Post) -> bytes:
        """The answer's body. Raises WebLostError or WebRefusedError."""
        ...


@dataclass(frozen=True)
class Author:
    """Whose figures they are, as the service is told."""

    run_id: str
    run_name: str
    peer: str
    region: str

    @property
    def title(self) -> str:
        return f"{self.run_name} {self.region} {self.peer[-8:]}"

    @property
    def config(self) -> dict[str, str]:
        return {"run_id": self.run_id, "run": self.run_name, "peer": self.peer, "region": self.region}


class Client(Protocol):
    """One service's."""

    async def tell(self, web: Poster, lines: Sequence[Figures]) -> None:
        """Sends some rounds' figures, in order. After an error the same lines may be given again.

        Raises:
            WebLostError: it may have arrived or not.
            WebRefusedError: the service does not take it.
        """
        ...

    async def end(self, web: Poster) -> None:
        """Says that no more will come. Raises as `tell`."""
        ...
