"""Writes a verified statement in the formats that others read, each validated before it is written.

    spdx         SPDX 3.0.1, AI and Dataset classes, JSON-LD (`spdx.py`)
    cyclonedx    CycloneDX 1.6 ML-BOM, JSON (`cyclonedx.py`)
    eu-summary   the public summary of training content under the EU's AI Act (`eu_summary.py`), Markdown or JSON

Nothing is added to what the statement says: where it is silent, so is the document, or it says that it is not known.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from peers.lineage import cyclonedx, eu_summary, spdx
from peers.lineage.statement import Statement
from peers.lineage.subjects import check_folder
from peers.lineage.verify import find_statement, read_statement
from swarm.identity.peer_id import PeerId
from swarm.state.disk import replace_file

FORMATS: Mapping[str, Callable[[Statement, PeerId], bytes]] = {
    "spdx": spdx.document,
    "cyclonedx": cyclonedx.document,
    "eu-summary": eu_summary.markdown,
}


def write_export(model: Path, out: Path, form: str) -> int:
    """Writes one document; its length in bytes.

    Raises:
        UsageError: there is no statement at `model`, or a library that checks the format is not installed.
        LineageError: the statement does not hold, or the document is not what its format demands.
        StateError: the file cannot be written.
    """
    file, folder = find_statement(model)
    signer, statement = read_statement(file)
    if folder is not None:
        check_folder(folder, statement.subject)
    make = eu_summary.json_document if form == "eu-summary" and out.suffix == ".json" else FORMATS[form]
    data = make(statement, signer)
    replace_file(out, [data])
    return len(data)
