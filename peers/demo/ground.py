"""What the pilot stands on: the text, who its members are, and each one's labelled folder. Starts nothing.

Where a region has several members, each has a share of the region's text, in every language: no byte is in two. Where
regions make their own models, the first member of each keeps a part of the text for that, which no share is made from.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from peers.corpus.corpus import default_cache, prepare
from peers.corpus.folder import read_folder
from peers.corpus.regions import COMMONS, REGIONS, PilotRegion, write_region_folder
from peers.corpus.store import Corpus
from peers.demo.own_text import OwnText, require_readable_everywhere, set_apart, write_own_folder
from peers.demo.settings import Settings
from peers.demo.terms import Terms
from swarm.sovereignty.lattice import Restrictions, join_all, restrictions_of
from swarm.sovereignty.policy import DpRules, files_for, find_policy, label_folder, read_policy
from swarm.sovereignty.uses import Privacy, Use

_Bound = dict[str, tuple[Restrictions, DpRules | None]]
"""By region: what binds its text, and the `[dp]` table of its owner's policy."""


@dataclass(frozen=True)
class PilotMember:
    """A member, with one peer in one region."""

    name: str
    region: PilotRegion
    data: Path
    """The folder its peers train on: `<language>.txt` for each language of the region, and a policy."""
    own: Path | None = None
    """The folder that it makes its region's own model from, if it is the one to make it."""

    @property
    def home(self) -> str:
        """The jurisdiction where its machines stand."""
        return sorted(self.region.jurisdictions.values())[0]

    @property
    def files(self) -> tuple[Path, ...]:
        return tuple(self.data / f"{language}.txt" for language in self.region.jurisdictions)


@dataclass(frozen=True)
class Ground:
    """Text and members."""

    corpus: Corpus
    regions: tuple[PilotRegion, ...]
    members: tuple[PilotMember, ...]

    def files_of(self, region: str) -> tuple[Path, ...]:
        """All text of a region's members."""
        return tuple(path for member in self.members if member.region.name == region for path in member.files)


def lay_out(settings: Settings, terms: Terms, say: Callable[[str], None]) -> Ground:
    """Gets the text and writes every member's folder under `settings.out`.

    Raises:
        TapestryError: there is no text, or a policy forbids what the pilot does with it, or bars the tier.
    """
    corpus, regions, bound = _text(settings, say)
    kept: Corpus | None = None
    if settings.build:
        require_readable_everywhere({name: binding for name, (binding, _) in bound.items()})
        corpus, kept = set_apart(corpus, settings.out / "shares")
    members: list[PilotMember] = []
    for region in regions:
        binding, dp = bound[region.name]
        if terms.privacy is not Privacy.LICENCE:
            binding = replace(binding, privacy=binding.privacy | {terms.privacy})
        for number in range(1, terms.members_per_region + 1):
            name = region.name if terms.members_per_region == 1 else f"{region.name}-{number}"
            folder = settings.out / "data" / name
            share = corpus
            if terms.members_per_region > 1:
                share = _share(corpus, region, number, terms.members_per_region, settings.out / "shares" / name)
            write_region_folder(share, region, folder, binding, dp or terms.dp)
            member = PilotMember(name, region, folder)
            if kept is not None and number == 1:
                own = settings.sovereign / region.name / "data"
                by_language = {each: bound[other.name][0] for other in regions for each in other.jurisdictions}
                any_dp = dp or next((rules for _, rules in bound.values() if rules is not None), None)
                write_own_folder(kept, region, OwnText(member.home, by_language, any_dp), own, settings.seed)
                member = replace(member, own=own)
            members.append(member)
    return Ground(corpus, regions, tuple(members))


def _text(settings: Settings, say: Callable[[str], None]) -> tuple[Corpus, tuple[PilotRegion, ...], _Bound]:
    """What is trained on, where, and what binds each region's text: never less than the text it is made from."""
    if settings.data is None:
        return prepare(default_cache(), say), REGIONS, {region.name: (COMMONS, None) for region in REGIONS}
    bound: _Bound = {}
    for region in REGIONS:
        home = settings.data / region.name
        policy = read_policy(find_policy(home, None))
        files = label_folder(home, policy)
        uses = (Use.SHARED_BASE, Use.EVALUATION)  # the pilot trains on some of it and scores with the rest
        for use in (*uses, Use.SOVEREIGN_BUILD) if settings.build else uses:
            files_for(files, use, all_of_them=True)
        of_all = join_all(restrictions_of(file.dataset, policy.isolation) for file in files)
        bound[region.name] = of_all, policy.dp
    text = read_folder(settings.data, settings.out / "text")
    return text.corpus, text.regions, bound


def _share(corpus: Corpus, region: PilotRegion, number: int, shares: int, folder: Path) -> Corpus:
    """The corpus with one of so many shares of the region's text, cut between two lines."""
    folder.mkdir(parents=True)
    train: dict[str, Path] = {}
    for language in region.jurisdictions:
        lines = corpus.train[language].read_bytes().splitlines(keepends=True)
        begin, end = len(lines) * (number - 1) // shares, len(lines) * number // shares
        train[language] = folder / f"{language}.txt"
        train[language].write_bytes(b"".join(lines[begin:end]))
    return replace(corpus, train=train)
