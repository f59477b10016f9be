"""The pilot's three regions, and the labelled folder a region's peer trains on."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
import tomli_w

from peers.corpus.store import Corpus
from swarm.errors import PolicyError
from swarm.sovereignty.lattice import Restrictions
from swarm.sovereignty.policy import POLICY_VERSION, DpRules
from swarm.sovereignty.uses import Privacy, Use


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


COMMONS = Restrictions(uses=frozenset({Use.SHARED_BASE, Use.EVALUATION}))
"""What binds the pilot's own text beyond its licence."""


def write_region_folder(
    corpus: Corpus, region: PilotRegion, folder: Path, bound: Restrictions = COMMONS, dp: DpRules | None = None
) -> None:
    """Lays out `<folder>/<language>.txt` for the region's languages and a `policy.toml` for what is made from the text.

    The folder is made when absent; files of the same names are replaced. No data set in it is bound less than `bound`,
    which is what binds all the text it was made from; `dp` is the table that goes with `privacy = "dp"`.

    Raises:
        PolicyError: no policy file can say so.
    """
    home = _home(bound)
    if len(bound.privacy) > 1:
        both = " and ".join(sorted(bound.privacy))
        raise PolicyError(f"the text of region {region.name} needs {both}: keep those data sets apart")
    folder.mkdir(parents=True, exist_ok=True)
    for language in region.jurisdictions:
        shutil.copyfile(corpus.train[language], folder / f"{language}.txt")
    datasets = [
        {
            "name": f"{corpus.source} text, {language}",
            "files": [f"{language}.txt"],
            "label": bound.label.value,
            "residency": home or jurisdiction,
            "licence": " AND ".join(sorted(bound.licences)) or corpus.licences[language],
            "language": language,
            "uses": sorted(bound.uses),
            "privacy": next(iter(bound.privacy), Privacy.LICENCE).value,
        }
        for language, jurisdiction in region.jurisdictions.items()
    ]
    policy: dict[str, object] = {"version": POLICY_VERSION, "isolation": bound.isolation, "dataset": datasets}
    if dp is not None:
        policy["dp"] = msgspec.to_builtins(dp)
    (folder / "policy.toml").write_text(tomli_w.dumps(policy), encoding="utf-8")


def _home(bound: Restrictions) -> str | None:
    """The one jurisdiction that text is bound to, if it is. Raises PolicyError if there is no place for it."""
    if bound.residency is None:
        return None
    if len(bound.residency) != 1:
        raise PolicyError(f"{bound.label} text of several jurisdictions may be used together nowhere: keep it apart")
    return next(iter(bound.residency))
