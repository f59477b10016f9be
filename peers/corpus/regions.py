"""The pilot's three regions, and the labelled folder a region's peer trains on."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import tomli_w

from peers.corpus.store import Corpus
from swarm.sovereignty.labels import Label


@dataclass(frozen=True)
class PilotRegion:
    """A region, and for each language spoken there in the pilot the jurisdiction its text belongs to."""

    name: str
    jurisdictions: Mapping[str, str]
    """Language code (ISO 639-1) to jurisdiction (ISO 3166)."""


REGIONS = (
    PilotRegion("eu", {"de": "DE", "fr": "FR"}),
    PilotRegion("east-asia", {"ja": "JP", "ko": "KR"}),
    PilotRegion("southeast-asia", {"vi": "VN", "id": "ID"}),
)


def write_region_folder(corpus: Corpus, region: PilotRegion, folder: Path, label: Label = Label.OPEN) -> None:
    """Lays out `<folder>/<language>.txt` for the region's languages and a `policy.toml` that labels each.

    The folder is made when absent; files of the same names are replaced.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for language in region.jurisdictions:
        shutil.copyfile(corpus.train[language], folder / f"{language}.txt")
    datasets = [
        {
            "name": f"{corpus.source} text, {language}",
            "files": [f"{language}.txt"],
            "label": label.value,
            "residency": jurisdiction,
            "licence": corpus.licences[language],
            "language": language,
        }
        for language, jurisdiction in region.jurisdictions.items()
    ]
    (folder / "policy.toml").write_text(tomli_w.dumps({"version": 1, "dataset": datasets}), encoding="utf-8")
