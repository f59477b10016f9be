"""The part of the pilot's page that is about own models: what each is worth, where it comes from, and what left."""

from collections.abc import Mapping
from statistics import fmean

from peers.demo import lineage_drawing, page
from peers.demo.page import Html
from peers.demo.result import Result
from peers.demo.sovereign_result import Model, OwnStage, Sovereign
from peers.demo.summary import LANGUAGE_NAMES, peer_names, region_names
from peers.demo.what_left import Place


def sovereign_section(result: Result) -> list[Html]:
    """Table, lineage and evidence; empty where nobody has built."""
    own = result.sovereign
    if own is None:
        return []
    return [
        page.element("h2", "What each region takes home"),
        *(page.element("p", sentence) for sentence in own_sentences(result)),
        page.element(
            "p",
            "Held-out bits per byte of state 0, of the Shared Base and of each region's own model, bold in the "
            "languages that it was trained on; lower is better. Measured by the confined processes that trained.",
            "quiet",
        ),
        _scores(own),
        Html("<details><summary>Every stage</summary>"),
        page.element("p", _STAGES, "quiet"),
        _stages(own),
        Html("</details>"),
        *_lineage(own, result),
        *_evidence(own, result),
    ]


_STAGES = (
    "Losses are in nats per byte; of DPO it is the preference loss, 0.693 before the first step. Exposure is that of "
    "the planted secret that is remembered best, in bits: chance gives 1.4 on the average."
)


def own_sentences(result: Result) -> list[str]:
    """What the builds came to, in a few words."""
    if result.sovereign is None:
        return []
    said: list[str] = []
    for region, model in result.sovereign.models.items():
        refused = [f"The gate refused stage {each.name}: {'; '.join(each.reasons)}." for each in _refused(model)]
        if not model.accepted:
            said += [f"{region} has no model of its own. {refused[0]}"]
            continue
        shared, mine = _own_languages(result.sovereign, region)
        percent = 100 * (1 - mine / shared)
        change = f"{abs(percent):.1f} % {'fewer' if percent >= 0 else 'more'}"
        said.append(
            f"{region}'s own model needs {mine:.3f} bits per byte in {' and '.join(map(_language, model.own))}, the "
            f"Shared Base {shared:.3f}: {change}."
        )
        said += refused
    return said


def saved_percent(own: Sovereign) -> float | None:
    """By how many per cent own models need fewer bits in their own languages, averaged over them; None without any."""
    pairs = [_own_languages(own, region) for region, model in own.models.items() if model.accepted]
    return fmean(100 * (1 - mine / shared) for shared, mine in pairs) if pairs else None


def _own_languages(own: Sovereign, region: str) -> tuple[float, float]:
    """Bits per byte of the Shared Base and of a region's own model, averaged over that model's own languages."""
    scores = [own.bits_per_byte[language] for language in own.models[region].own]
    return fmean(score.shared for score in scores), fmean(score.sovereign[region] for score in scores)


def _scores(own: Sovereign) -> Html:
    with_model = [region for region, model in own.models.items() if model.accepted]
    rows = [
        [
            _language(language),
            f"{score.base:.2f}",
            f"{score.shared:.2f}",
            *(_figure(score.sovereign[region], language in own.models[region].own) for region in with_model),
        ]
        for language, score in own.bits_per_byte.items()
    ]
    figures = own.bits_per_byte.values()
    rows.append(
        [
            "Average",
            f"{fmean(score.base for score in figures):.2f}",
            f"{fmean(score.shared for score in figures):.2f}",
            *(f"{fmean(score.sovereign[region] for score in figures):.2f}" for region in with_model),
        ]
    )
    return page.table(["Language", "Base", "Shared Base", *with_model], rows, total=True)


def _figure(value: float, is_own: bool) -> str:
    return page.element("strong", f"{value:.2f}") if is_own else f"{value:.2f}"


def _stages(own: Sovereign) -> Html:
    rows = [
        [
            region,
            stage.name.upper(),
            _data(stage, model),
            "-" if stage.loss is None else f"{stage.loss:.3f}",
            _change(stage, model),
            f"{stage.exposure_bits:.1f}",
            page.element("span", "passed", "good")
            if stage.verdict == "accepted"
            else page.element("span", "refused", "bad"),
        ]
        for region, model in own.models.items()
        for stage in model.stages
    ]
    columns = ["Region", "Stage", "Data", "Loss", "Own languages", "Exposure", "Gate"]
    return page.table(columns, rows, text_columns=3)


def _data(stage: OwnStage, model: Model) -> str:
    """The kinds of its data sets; there is one of each in every language of the member."""
    parts = [name.rpartition(", ") for name in stage.data]
    return ", ".join(dict.fromkeys(kind if last in model.own else f"{kind}{mark}{last}" for kind, mark, last in parts))


