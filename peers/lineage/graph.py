"""The graph of what a model was made from, as text for a terminal and as DOT for Graphviz. From a statement alone."""

import json
from collections.abc import Iterator, Sequence

from peers.lineage.statement import DataSource, Lineage, Measure, Parent, Span, Stage, Statement
from swarm.identity.peer_id import PeerId

_SHOWN_DIGITS = 16
_MODEL = "the model"


def as_text(statement: Statement, signer: PeerId) -> str:
    """The graph, the model last: what is shared first, then what a build has made of it."""
    lineage = statement.predicate
    lines = [_parent(parent) for parent in lineage.parents] if lineage.kind == "shared-base" else []
    if lineage.rounds:
        lines.append(f"  | {lineage.base.round} rounds of run {lineage.base.run_name} ({lineage.base.run_id})")
        lines += [f"  |   {_span(span)}" for span in lineage.rounds]
    if lineage.rounds or lineage.kind == "build":
        lines.append(f"Shared Base of round {lineage.base.round} ({lineage.base.state[:_SHOWN_DIGITS]}...)")
    lines += [f"  | {parent.relation}: {_parent(parent)}" for parent in _own_parents(lineage)]
    sources = {source.artifact_id: source for source in lineage.data}
    for node, stage in _stages(lineage):
        lines.append(f"  | {stage.name}, {stage.method}: {_measures(stage.evaluation)}")
        lines += [f"  |   {_source(sources[each])}" for each in stage.data]
        lines.append(f"{node} ({stage.result[:_SHOWN_DIGITS]}...)")
    if not lineage.stages:
        lines += [f"  data of the signer: {_source(source)}" for source in lineage.data]
        lines += [f"  evaluation: {_measures(lineage.evaluation)}"] if lineage.evaluation else []
    if lineage.privacy is not None:
        spent = lineage.privacy
        lines.append(f"  privacy spent: epsilon {spent.epsilon:.4g}, delta {spent.delta:g}, {spent.steps} steps")
    lines.append(f"{len(statement.subject)} files, signed by {signer}")
    return "\n".join(lines)


def as_dot(statement: Statement) -> str:
    """The same as a directed graph."""
    return "\n".join(["digraph lineage {", *(f"  {line};" for line in _edges(statement.predicate)), "}"])


def _edges(lineage: Lineage) -> Iterator[str]:
    base = f"Shared Base of round {lineage.base.round}"
    stages = _stages(lineage)
    if lineage.kind == "shared-base":
        for parent in lineage.parents:
            yield f"{_quoted(parent.name)} -> {_quoted(base)} [label={_quoted(parent.relation)}]"
    for span in lineage.rounds:
        for seat in span.roster:
            yield f"{_quoted(f'{seat.member} ({seat.region})')} -> {_quoted(base)} [label={_quoted(_rounds(span))}]"
    # What a build's stages were trained on before goes into the first of them, never into what is shared.
    first = stages[0][0] if stages else _MODEL
    for parent in _own_parents(lineage):
        yield f"{_quoted(parent.name)} -> {_quoted(first)} [label={_quoted(parent.relation)}]"
    by_result: dict[str, str] = {}
    for node, stage in stages:
        yield f"{_quoted(by_result.get(stage.parent, base))} -> {_quoted(node)} [label={_quoted(stage.method)}]"
        for each in stage.data:
            yield f"{_quoted(f'data {each[:8]}')} -> {_quoted(node)}"
        by_result[stage.result] = node


def _stages(lineage: Lineage) -> list[tuple[str, Stage]]:
    """A build's stages, each with a name of its own."""
    return [(f"{n}-{stage.name}", stage) for n, stage in enumerate(lineage.stages, 1)]


def _own_parents(lineage: Lineage) -> Sequence[Parent]:
    """Of a build, but for the Shared Base that it stands on."""
    return lineage.parents[1:] if lineage.kind == "build" else ()


def _parent(parent: Parent) -> str:
    return f"{parent.name} ({_first(parent.digest)})"


def _rounds(span: Span) -> str:
    return f"round {span.first}" if span.first == span.last else f"rounds {span.first}-{span.last}"


def _span(span: Span) -> str:
    seats = ", ".join(f"{seat.member} ({seat.region}) x{seat.weight}, in {seat.rounds}" for seat in span.roster)
    rejected = f"; {span.rejected} rejected" if span.rejected else ""
    return f"{_rounds(span)}: {seats}{rejected}"


def _source(source: DataSource) -> str:
    uses = ", ".join(source.use_constraints)
    rights = f", {', '.join(source.rights)}" if source.rights else ""
    return f"{source.artifact_id[:_SHOWN_DIGITS]}... {source.visibility} ({uses}{rights})"


def _measures(measures: Sequence[Measure]) -> str:
    return (
        ", ".join(f"{each.name} {each.value:.4g}{each.unit and ' ' + each.unit}" for each in measures) or "no figures"
    )


def _first(digest: dict[str, str]) -> str:
    return next((f"{value[:_SHOWN_DIGITS]}..." for _, value in sorted(digest.items())), "no digest")


def _quoted(text: str) -> str:
    return json.dumps(text)
