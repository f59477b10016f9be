"""The model card of a Sovereign Model, README.md in its folder, written from the build's record alone. Pure.

Names of data sets that are not open stay out of it: whoever publishes the model does not publish what it was made from.
"""

from peers.build.gate import retention
from peers.build.record import BuildRecord, Stage, trained
from swarm.sovereignty.artefacts import DataUsed
from swarm.sovereignty.labels import Label
from swarm.sovereignty.lattice import join_all, restrictions_of

_WORDS = {"cpt": "continued pre-training", "sft": "instruction tuning", "dpo": "preference alignment (DPO)"}


def model_card(record: BuildRecord, name: str) -> str:
    """Markdown with the front matter that model libraries read."""
    stages = record.accepted
    last = stages[-1].evaluation
    languages = sorted({score.language for score in last.languages if score.is_own})
    used = {(each.name, each.digest): each for stage in stages for each in stage.data}
    kept = retention(last)
    assert kept is not None, "the gate accepts no build without another language"
    licences = sorted({each.licence for each in used.values()})
    bound = join_all(restrictions_of(each, "none") for each in used.values())
    residency = "everywhere" if bound.residency is None else ", ".join(sorted(bound.residency)) or "nowhere"
    lines = [
        "---",
        "library_name: transformers",
        "pipeline_tag: text-generation",
        f"language: [{', '.join(languages)}]",
        "tags: [tapestry, sovereign-model]",
        "---",
        "",
        f"# {name}",
        "",
        f"A Sovereign Model{f' of {record.member}' if record.member else ''}: a member's own derivative of a Shared "
        "Base, made on its own machine.",
        "",
        "## Where it comes from",
        "",
        f"- Shared Base of round {record.base.round} of run `{record.base.run_id}`, state `{record.base.state}`, "
        f"commit record `{record.base.record or 'the charter itself'}`; verified from the charter on.",
        *(_stage_line(stage) for stage in stages),
        *_moved(record),
        f"- Made by tapestry-swarm {record.code}.",
        "",
        "## Data",
        "",
        "| stage | data set | label | licence | residency | files | bytes | BLAKE3 |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
        *(_data_line(stage, each) for stage in stages for each in stage.data),
        "",
        f"What binds the model, joined from its data: label {bound.label}, residency {residency}, "
        f"licences {', '.join(licences)}.",
        "",
        "## Evaluation",
        "",
        "Held-out bits per byte; lower is better.",
        "",
        "| language | trained on | Shared Base | this model |",
        "| --- | --- | --- | --- |",
        *(
            f"| {score.language} | {'yes' if score.is_own else 'no'} | {score.base:.3f} | {score.after:.3f} |"
            for score in last.languages
        ),
        "",
        f"What it has kept of the Shared Base: in languages it was not trained on it needs at most {kept:.3f} times "
        "the base's bits.",
        "",
        f"Memorisation: {len(last.canaries)} random secrets stood in the training data; the highest exposure is "
        f"{max(score.exposure_bits for score in last.canaries):.1f} bits (1.4 is chance on average). "
        "Those secrets are random digits and mean nothing.",
        "",
        "## Intended use and limits",
        "",
        "For the member and whom it gives the model to, within what binds it above. The figures above are all that was "
        "measured: nothing was tested of truth, safety, bias or other languages. Canaries show memorising of what "
        "stands in the data as they do, not that nothing can be extracted. The record, `build.json`, is the member's "
        "own statement; what others can check of it are the Shared Base and the digests.",
        "",
    ]
    return "\n".join(lines)


def _stage_line(stage: Stage) -> str:
    how = "a LoRA adapter" if stage.method == "lora" else "all weights"
    return (
        f"- Stage {stage.n}, {_WORDS[stage.name]}: {how}, {stage.settings.steps} steps, isolation "
        f"`{stage.isolation}`, weights `{stage.result}`."
    )


def _moved(record: BuildRecord) -> list[str]:
    return [
        f"- {trained(stages).capitalize()} on the base of round {place.base.round} and re-applied to this one."
        for place, stages in record.moves
    ]


def _data_line(stage: Stage, used: DataUsed) -> str:
    name = used.name.replace("|", "/") if used.label is Label.OPEN else "(not named)"
    digest = used.digest if used.label is Label.OPEN else "(not given)"
    return (
        f"| {stage.n}-{stage.name} | {name} | {used.label} | {used.licence.replace('|', '/')} | {used.residency} | "
        f"{used.files} | {used.bytes} | {digest} |"
    )