def _change(stage: OwnStage, model: Model) -> str:
    before, after = (fmean(scores[language] for language in model.own) for scores in (stage.before, stage.after))
    return f"{before:.3f} → {after:.3f}"


def _lineage(own: Sovereign, result: Result) -> list[Html]:
    picture = lineage_drawing.draw(own, region_names(result))
    if not picture:
        return []
    checked = [
        f"{region}: signed by …{model.lineage.signer[-8:]}, {model.lineage.signer_is}; {model.lineage.means} of "
        f"{model.lineage.round} rounds made again from the committed means"
        f"{'; it began from the Shared Base, bit for bit' if model.lineage.is_base else ''}"
        for region, model in own.models.items()
        if model.lineage is not None
    ]
    return [
        page.element("h2", "Where the models come from"),
        page.element(
            "p",
            Html(
                "What each model's signed statement says, after <code>tapestry lineage verify</code> had walked the "
                "commit records back to the charter. Names and digests of data sets are on no statement."
            ),
            "quiet",
        ),
        picture,
        Html(f'<ul class="notes">{"".join(page.element("li", line) for line in checked)}</ul>'),
    ]


def _evidence(own: Sovereign, result: Result) -> list[Html]:
    regions = list(own.left)
    kinds = sorted({kind for left in own.left.values() for kind in left.by_kind})
    by_kind = [[kind, *(_bytes(own.left[region].by_kind, kind) for region in regions)] for kind in kinds]
    by_place = [[place, *(_bytes(own.left[region].by_place, place) for region in regions)] for place in Place]
    together = ["Together", *(_size(sum(own.left[region].by_kind.values())) for region in regions)]
    return [
        page.element("h2", "What left each region"),
        page.element("p", "By the ledgers of its peers, over the whole run: shared rounds and builds.", "quiet"),
        page.table(["Kind", *regions], [*by_kind, together], total=True),
        page.table(["Where to", *regions], [row for row in by_place if any(cell != "-" for cell in row[1:])]),
        page.element("h2", "What left while the models were made"),
        *(page.element("p", sentence) for sentence in evidence(own)),
        page.table(["Region", "Trainer", "Network", "Left"], _during(own), text_columns=4),
        page.table(["Peer", "Ledger", "Entries", "Audit", "Root"], _ledgers(own, result), text_columns=5),
    ]


def evidence(own: Sovereign) -> list[str]:
    """What shows that nothing of a build has left, and what it does not show."""
    unchanged = [ledger.is_unchanged for left in own.left.values() for ledger in left.ledgers.values()]
    said = (
        "Every node had ended, and every ledger is byte for byte the one from before the builds: no frame left."
        if all(unchanged)
        else f"{unchanged.count(False)} of {len(unchanged)} ledgers changed after the builds had begun."
    )
    apart = all(not model.has_network for model in own.models.values())
    place = (
        "The commands that trained ran in network namespaces with nothing in them."
        if apart
        else "This machine gives nobody an empty network namespace, so the commands had its network; what they started "
        "to train was confined all the same."
    )
    return [f"{said} {place} Levels are what each process says of itself."]


def _during(own: Sovereign) -> list[list[str]]:
    return [
        [
            region,
            ", ".join(sorted({stage.isolation for stage in model.stages})),
            "this machine's" if model.has_network else "none",
            "no byte" if all(each.is_unchanged for each in own.left[region].ledgers.values()) else "see the ledgers",
        ]
        for region, model in own.models.items()
    ]


def _ledgers(own: Sovereign, result: Result) -> list[list[str]]:
    names = peer_names(result)
    return [
        [
            names.get(peer, peer),
            page.element("span", "unchanged", "good")
            if ledger.is_unchanged
            else page.element("span", "changed", "bad"),
            f"{ledger.entries:,}",
            ledger.verdict,
            Html(f'<code title="{page.inline(ledger.root)}">{page.inline(ledger.root[:12])}</code>'),
        ]
        for left in own.left.values()
        for peer, ledger in left.ledgers.items()
    ]


def _bytes(counts: Mapping[str, int], key: str) -> str:
    return _size(counts[key]) if key in counts else "-"


def _size(count: int) -> str:
    for unit, bytes_ in (("MB", 1_000_000), ("kB", 1000)):
        if count >= bytes_:
            return f"{count / bytes_:.1f}\N{NO-BREAK SPACE}{unit}"
    return f"{count}\N{NO-BREAK SPACE}B"


def _refused(model: Model) -> list[OwnStage]:
    return [stage for stage in model.stages if stage.verdict == "refused"]


def _language(language: str) -> str:
    return LANGUAGE_NAMES.get(language, language)
