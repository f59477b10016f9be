"""A statement as SPDX 3.0.1, made of the published model's own classes, as JSON-LD.

The model is an `ai_AIPackage` with its files, each data set a `dataset_DatasetPackage`, parents are packages that it
descends from. Those classes carry the specification's SHACL constraints (types, cardinalities, patterns) and check them
both when the document is written and when it is read back, which is done before anybody gets it.

The document claims conformance with the core, software and AI profiles. The Dataset profile also asks when data was
built and what kind it is, which no record here says: its classes are used, its conformance is not claimed.
"""

import json
from collections.abc import Mapping
from io import BytesIO
from typing import Any

from peers.lineage import words
from peers.lineage.code import DISTRIBUTION
from peers.lineage.statement import DataSource, Statement
from swarm.errors import LineageError
from swarm.identity.peer_id import PeerId

SPEC_VERSION = "3.0.1"
_CONFIDENTIALITY = {"open": "clear", "controlled": "green", "sovereign": "amber", "private": "red"}
"""The traffic light protocol's colours, as the Dataset profile uses them."""

_NO_LICENCE_STATED = "https://spdx.org/rdf/3.0.1/terms/ExpandedLicensing/NoAssertionLicense"


def document(statement: Statement, signer: PeerId) -> bytes:
    """The JSON-LD document, validated.

    Raises:
        UsageError: spdx-python-model is not installed.
        LineageError: the document breaks a constraint.
    """
    try:
        from spdx_python_model import v3_0_1 as spdx
    except ModuleNotFoundError:
        raise words.needs("spdx-python-model") from None
    data = BytesIO()
    try:
        objects = _Document(spdx, statement, signer).objects()
        spdx.JSONLDSerializer().write(objects, data, indent=2)
    except (ValueError, TypeError) as error:
        raise LineageError(f"the statement cannot be told in SPDX: {error}") from None
    validate(data.getvalue())
    return data.getvalue() + b"\n"


def validate(data: bytes) -> None:
    """Reads a document as any consumer would, and writes it again: types are checked by the one, what must be there by
    the other. Raises LineageError with the constraint it breaks."""
    from spdx_python_model import LoadError, load_data

    try:
        model, objects = load_data(json.loads(data))
        missing = objects.link()
        model.JSONLDSerializer().write(objects, BytesIO())
    except (LoadError, ValueError, TypeError, KeyError) as error:
        raise LineageError(f"the SPDX document does not hold: {error}") from None
    if missing:
        raise LineageError(f"the SPDX document speaks of what is not in it: {min(missing)}")


