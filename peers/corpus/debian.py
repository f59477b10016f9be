"""The pilot's text from Debian documentation packages, with apt-get and dpkg-deb and without root.

Training text: translated manual pages (de, fr, ja) and LibreOffice's help (ko, vi, id). Held-out: the
installation guide, which exists in all six languages with the same content. Its HTML is read rather than its
plain text, because the plain text is wrapped in the middle of Korean words. Nothing is installed: packages
are unpacked into a scratch folder and thrown away once the text is out.
"""

import gzip
import hashlib
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from peers.corpus import groff, markup
from peers.corpus.store import RawText
from peers.corpus.tool import run_tool
from swarm.errors import DataError

SOURCE = "debian"
VERSION = "1"

_MANUALS = {"de": "manpages-de", "fr": "manpages-fr", "ja": "manpages-ja"}
_HELP = {"ko": "libreoffice-help-ko", "vi": "libreoffice-help-vi", "id": "libreoffice-help-id"}
_GUIDE = "installation-guide-amd64"
_PACKAGES = (*_MANUALS.values(), *_HELP.values(), _GUIDE)

# As the packages' copyright files put it.
_LICENCES = {
    **dict.fromkeys(("de", "fr"), "GPL-3.0-or-later"),
    "ja": "as the original manual pages, all DFSG-free",
    **dict.fromkeys(_HELP, "MPL-2.0"),
}
_MIN_CHARS = {"de": 40, "fr": 40, "vi": 40, "id": 40, "ja": 20, "ko": 20}
"""Shorter paragraphs are labels and tags of lists."""

_UPDATE_TIMEOUT_S = 180.0
_DOWNLOAD_TIMEOUT_S = 600.0
_UNPACK_TIMEOUT_S = 120.0
_APT = (
    "apt-get",
    "--quiet",
    *("-o", "Acquire::Retries=2"),
    *("-o", "Acquire::http::Timeout=20"),
    # When root calls, apt would otherwise drop to a user that may not write into our folders.
    *("-o", "APT::Sandbox::User=root"),
)


def fetch(cache: Path, say: Callable[[str], None]) -> RawText:
    """Downloads the packages and reads their text.

    Raises:
        DataError: apt-get or dpkg-deb is absent or fails, or a package lacks the text expected in it.
    """
    home = cache / SOURCE
    home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=home) as scratch:
        folder = Path(scratch).resolve()
        packages = _download(folder, say)
        for package in packages:
            say(f"Unpacking {package.name.split('_')[0]}")
            run_tool(
                ("dpkg-deb", "-x", str(package), str(folder / "unpacked")),
                folder=folder,
                timeout_s=_UNPACK_TIMEOUT_S,
            )
        return _read(folder / "unpacked", packages, say)


def _download(folder: Path, say: Callable[[str], None]) -> list[Path]:
    """The packages as files: by the system's package lists if they serve, else by lists of our own."""
    say(f"Downloading {len(_PACKAGES)} Debian documentation packages (about 37 MB)")
    try:
        return _apt_download(folder / "by-system-lists", ())
    except DataError:
        say("The system's package lists do not serve; fetching lists of our own")
    options = _own_lists(folder)
    try:
        run_tool((*_APT, *options, "update"), folder=folder, timeout_s=_UPDATE_TIMEOUT_S)
    except DataError as error:
        # One unreachable third-party source fails the whole update; the lists that came may still be enough.
        say(f"Fetching package lists was not without fault ({error})")
    return _apt_download(folder / "by-own-lists", options)


def _apt_download(folder: Path, options: Sequence[str]) -> list[Path]:
    folder.mkdir()
    run_tool((*_APT, *options, "download", *_PACKAGES), folder=folder, timeout_s=_DOWNLOAD_TIMEOUT_S)
    return sorted(folder.glob("*.deb"))


def _own_lists(folder: Path) -> tuple[str, ...]:
    """apt options that keep lists and caches in `folder`."""
    lists, archives = folder / "lists", folder / "cache" / "archives"
    for place in (lists, archives):
        (place / "partial").mkdir(parents=True)
    return ("-o", f"Dir::State::Lists={lists}", "-o", f"Dir::Cache={archives.parent}")


def _read(unpacked: Path, packages: Sequence[Path], say: Callable[[str], None]) -> RawText:
    share = unpacked / "usr" / "share"
    train: dict[str, list[str]] = {}
    held_out: dict[str, list[str]] = {}
    for language in sorted(_LICENCES):
        say(f"Reading {language}")
        if language in _MANUALS:
            pages = _in_mixed_order((share / "man" / language).rglob("*.gz"), share)
            train[language] = [text for page in pages for text in groff.paragraphs(_gunzip(page))]
        else:
            pages = _in_mixed_order((share / "libreoffice" / "help" / language).rglob("*.html"), share)
            train[language] = _html(pages)
        chapters = (share / "doc" / _GUIDE / language).glob("*.html")
        held_out[language] = _html(sorted(chapters, key=_chapter_order))
        for text, package in (
            (train[language], "manual or help"),
            (held_out[language], "installation guide"),
        ):
            if not text:
                raise DataError(f"the Debian packages hold no {package} text in {language!r}")
    versions = ", ".join(" ".join(package.name.split("_")[:2]).replace("%3a", ":") for package in packages)
    return RawText(
        source=SOURCE,
        version=VERSION,
        train=train,
        held_out=held_out,
        licences=_LICENCES,
        min_chars=_MIN_CHARS,
        may_hold_english=True,
        notes=(
            f"Debian packages: {versions}.",
            "Held-out text: the Debian installation guide (GPL-2) in each language.",
            "Paragraphs that nobody translated are left out, in training and held-out text alike.",
        ),
    )


def _in_mixed_order(files: Iterable[Path], root: Path) -> list[Path]:
    """Files in a fixed order unrelated to their names, so that a size limit takes a fair sample."""
    real = (path for path in files if not path.is_symlink())
    return sorted(real, key=lambda path: hashlib.sha256(path.relative_to(root).as_posix().encode()).digest())


def _chapter_order(path: Path) -> tuple[int, str]:
    """Preface, chapters, appendices; anything else (the table of contents) last."""
    prefixes = ("pr", "ch", "ap")
    return (prefixes.index(path.name[:2]) if path.name[:2] in prefixes else len(prefixes), path.name)


def _html(pages: Iterable[Path]) -> list[str]:
    return [text for page in pages for text in markup.paragraphs(page.read_text("utf-8", "replace"))]


def _gunzip(path: Path) -> str:
    return gzip.decompress(path.read_bytes()).decode("utf-8", "replace")
