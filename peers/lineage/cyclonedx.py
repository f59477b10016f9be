"""A statement as a CycloneDX 1.6 ML-BOM: one `machine-learning-model` with its card, and the data it was trained on.

Written as plain JSON, since cyclonedx-python-lib has no classes for model cards; its bundled copy of the
specification's JSON schema, in the strict variant, judges the document before anybody gets it. The serial number
follows from the model's digest, so the same statement gives the same document.
"""

import json
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from peers.lineage import words
from peers.lineage.code import DISTRIBUTION
from peers.lineage.statement import DataSource, Lineage, Measure, Statement
from swarm.errors import LineageError
from swarm.identity.peer_id import PeerId

SPEC_VERSION = "1.6"
_HASHES = {"sha256": "SHA-256", "blake3": "BLAKE3"}


def document(statement: Statement, signer: PeerId) -> bytes:
    """The JSON document, validated.

    Raises:
        UsageError: cyclonedx-python-lib or its schema validation is not installed.
        LineageError: the document breaks the schema.
    """
    data = json.dumps(_bom(statement, signer), indent=2, ensure_ascii=False)
    validate(data)
    return data.encode() + b"\n"


def validate(data: str) -> None:
    """Judges a document by the specification's JSON schema. Raises UsageError, or LineageError with the fault."""
    try:
        from cyclonedx.exception import MissingOptionalDependencyException
        from cyclonedx.schema import SchemaVersion
        from cyclonedx.validation.json import JsonStrictValidator, JsonValidationError
    except ModuleNotFoundError:
        raise words.needs("cyclonedx-python-lib") from None
    try:
        fault = JsonStrictValidator(SchemaVersion.V1_6).validate_str(data)
    except MissingOptionalDependencyException:
        raise words.needs("cyclonedx-python-lib[json-validation]") from None
    if isinstance(fault, JsonValidationError):
        raise LineageError(f"the CycloneDX document does not hold: {fault.data.message}")


def _bom(statement: Statement, signer: PeerId) -> dict[str, Any]:
    lineage = statement.predicate
    place = f"urn:tapestry-swarm:model:{words.fingerprint(statement)}"
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": SPEC_VERSION,
        "serialNumber": f"urn:uuid:{uuid5(NAMESPACE_URL, place)}",
        "version": 1,
        "metadata": {
            "timestamp": words.made_at(lineage).isoformat().replace("+00:00", "Z"),
            "tools": {
                "components": [{"type": "application", "name": DISTRIBUTION, "version": lineage.code.version}],
            },
            "component": _model(statement, place, signer),
        },
        "components": [
            *({"type": "machine-learning-model", "bom-ref": f"parent-{n}", "name": parent.name,
               "properties": [_property("relation", parent.relation),
                              *(_property(key, value) for key, value in parent.digest.items())]}
              for n, parent in enumerate(lineage.parents)),
            *({"type": "data", "bom-ref": _data_ref(n), "name": words.source_name(source), "data": [_data(source)],
               "licenses": [{"license": {"name": licence}} for licence in source.rights]}
              for n, source in enumerate(lineage.data)),
        ],
        "dependencies": [
            {
                "ref": place,
                "dependsOn": [
                    *(f"parent-{n}" for n in range(len(lineage.parents))),
                    *(_data_ref(n) for n in range(len(lineage.data))),
                ],
            },
        ],
    }  # fmt: skip


def _model(statement: Statement, place: str, signer: PeerId) -> dict[str, Any]:
    lineage = statement.predicate
    return {
        "type": "machine-learning-model",
        "bom-ref": place,
        "name": words.model_name(lineage),
        "version": words.model_version(lineage),
        "description": words.training(lineage),
        "components": [
            {
                "type": "file",
                "name": subject.name,
                "hashes": [{"alg": _HASHES[name], "content": value} for name, value in subject.digest.items()],
            }
            for subject in statement.subject
        ],
        "modelCard": {
            "modelParameters": {
                "approach": {"type": "self-supervised"},
                "task": "text generation",
                "datasets": [{"ref": _data_ref(n)} for n in range(len(lineage.data))],
            },
            "quantitativeAnalysis": {
                "performanceMetrics": [
                    *map(_metric, lineage.evaluation),
                    *(_metric(each) | {"slice": stage.name} for stage in lineage.stages for each in stage.evaluation),
                ]
            },
        },
        "properties": [_property(name, value) for name, value in _facts(lineage, signer)],
    }


def _facts(lineage: Lineage, signer: PeerId) -> list[tuple[str, str]]:
    base = lineage.base
    found = [
        ("signer", signer),
        ("run_id", base.run_id),
        ("round", str(base.round)),
        ("record", base.record),
        ("state", base.state),
        ("epoch", str(base.epoch)),
        ("code", lineage.code.digest),
    ]
    if lineage.privacy is not None:
        found += [("epsilon", f"{lineage.privacy.epsilon:.9g}"), ("delta", f"{lineage.privacy.delta:g}")]
    return found


def _data(source: DataSource) -> dict[str, Any]:
    shown = [("commitment", source.artifact_id), ("label", source.visibility), ("quality", source.quality)]
    shown += [("use", use) for use in source.use_constraints]
    shown += [("residency", code) for code in source.residency or ()]
    shown += [("protection", each) for each in source.privacy]
    shown += [("language", source.language)] if source.language else []
    data: dict[str, Any] = {
        "type": "dataset",
        "name": words.source_name(source),
        "classification": source.visibility,
        "contents": {"properties": [_property(name, value) for name, value in shown]},
    }
    if source.owner:
        data["governance"] = {"owners": [{"organization": {"name": source.owner}}]}
    return data


def _metric(measure: Measure) -> dict[str, Any]:
    return {"type": f"{measure.name}{measure.unit and f' ({measure.unit})'}", "value": f"{measure.value:.9g}"}


def _property(name: str, value: str) -> dict[str, str]:
    return {"name": f"tapestry:{name}", "value": value}


def _data_ref(n: int) -> str:
    return f"data-{n}"
