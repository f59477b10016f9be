"""The graph of what a model was made from, as text for a terminal and as DOT for Graphviz. From a statement alone."""

import json
from collections.abc import Iterator, Sequence

from peers.lineage.statement import DataSource, Lineage, Measure, Span, Statement
from swarm.identity.peer_id import PeerId

_SHOWN_DIGITS = 16


def as_text(statement: Statement, signer: PeerId) -> str:
    """The graph, the model last."""
    lineage = statement.predicate
    lines = [f"{parent.name} ({_first(parent.digest)})" for parent in lineage.parents]
    if lineage.rounds:
        lines.append(f"  | {lineage.base.round} rounds of run {lineage.base.run_name} ({lineage.base.run_id})")
        lines += [f"  |   {_span(span)}" for span in lineage.rounds]
        lines.append(f"Shared Base of round {lineage.base.round} ({lineage.base.state[:_SHOWN_DIGITS]}...)")
    sources = {source.artifact_id: source for source in lineage.data}
    for stage in lineage.stages:
        lines.append(f"  | {stage.name}, {stage.method}: {_measures(stage.evaluation)}")
        lines += [f"  |   {_source(sources[each])}" for each in stage.data]
        lines.append(f"{stage.name} ({stage.result[:_SHOWN_DIGITS]}...)")
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
    for parent in lineage.parents:
        if parent.name != base:
            yield f"{_quoted(parent.name)} -> {_quoted(base)} [label={_quoted(parent.relation)}]"
    for span in lineage.rounds:
        for seat in span.roster:
            yield f"{_quoted(f'{seat.member} ({seat.region})')} -> {_quoted(base)} [label={_quoted(_rounds(span))}]"
    by_result = {stage.result: stage.name for stage in lineage.stages}
    for stage in lineage.stages:
        came_from = by_result.get(stage.parent, base)
        yield f"{_quoted(came_from)} -> {_quoted(stage.name)} [label={_quoted(stage.method)}]"
        for each in stage.data:
            yield f"{_quoted(f'data {each[:8]}')} -> {_quoted(stage.name)}"


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
