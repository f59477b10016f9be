"""An observer without a screen, for a namespace of its own: prints the view once so many peers tell their own figures.

python -m tests.integration.watching MULTIADDR KEY PASSPORT PEERS
"""

import asyncio
import sys
from pathlib import Path

import msgspec

from peers.watch.source import Source


async def main() -> None:
    address, key, passport, peers = sys.argv[1:]
    source = Source(address, None, run_id=None, passport=Path(passport), identity=Path(key))
    watching = asyncio.create_task(source.watch())
    while source.scene.view.totals.telling < int(peers):
        changed = asyncio.create_task(source.scene.changed.wait())
        await asyncio.wait((watching, changed), return_when=asyncio.FIRST_COMPLETED)
        if watching.done():
            watching.result()
    print(msgspec.json.encode(source.scene.view).decode(), flush=True)
    watching.cancel()
    await asyncio.wait([watching])


if __name__ == "__main__":
    asyncio.run(main())