class _Document:
    """Makes the elements of one document; ids follow from the model's digest."""

    def __init__(self, spdx: Any, statement: Statement, signer: PeerId) -> None:
        self._spdx = spdx
        self._statement = statement
        self._lineage = statement.predicate
        self._place = f"urn:tapestry-swarm:spdx:{words.fingerprint(statement)}"
        self._created = words.made_at(self._lineage)
        self._info = spdx.CreationInfo(specVersion=SPEC_VERSION, created=self._created)
        self._signer = self._element(
            spdx.Agent,
            "signer",
            {"name": signer},
        )
        tool = self._element(
            spdx.Tool,
            "tool",
            {"name": f"{DISTRIBUTION} {self._lineage.code.version}"},
        )
        self._info.createdBy = [self._signer]
        self._info.createdUsing = [tool]
        self._elements = [self._signer, tool]

    def objects(self) -> Any:
        spdx, lineage = self._spdx, self._lineage
        model = self._keep(
            spdx.ai_AIPackage,
            "model",
            {
                "name": words.model_name(lineage),
                "description": words.training(lineage),
                "suppliedBy": self._signer,
                "originatedBy": [self._signer],
                "releaseTime": self._created,
                "software_packageVersion": words.model_version(lineage),
                # There is no place on the web: whoever has the run's records gets it from peers by this digest.
                "software_downloadLocation": f"urn:tapestry-swarm:model:{words.fingerprint(self._statement)}",
                "software_primaryPurpose": spdx.software_SoftwarePurpose.model,
                "ai_informationAboutTraining": words.training(lineage),
                "ai_typeOfModel": ["causal language model"],
                "ai_metric": [
                    spdx.DictionaryEntry(key=each.name, value=f"{each.value:.9g}") for each in lineage.evaluation
                ],
            },
        )
        for kind in ("hasConcludedLicense", "hasDeclaredLicense"):  # the AI profile asks for both
            self._relate(kind, model, kind, [_NO_LICENCE_STATED])
        self._add_files(model)
        self._add_parents(model)
        self._add_data(model)
        profiles = spdx.ProfileIdentifierType
        bom = self._keep(
            spdx.software_Sbom,
            "bom",
            {
                "rootElement": [model],
                "element": list(self._elements),
                "profileConformance": [profiles.core, profiles.software, profiles.ai, profiles.simpleLicensing],
            },
        )
        self._keep(
            spdx.SpdxDocument,
            "document",
            {
                "name": words.model_name(lineage),
                "rootElement": [bom],
                "element": list(self._elements),
                "profileConformance": [profiles.core, profiles.software, profiles.ai, profiles.simpleLicensing],
            },
        )
        objects = spdx.SHACLObjectSet()
        objects.add(self._info)
        for element in self._elements:
            objects.add(element)
        return objects

    def _add_files(self, model: Any) -> None:
        files = [
            self._keep(
                self._spdx.software_File,
                f"file-{n}",
                {"name": subject.name, "verifiedUsing": self._hashes(subject.digest)},
            )
            for n, subject in enumerate(self._statement.subject)
        ]
        self._relate("files", model, "contains", files)

    def _add_parents(self, model: Any) -> None:
        packages = [
            self._keep(
                self._spdx.software_Package,
                f"parent-{n}",
                {
                    "name": parent.name,
                    "software_primaryPurpose": self._spdx.software_SoftwarePurpose.model,
                    "comment": f"{parent.relation}; "
                    + ", ".join(f"{key} {value}" for key, value in parent.digest.items()),
                },
            )
            for n, parent in enumerate(self._lineage.parents)
        ]
        self._relate("parents", model, "descendantOf", packages)

    def _add_data(self, model: Any) -> None:
        spdx = self._spdx
        packages: list[Any] = []
        for n, source in enumerate(self._lineage.data):
            package = self._keep(
                spdx.dataset_DatasetPackage,
                f"data-{n}",
                {
                    "name": words.source_name(source),
                    "comment": f"known by the salted commitment {source.artifact_id}; label {source.visibility}",
                    "dataset_datasetType": [spdx.dataset_DatasetType.text],
                    "dataset_confidentialityLevel": getattr(
                        spdx.dataset_ConfidentialityLevelType, _CONFIDENTIALITY[source.visibility]
                    ),
                    "dataset_intendedUse": ", ".join(source.use_constraints),
                    "software_primaryPurpose": spdx.software_SoftwarePurpose.data,
                },
            )
            self._add_licence(n, package, source)
            packages.append(package)
        if packages:
            self._relate("data", model, "trainedOn", packages)

    def _add_licence(self, n: int, package: Any, source: DataSource) -> None:
        texts = [{"name": text, "simplelicensing_licenseText": text} for text in source.rights]
        kind = self._spdx.simplelicensing_SimpleLicensingText
        licences = [self._keep(kind, f"licence-{n}-{m}", fields) for m, fields in enumerate(texts)]
        if licences:
            self._relate(f"licences-{n}", package, "hasDeclaredLicense", licences)

    def _hashes(self, digests: dict[str, str]) -> list[Any]:
        algorithms = self._spdx.HashAlgorithm
        return [
            self._spdx.Hash(algorithm=getattr(algorithms, name), hashValue=value) for name, value in digests.items()
        ]

    def _relate(self, name: str, start: Any, kind: str, to: list[Any]) -> None:
        kinds = self._spdx.RelationshipType
        self._keep(
            self._spdx.Relationship,
            f"relation-{name}",
            {
                "from_": start,
                "relationshipType": getattr(kinds, kind),
                "to": to,
            },
        )

    def _keep(self, kind: Any, place: str, fields: Mapping[str, Any]) -> Any:
        element = self._element(kind, place, fields)
        self._elements.append(element)
        return element

    def _element(self, kind: Any, place: str, fields: Mapping[str, Any]) -> Any:
        element = kind(spdxId=f"{self._place}:{place}")
        element.creationInfo = self._info
        for field, value in fields.items():
            setattr(element, field, value)  # each is checked as it is set, with its name in the message
        return element
