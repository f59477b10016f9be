"""The public summary of training content that the EU's AI Act asks of general-purpose models (Article 53(1)(d)).

The parts and questions are those of the Commission's template: general information, a list of data sources by category,
relevant aspects of data processing. Answers come from the statement alone. A question that no record here answers is
answered "not known"; nobody's obligations are judged, and filling in the rest is the provider's work.
"""

import json
from collections import Counter

from peers.lineage import words
from peers.lineage.statement import DataSource, Lineage, Statement
from peers.lineage.words import NOT_KNOWN
from swarm.identity.peer_id import PeerId
from swarm.sovereignty.entry import Tier

Answers = list[tuple[str, str]]
_CATEGORIES = (
    "publicly available data sets",
    "private, non-publicly available data sets obtained from third parties",
    "data crawled and scraped from online sources",
    "user data",
    "synthetic data",
    "other sources of data",
)
"""Of the template. Which of them a data set belongs to is no part of a label here."""
_HIDDEN = "not shown to the public tier of this statement"


def sections(statement: Statement, signer: PeerId) -> list[tuple[str, Answers]]:
    """Every part of the template with its questions and answers."""
    lineage = statement.predicate
    return [
        ("1. General information", _general(statement, signer)),
        ("2. List of data sources", _sources(lineage)),
        *((f"2. Data source {n}", _source(source, lineage.tier)) for n, source in enumerate(lineage.data, 1)),
        ("3. Relevant aspects of data processing", _processing(lineage)),
    ]


def markdown(statement: Statement, signer: PeerId) -> bytes:
    """The summary for people."""
    lines = ["# Public summary of training content", ""]
    for title, answers in sections(statement, signer):
        lines += [f"## {title}", "", "| question | answer |", "| --- | --- |"]
        lines += [f"| {_cell(question)} | {_cell(answer)} |" for question, answer in answers] + [""]
    return "\n".join(lines).encode()


def json_document(statement: Statement, signer: PeerId) -> bytes:
    """The same for programs: title to question to answer."""
    content = {title: dict(answers) for title, answers in sections(statement, signer)}
    return (
        json.dumps({"template": "Article 53(1)(d)", "summary": content}, indent=2, ensure_ascii=False).encode() + b"\n"
    )


def _general(statement: Statement, signer: PeerId) -> Answers:
    lineage = statement.predicate
    members = sorted({seat.member for span in lineage.rounds for seat in span.roster})
    return [
        ("provider name and contact details", f"{NOT_KNOWN}; the statement is signed by peer {signer}"),
        ("authorised representative in the Union", NOT_KNOWN),
        ("versioned model name", f"{words.model_name(lineage)} ({words.fingerprint(statement)})"),
        ("model dependencies", "; ".join(f"{parent.relation}: {parent.name}" for parent in lineage.parents)),
        ("date of placing on the Union market", NOT_KNOWN),
        ("date of this statement", words.made_at(lineage).isoformat()),
        ("modality", "text"),
        ("training data size", _size(lineage)),
        ("members that contributed updates", ", ".join(members) or "none"),
        ("languages of the data", _languages(lineage)),
        ("regions that contributed", _regions(lineage)),
    ]


def _sources(lineage: Lineage) -> Answers:
    labels = Counter(source.visibility.value for source in lineage.data)
    counted = ", ".join(f"{count} {label}" for label, count in sorted(labels.items())) or "none"
    scope = (
        "of the signer only: what other members trained on is on their own records"
        if lineage.kind == "shared-base"
        else "of the build; the Shared Base below it has a statement of its own"
    )
    return [
        ("data sets on record", f"{len(lineage.data)} ({counted}), {scope}"),
        *((category, f"{NOT_KNOWN}: labels do not say which data sets these are") for category in _CATEGORIES),
    ]


def _source(source: DataSource, tier: Tier) -> Answers:
    is_hidden = tier is Tier.PUBLIC
    unknown = _HIDDEN if is_hidden else NOT_KNOWN
    everywhere = _HIDDEN if is_hidden else "anywhere"
    return [
        ("known by", f"salted commitment {source.artifact_id}"),
        ("name and content", "not shown in statements"),
        ("category of the template", NOT_KNOWN),
        ("label", source.visibility),
        ("language", source.language or unknown),
        ("permitted uses", ", ".join(source.use_constraints)),
        ("whose it is", source.owner or unknown),
        ("licences", ", ".join(source.rights) or unknown),
        ("may be used in", everywhere if source.residency is None else ", ".join(source.residency)),
        ("protections demanded", ", ".join(source.privacy) or (_HIDDEN if is_hidden else "none")),
        ("period of collection", NOT_KNOWN),
        ("quality", source.quality),
    ]


def _processing(lineage: Lineage) -> Answers:
    spent = lineage.privacy
    dp = (
        f"record-level differential privacy: epsilon {spent.epsilon:.6g}, delta {spent.delta:g}, {spent.steps} steps"
        if spent is not None
        else "none on record for the signer's data"
    )
    return [
        ("respect of reservations of rights (text and data mining opt-outs)", NOT_KNOWN),
        ("removal of illegal content", NOT_KNOWN),
        ("personal data and its protection", f"whether there is any: {NOT_KNOWN}. Protection: {dp}"),
        ("where data was processed", "on each member's own machines; updates left them, data did not"),
        ("how it was trained", words.training(lineage)),
    ]


def _size(lineage: Lineage) -> str:
    tokens = sum(seat.tokens for span in lineage.rounds for seat in span.roster)
    return (
        f"{tokens:,} tokens in {lineage.base.round} rounds, as members reported them, repetitions included; the sizes "
        "of data sets are not shown in statements"
    )


def _languages(lineage: Lineage) -> str:
    if lineage.tier is Tier.PUBLIC:
        return _HIDDEN
    return ", ".join(sorted({source.language for source in lineage.data if source.language})) or NOT_KNOWN


def _regions(lineage: Lineage) -> str:
    return ", ".join(sorted({seat.region for span in lineage.rounds for seat in span.roster})) or NOT_KNOWN


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
