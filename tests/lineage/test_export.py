"""Exports: what a statement says in others' formats, each by its own schema, and nothing that is on no record."""

import json
from pathlib import Path

import msgspec
import pytest

from peers.lineage import cyclonedx, spdx
from peers.lineage.statement import Measure
from peers.lineage.verify import read_statement
from swarm.errors import LineageError
from tests.lineage.folders import ROUNDS, SECRET_NAME
from tests.lineage.test_verify import flip, rewritten, signed, tapestry, with_lineage


@pytest.fixture
def model(state: Path, key: Path) -> Path:
    rewritten(signed(state, key, "--tier", "consortium"), with_lineage(evaluation=(Measure(name="bpb", value=3.5),)))
    return state


def exported(model: Path, form: str, out: Path) -> str:
    tapestry("lineage", "export", model, "--format", form, "--out", out)
    text = out.read_text()
    assert SECRET_NAME not in text
    return text


def test_spdx_is_read_back_by_its_own_classes(model: Path, tmp_path: Path) -> None:
    from spdx_python_model import load_data, v3_0_1

    _, objects = load_data(json.loads(exported(model, "spdx", tmp_path / "m.spdx.json")))
    (package,) = objects.foreach_type(v3_0_1.ai_AIPackage)
    assert "Shared Base of round 5" in package.name and package.ai_metric[0].value == "3.5"
    data = list(objects.foreach_type(v3_0_1.dataset_DatasetPackage))
    assert len(data) == 2
    kinds = {each.relationshipType.rpartition("/")[2] for each in objects.foreach_type(v3_0_1.Relationship)}
    assert {"trainedOn", "descendantOf", "contains", "hasDeclaredLicense"} <= kinds


def test_cyclonedx_has_the_card_and_the_data(model: Path, tmp_path: Path) -> None:
    bom = json.loads(exported(model, "cyclonedx", tmp_path / "m.cdx.json"))
    component = bom["metadata"]["component"]
    assert component["type"] == "machine-learning-model" and bom["specVersion"] == "1.6"
    assert component["modelCard"]["quantitativeAnalysis"]["performanceMetrics"][0] == {"type": "bpb", "value": "3.5"}
    assert {each["ref"] for each in component["modelCard"]["modelParameters"]["datasets"]} == {"data-0", "data-1"}


def test_the_eu_summary_invents_nothing(model: Path, tmp_path: Path) -> None:
    text = exported(model, "eu-summary", tmp_path / "m.md")
    assert "CC0-1.0" in text and text.count("not known") > 12
    summary = json.loads(exported(model, "eu-summary", tmp_path / "m.json"))["summary"]
    general = summary["1. General information"]
    told = read_statement(model / "shared-base" / "statement.dsse.json")[1].predicate.rounds
    tokens = sum(seat.tokens for span in told for seat in span.roster)
    assert tokens > 0 and general["training data size"].startswith(f"{tokens:,} tokens in {ROUNDS} rounds")
    assert general["languages of the data"] == "de" and summary["2. Data source 1"]["language"] == "de"
    assert {"1. General information", "2. List of data sources", "3. Relevant aspects of data processing"} <= set(
        summary
    )


def test_the_public_tier_says_what_it_does_not_show(state: Path, key: Path, tmp_path: Path) -> None:
    signed(state, key)
    text = exported(state, "eu-summary", tmp_path / "m.md")
    assert "not shown to the public tier" in text and "CC0-1.0" not in text
    assert "| languages of the data | not shown to the public tier" in text


def test_what_does_not_hold_is_not_exported(model: Path, tmp_path: Path) -> None:
    flip(model / "shared-base" / "base.safetensors", -1)
    cause = tapestry("lineage", "export", model, "--format", "spdx", "--out", tmp_path / "m.json", code=1)
    assert "is not the file that was signed" in cause and not (tmp_path / "m.json").exists()
    tapestry("lineage", "export", model, "--format", "csv", "--out", tmp_path / "m.json", code=2)


def test_the_schemas_do_judge(model: Path, tmp_path: Path) -> None:
    bom = json.loads(exported(model, "cyclonedx", tmp_path / "m.cdx.json"))
    bom["metadata"]["component"]["modelCard"]["approach"] = "none"
    with pytest.raises(LineageError, match="CycloneDX"):
        cyclonedx.validate(json.dumps(bom))
    document = json.loads(exported(model, "spdx", tmp_path / "m.spdx.json"))
    document["@graph"] = [each for each in document["@graph"] if not each.get("spdxId", "").endswith(":signer")]
    with pytest.raises(LineageError, match="speaks of what is not in it"):
        spdx.validate(msgspec.json.encode(document))
    for each in document["@graph"]:
        if each["type"] == "Relationship":
            del each["to"]
    with pytest.raises(LineageError, match="does not hold"):
        spdx.validate(msgspec.json.encode(document))
