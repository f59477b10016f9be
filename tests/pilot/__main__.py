"""`make pilot`: four rounds of the pilot, every region's own model, and the report in headless Chromium.

    python -m tests.pilot [--out DIR]

The command is the one that a person types. Then: all peers hold one base; every region has a model, all stages of which
the gate let pass, which is better than the Shared Base in its own languages and is signed down to the charter; nothing
of what was kept is in a peer's folder, and no ledger has changed since. The page is looked at wide and at 390 px, light
and dark; --out keeps the pictures. Needs a Chromium on the PATH and installs none.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import fmean
from typing import Any

from tests.screens import chromium
from tests.screens.checks import CONTRAST

ROUNDS = 4
LIMIT_S = 1800.0
LEAST_GAIN = 0.01
"""Bits per byte that an own model saves in its own languages, on the average."""
SHOTS = (("wide", 1280, False), ("wide-dark", 1280, True), ("390", 390, False), ("390-dark", 390, True))
HEIGHT = 900
SIDEWAYS = """[...document.querySelectorAll('main *')].filter(box => !box.closest('.scroll') &&
  box.getBoundingClientRect().right > innerWidth + 1).map(box => box.tagName)"""
"""What sticks out of the window; tables scroll in boxes of their own."""


def main() -> int:
    arguments = argparse.ArgumentParser(prog="python -m tests.pilot", description=__doc__)
    arguments.add_argument("--out", type=Path, help="folder for pictures of the page")
    pictures: Path | None = arguments.parse_args().out
    executable = chromium.find()
    if executable is None:
        print(f"pilot: {chromium.MISSING}", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "pilot"
        document = run(folder)
        check(document, folder)
        with chromium.Browser(executable) as browser:
            for shot, width, dark in SHOTS:
                png = look(browser, folder / "report.html", width, dark=dark)
                if pictures is not None:
                    pictures.mkdir(parents=True, exist_ok=True)
                    (pictures / f"report-{shot}.png").write_bytes(png)
            assert not browser.problems, browser.problems
    own = document["sovereign"]
    print(f"pilot: {document['seconds']:.0f} s, {own['seconds']:.0f} of them for own models; all is as it should be")
    return 0


def run(folder: Path) -> dict[str, Any]:
    """The document that the command prints."""
    words = ["demo", "--build", "--json", "--rounds", str(ROUNDS), "--out", str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    ran = subprocess.run(
        [sys.executable, "-m", "peers", *words],
        stdout=subprocess.PIPE,
        env=environment,
        timeout=LIMIT_S,
        check=True,
    )
    return json.loads(ran.stdout)


def check(document: dict[str, Any], folder: Path) -> None:
    """Everything that the document says of own models is as it should be, and lies where it says."""
    assert document["rounds_committed"] == ROUNDS
    assert len(set(document["base_digests"].values())) == 1
    own = document["sovereign"]
    assert set(own["models"]) == set(own["left"]) == {"eu", "east-asia", "southeast-asia"}
    assert set(own["bits_per_byte"]) == set(document["bits_per_byte"])
    for language, score in own["bits_per_byte"].items():
        shared = document["bits_per_byte"][language]["shared"]
        assert abs(score["shared"] - shared) < 1e-4, f"{language}: the pilot and the builds measure the same base"
    for region, model in own["models"].items():
        stages = model["stages"]
        assert [stage["name"] for stage in stages] == ["cpt", "sft", "dpo"], region
        assert {stage["verdict"] for stage in stages} == {"accepted"}, region
        assert len({stage["isolation"] for stage in stages}) == 1, region
        assert {stage["label"] for stage in stages} == {"private"}, region
        saved = [
            own["bits_per_byte"][language]["shared"] - own["bits_per_byte"][language]["sovereign"][region]
            for language in model["own"]
        ]
        assert fmean(saved) > LEAST_GAIN, (region, saved)
        lineage = model["lineage"]
        assert lineage["records"] == lineage["means"] == lineage["round"] == ROUNDS, region
        assert lineage["is_base"] and lineage["state"] in document["base_digests"].values(), region
        assert (Path(model["build"]) / "model" / "model.safetensors").is_file(), region
        ledgers = own["left"][region]["ledgers"]
        for ledger in ledgers.values():
            assert ledger["before"] == ledger["after"] and ledger["verdict"] == "witnessed", region
        sent = sum(sum(document["bytes_sent"][peer].values()) for peer in ledgers)
        assert sum(own["left"][region]["by_place"].values()) == sum(own["left"][region]["by_kind"].values()) == sent
    kept = {line for path in folder.glob("sovereign/*/data/private/*.txt") for line in path.read_bytes().splitlines()}
    given = {line for path in folder.glob("data/*/*.txt") for line in path.read_bytes().splitlines()}
    assert kept and given and not kept & given, "what is kept is in no peer's folder"


def look(browser: chromium.Browser, path: Path, width: int, *, dark: bool) -> bytes:
    """A picture of the whole page, after it was found legible."""
    browser.open(path.as_uri(), width, HEIGHT, dark=dark)
    browser.wait_for("document.readyState === 'complete' && document.querySelector('svg.lineage')")
    browser.read("document.querySelectorAll('details').forEach(each => { each.open = true })")
    assert browser.read("document.documentElement.scrollWidth") <= width
    assert browser.read(SIDEWAYS) == []
    faint = browser.read(CONTRAST)
    assert not faint, f"too little contrast: {faint}"
    overflowing = browser.read(OVERFLOWING)
    assert not overflowing, f"text wider than its box: {overflowing}"
    return browser.picture(whole=True)


OVERFLOWING = """(() => {
  const boxes = [...document.querySelectorAll('svg.lineage rect')].map(each => each.getBBox());
  return [...document.querySelectorAll('svg.lineage text')].filter(text => {
    const a = text.getBBox();
    return !boxes.some(b => a.x >= b.x && a.x + a.width <= b.x + b.width && a.y >= b.y && a.y <= b.y + b.height);
  }).map(text => text.textContent);
})()"""
"""Words of the drawing that are in no box."""


if __name__ == "__main__":
    sys.exit(main())
