"""The pilot's result on a terminal: bits per byte per language, and what each peer sent."""

from collections.abc import Mapping
from typing import Any

from rich.console import Group
from rich.table import Table

_MAIN_KINDS = ("update", "result", "state")


def score_table(document: Mapping[str, Any]) -> Group:
    """Tables for people, from the document of `demo --json`."""
    tables = [_scores(document), _bytes(document), _bases(document)]
    if document["sovereign"] is not None:
        tables.insert(1, _own_models(document["sovereign"]))
    spent = {peer: row for peer, row in document["privacy"]["peers"].items() if row["spent"] is not None}
    if spent:
        tables.append(_epsilons(spent))
    return Group(*(part for table in tables for part in (table, "")))


def _scores(document: Mapping[str, Any]) -> Table:
    scores: Mapping[str, Any] = document["bits_per_byte"]
    regions = list(next(iter(scores.values()))["alone"])
    table = Table(title="held-out bits per byte (lower is better)", title_justify="left")
    table.add_column("language")
    has_clear = all(row.get("clear") is not None for row in scores.values())
    clear = ("in the\nclear",) if has_clear else ()
    for name in ("untrained", *(f"{region}\nalone" for region in regions), *clear, "Shared\nBase"):
        table.add_column(name, justify="right")
    rows: list[tuple[Any, ...]] = [
        (
            language,
            row["untrained"],
            *(row["alone"][r] for r in regions),
            *((row["clear"],) if has_clear else ()),
            row["shared"],
        )
        for language, row in scores.items()
    ]
    for language, *values in rows:
        table.add_row(language, *(f"{value:.3f}" for value in values))
    means = [sum(row[column] for row in rows) / len(rows) for column in range(1, len(rows[0]))]
    table.add_section()
    table.add_row("average", *(f"{value:.3f}" for value in means), style="bold")
    return table


def _own_models(own: Mapping[str, Any]) -> Table:
    models = {region: model for region, model in own["models"].items() if model["digest"] is not None}
    table = Table(title="own models, held-out bits per byte (*: of its own languages)", title_justify="left")
    table.add_column("language")
    for name in ("base", "Shared\nBase", *(f"{region}'s\nown" for region in models)):
        table.add_column(name, justify="right")
    for language, score in own["bits_per_byte"].items():
        values = [
            f"{score['sovereign'][region]:.3f}{'*' if language in model['own'] else ' '}"
            for region, model in models.items()
        ]
        table.add_row(language, f"{score['base']:.3f}", f"{score['shared']:.3f}", *values)
    return table


def _bytes(document: Mapping[str, Any]) -> Table:
    table = Table(title="MB sent, from each peer's own ledger", title_justify="left")
    table.add_column("peer")
    table.add_column("region")
    for name in (*_MAIN_KINDS, "all else", "total"):
        table.add_column(name, justify="right")
    for peer, by_kind in document["bytes_sent"].items():
        main = [by_kind.get(kind, 0) for kind in _MAIN_KINDS]
        total = sum(by_kind.values())
        name = f"…{peer[-8:]}" + (" (killed)" if peer == document["killed"] else "")
        name += " (joined later)" if peer == document["joined"] else ""
        cells = (*main, total - sum(main), total)
        table.add_row(name, document["regions"][peer], *(f"{count / 1e6:.2f}" for count in cells))
    return table


def _bases(document: Mapping[str, Any]) -> Table:
    digests = set(document["base_digests"].values())
    equal = "all equal" if len(digests) == 1 else "[red]DIFFERENT[/]"
    table = Table(title=f"Shared Base after {document['rounds_committed']} rounds: {equal}", title_justify="left")
    table.add_column("peer")
    table.add_column("state digest")
    for peer, digest in document["base_digests"].items():
        table.add_row(f"…{peer[-8:]}", digest)
    return table


def _epsilons(peers: Mapping[str, Any]) -> Table:
    table = Table(title="differential privacy spent, as each peer says", title_justify="left")
    for name in ("peer", "member"):
        table.add_column(name)
    for name in ("epsilon", "of", "delta", "for every", "steps"):
        table.add_column(name, justify="right")
    for peer, row in peers.items():
        spent = row["spent"]
        figures = (f"{spent['epsilon']:.3f}", f"{spent['budget']:g}", f"{spent['delta']:g}")
        table.add_row(f"…{peer[-8:]}", row["member"], *figures, spent["unit"], f"{spent['steps']:,}")
    return table
