"""What a statement says, in the few sentences that every export repeats: names, descriptions, properties."""

from datetime import UTC, datetime

from peers.lineage.statement import DataSource, Lineage, Statement
from swarm.errors import UsageError

NOT_KNOWN = "not known"


def model_name(lineage: Lineage) -> str:
    base = lineage.base
    if lineage.kind == "shared-base":
        return f"Shared Base of round {base.round}, run {base.run_name}"
    return f"Sovereign Build on the Shared Base of round {base.round}, run {base.run_name}"


def model_version(lineage: Lineage) -> str:
    return f"round {lineage.base.round}"


def made_at(lineage: Lineage) -> datetime:
    """When the statement was signed, to the second."""
    return datetime.fromtimestamp(int(lineage.made_at), UTC)


def fingerprint(statement: Statement) -> str:
    """One digest that names the model: the state's for a Shared Base, the first weights file's SHA-256 for a build."""
    if statement.predicate.kind == "shared-base":
        return statement.predicate.base.state
    weights = [subject for subject in statement.subject if subject.name.endswith(".safetensors")]
    return (weights or statement.subject)[0].digest["sha256"]


def training(lineage: Lineage) -> str:
    """How it was trained, in a sentence or two."""
    members = sorted({seat.member for span in lineage.rounds for seat in span.roster})
    rejected = sum(span.rejected for span in lineage.rounds)
    text = (
        f"Trained by {_count(len(members), 'member')} ({', '.join(members) or 'none'}) in "
        f"{_count(lineage.base.round, 'round')} of run "
        f"{lineage.base.run_id}, {rejected} of them rejected; updates were averaged peer to peer, data stayed with "
        "the members."
    )
    for stage in lineage.stages:
        text += f" Then {stage.name} ({stage.method}) by one member alone, on data of its own."
    if lineage.privacy is not None:
        spent = lineage.privacy
        text += (
            f" The signer's records: epsilon {spent.epsilon:.6g} at delta {spent.delta:g} after {spent.steps} steps "
            f"({spent.accountant})."
        )
    return text


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def source_name(source: DataSource) -> str:
    return f"data set {source.artifact_id[:16]}"


def needs(package: str) -> UsageError:
    """The error for a library that is not installed."""
    return UsageError(f'this needs {package}: pip install "tapestry-swarm[provenance]"')
