"""Shows the records of what a peer trained on to others, one visibility tier at a time (`tapestry audit export`).

JSON lines: one per session, each with the number of its entry in the ledger and its artefacts as the tier may see them.
The ledger's export shows that entry, and at the private tier its digest: that of the line in STATE/trained.jsonl.
"""

from pathlib import Path

import msgspec

from swarm.sovereignty.artefacts import view
from swarm.sovereignty.entry import Tier
from swarm.sovereignty.trained import read_lines


def write_artefacts(state: Path, out: Path, tier: Tier) -> int:
    """Writes the sessions of a state folder as a tier may see them; how many. Raises StateError or OSError."""
    lines = read_lines(state)
    with out.open("xb") as file:
        for session, digest in lines:
            shown: dict[str, object] = {"entry": session.entry, "at": session.at, "tier": tier}
            if tier is not Tier.PUBLIC:
                shown["policy"] = session.policy
            if tier is Tier.PRIVATE:
                shown["digest"] = digest
            shown["artefacts"] = [view(artefact, tier) for artefact in session.data]
            file.write(msgspec.json.encode(shown) + b"\n")
    return len(lines)
