"""The pilot's report: `report.html` and its PNG plots, made from the result document alone."""

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

import msgspec

from peers.demo import page, plots
from peers.demo.page import Html
from peers.demo.privacy_report import in_words, privacy_section
from peers.demo.result import Result
from peers.demo.sovereign_report import saved_percent, sovereign_section
from peers.demo.summary import (
    LANGUAGE_NAMES,
    averages,
    bases_equal,
    common_digest,
    joined_in_round,
    killed_before_round,
    peer_names,
)

_SPACE = "\N{NO-BREAK SPACE}"


def write_report(document: Mapping[str, object], folder: Path) -> Path:
    """Writes the plots and the page into `folder` and returns the page's path.

    Raises:
        msgspec.ValidationError: the document is not one of the pilot's.
    """
    result = msgspec.convert(document, Result)
    folder.mkdir(parents=True, exist_ok=True)
    light, dark = plots.draw(result, plots.LIGHT), plots.draw(result, plots.DARK)
    for name, png in light.items():
        (folder / f"{name}.png").write_bytes(png)
    pictures = {
        name: page.figure(light[name], dark[name], _DESCRIPTIONS[name]) if name in light else Html("")
        for name in _DESCRIPTIONS
    }
    path = folder / "report.html"
    body = [
        *_headline(result),
        *_languages(result, pictures["bits_per_byte"]),
        *sovereign_section(result),
        *_rounds(result, pictures["loss"], pictures["rounds"]),
        *privacy_section(result),
        *_what_left(result, folder, pictures["bytes_sent"]),
        *_digests(result),
        *_provenance(result),
    ]
    path.write_text(page.page("Tapestry: the three-region pilot", body), encoding="utf-8")
    return path


_DESCRIPTIONS = {
    "bits_per_byte": "Bars: held-out bits per byte in each language for the untrained base, each region "
    "alone and the Shared Base. The values stand in the table below.",
    "loss": "Lines: training loss of each peer over the rounds.",
    "rounds": "Bars: seconds of each round by phase, with the rounds in which a peer was killed or joined.",
    "bytes_sent": "Bars: megabytes each peer sent, by kind of message. The values stand in the table below.",
}


_CROSSED = {
    "": "nothing",
    "members": "sums of 3 or more",
    "few": "sums of 2",
    "single": "single updates",
    "masked": "masked sums",
}
"""What of the regions' crossed borders in a round, counted in members (`RoundCommitted.crossed`)."""


def headline(result: Result) -> str:
    """The run's outcome in one sentence."""
    mean = averages(result)
    if mean is None:
        return "The run was not scored"
    if mean.shared_wins:
        fewer = f"{_percent(mean.saved_percent)} fewer bits per byte than the best of them"
        return f"The Shared Base beats every region alone: {fewer}"
    more = f"{_percent(-mean.saved_percent)} more bits per byte"
    return f"The Shared Base does not beat {mean.best_region} alone: {more}"


def _headline(result: Result) -> list[Html]:
    mean = averages(result)
    equal = bases_equal(result)
    sent = sum(sum(kinds.values()) for kinds in result.bytes_sent.values())
    parts = [
        page.element("p", "Tapestry: the three-region pilot", "kicker"),
        page.element("h1", headline(result)),
    ]
    values = [
        ("rounds committed", str(result.rounds_committed)),
        ("peers holding the same Shared Base", f"{_holders(result)} of {len(result.base_digests)}"),
        ("sent by all peers together", _size(sent)),
        ("for the whole run", _duration(result.seconds)),
    ]
    if mean is not None:
        text = (
            f"Averaged over {len(result.bits_per_byte)} languages, held-out text costs the Shared Base "
            f"{mean.shared:.2f} bits per byte. The best region training alone, {mean.best_region}, needs "
            f"{mean.best_alone:.2f}; the untrained base {mean.untrained:.2f}."
        )
        parts.append(page.element("p", text, "lead"))
        values[:0] = [
            ("bits per byte, Shared Base", f"{mean.shared:.2f}"),
            (f"bits per byte, {mean.best_region} alone", f"{mean.best_alone:.2f}"),
        ]
    if result.privacy is not None:
        epsilons = [peer.spent.epsilon for peer in result.privacy.peers.values() if peer.spent is not None]
        tier, _, meaning = in_words(result.privacy.tier).partition(": ")
        values.append((meaning, tier))
        if epsilons:
            values.append(("ε spent, at most", f"{max(epsilons):.2f}"))
    if result.sovereign is not None and (saved := saved_percent(result.sovereign)) is not None:
        change = "fewer" if saved >= 0 else "more"
        values.append((f"{change} bits per byte, own models in their own languages", _percent(abs(saved))))
    if not equal:
        parts.append(page.element("p", page.element("span", "The peers do not hold the same Shared Base.", "bad")))
    return [*parts, page.tiles(values)]


def _languages(result: Result, picture: Html) -> list[Html]:
    mean = averages(result)
    if mean is None:
        return []
    rows: list[list[str]] = []
    for language, score in result.bits_per_byte.items():
        alone = [f"{score.alone[region]:.2f}" for region in mean.alone]
        name = LANGUAGE_NAMES.get(language, language)
        clear = [] if score.clear is None else [f"{score.clear:.2f}"]
        rows.append([name, _strong(score.shared), *clear, f"{score.untrained:.2f}", *alone])
    alone = [f"{value:.2f}" for value in mean.alone.values()]
    clear = [] if mean.clear is None else [f"{mean.clear:.2f}"]
    rows.append(["Average", _strong(mean.shared), *clear, f"{mean.untrained:.2f}", *alone])
    columns = ["Language", "Shared Base", *("In the clear" for _ in clear), "Untrained"]
    columns += [f"{region} alone" for region in mean.alone]
    return [
        page.element("h2", "Held-out bits per byte"),
        page.element(
            "p",
            "Text no peer trained on, scored the same way for every model; lower is better. Each region "
            "alone made as many inner steps as it made in the swarm.",
            "quiet",
        ),
        picture,
        page.table(columns, rows, total=True),
    ]


def _rounds(result: Result, loss: Html, timeline: Html) -> list[Html]:
    if not result.rounds:
        return [page.element("h2", "Rounds"), page.element("p", "No round was committed.")]
    rows = [
        [
            str(record.round),
            _digest(record.state_digest),
            str(record.attempt),
            f"{len(record.contributors)} of {len(record.peers)}",
            _CROSSED[record.crossed],
            f"{record.form_s:.2f}",
            f"{record.reduce_s:.2f}",
            f"{record.seconds:.2f}",
        ]
        for record in result.rounds
    ]
    columns = ["Round", "State digest", "Attempt", "Averaged", "Over borders", "Form, s", "Reduce, s", "Whole, s"]
    return [
        page.element("h2", "Rounds"),
        *(page.element("p", sentence) for sentence in _events(result)),
        loss,
        timeline,
        Html("<details><summary>Every round</summary>"),
        page.table(columns, rows, text_columns=2),
        Html("</details>"),
    ]


def _events(result: Result) -> list[str]:
    names = peer_names(result)
    said: list[str] = []
    if result.killed is not None:
        before = killed_before_round(result)
        when = f"before round {before}" if before is not None else "during the run"
        said.append(f"The peer {names.get(result.killed, result.killed)} was killed {when}; the others went on.")
    if result.joined is not None:
        number = joined_in_round(result)
        what = f"first contributed in round {number}" if number is not None else "had no update averaged"
        name = names.get(result.joined, result.joined)
        said.append(f"A fresh peer, {name}, joined during the run and {what}.")
    return said


def _what_left(result: Result, folder: Path, picture: Html) -> list[Html]:
    kinds = sorted({kind for sent in result.bytes_sent.values() for kind in sent})
    rows = [
        [
            Html(_peer(result, peer) + _ledger(peer, folder)),
            _size(sum(sent.values())),
            *(_size(sent.get(kind, 0)) for kind in kinds),
        ]
        for peer, sent in result.bytes_sent.items()
    ]
    explanation = "Bytes sent by kind of message, as each peer's own ledger counts them (self-reported)."
    return [
        page.element("h2", "What left each machine"),
        page.element("p", explanation, "quiet"),
        picture,
        page.table(["Peer", "Together", *kinds], rows),
    ]


def _digests(result: Result) -> list[Html]:
    common = common_digest(result)
    rows = [
        [
            _peer(result, peer),
            page.element("span", "equal", "good") if digest == common else page.element("span", "differs", "bad"),
            page.element("code", digest),
        ]
        for peer, digest in result.base_digests.items()
    ]
    return [
        page.element("h2", "The Shared Base each peer holds"),
        page.element("p", "Digest of the base at the end, of every peer that was alive.", "quiet"),
        page.table(["Peer", "", "Digest"], rows, text_columns=3),
    ]


def _provenance(result: Result) -> list[Html]:
    notes = "\n".join(page.element("li", note) for note in result.notes)
    parts = [
        page.element("h2", "Text and notes"),
        page.element("p", Html(f"Corpus: {page.element('strong', result.corpus)}")),
    ]
    if notes:
        parts.append(Html(f'<ul class="notes">\n{notes}\n</ul>'))
    if result.settings:
        rows = [[name, str(value)] for name, value in result.settings.items()]
        parts += [page.element("h2", "Settings"), page.table(["Setting", "Value"], rows, text_columns=2)]
    return parts


def _holders(result: Result) -> int:
    common = common_digest(result)
    return sum(digest == common for digest in result.base_digests.values())


def _strong(value: float) -> Html:
    return page.element("strong", f"{value:.2f}")


def _peer(result: Result, peer: str) -> Html:
    """A peer's region and the end of its id; the whole id shows on hovering."""
    mark = " (killed)" if peer == result.killed else " (joined late)" if peer == result.joined else ""
    region = page.inline(f"{result.regions.get(peer, 'unknown region')}{mark}")
    return Html(f'{region}<br><code title="{page.inline(peer)}">…{page.inline(peer[-8:])}</code>')


def _ledger(peer: str, folder: Path) -> Html:
    """A link to the peer's ledger, where it lies beside the page."""
    ledger = Path("peers") / peer / "ledger.jsonl"
    if not (folder / ledger).is_file():
        return Html("")
    return Html(f' <a href="{quote(ledger.as_posix())}">ledger</a>')


def _digest(digest: str) -> Html:
    return Html(f'<code title="{page.inline(digest)}">{page.inline(digest[:12])}</code>')


def _size(size_bytes: int) -> str:
    if size_bytes >= 1_000_000:
        return f"{size_bytes / 1e6:.1f}{_SPACE}MB"
    return f"{size_bytes / 1e3:.1f}{_SPACE}kB" if size_bytes >= 1000 else f"{size_bytes}{_SPACE}B"


def _percent(value: float) -> str:
    return f"{value:.0f}{_SPACE}%" if value >= 10 else f"{value:.1f}{_SPACE}%"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}{_SPACE}min {rest}{_SPACE}s" if minutes else f"{rest}{_SPACE}s"
