"""A run that began from an open-weights folder: what is signed or taken along of it has its tokenizer to build on."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from peers.build.record import BASE_FOLDER
from peers.ecosystem.tokenizer import tokenizer_digest_of, tokenizer_files
from peers.leaving.check import check_bundle
from peers.leaving.contents import Piece
from peers.leaving.write import Extras, write_bundle
from peers.lineage.history import read_run
from peers.lineage.subjects import STATEMENT_NAME
from swarm.errors import LineageError
from tests.build.ground import ROUNDS, Member, make_state
from tests.ecosystem.checkpoints import make_checkpoint
from tests.leaving.test_bundle import tapestry
from tests.lineage.folders import ME


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("adopted") / "checkpoint")


@pytest.fixture(scope="module")
def played(checkpoint: Path) -> Path:
    """A peer's state folder with the tokenizer that it was given; no test may change it."""
    make_state(checkpoint.parent / "state", ROUNDS, checkpoint)
    return checkpoint.parent / "state"


@pytest.fixture
def kept(played: Path, tmp_path: Path) -> Path:
    """The same, to be changed."""
    return Path(shutil.copytree(played, tmp_path / "state"))


@pytest.fixture
def older(kept: Path) -> Path:
    """As a peer of an earlier version has left it: the tokenizer lies beside the Shared Base, and nowhere else."""
    (kept / "tokenizer").rename(kept / "shared-base")
    return kept


@pytest.fixture
def key(tmp_path: Path) -> Path:
    ME.save(tmp_path / "peer.key")
    return tmp_path / "peer.key"


def is_built_on(base: Path, member: Member, build: Path, checkpoint: Path) -> None:
    """Whether a build begins on it, in the run's tokens."""
    tapestry("build", "new", build, "--base", base, "--data", member.folder, "--jurisdiction", "DE")
    assert tokenizer_digest_of(build / BASE_FOLDER) == tokenizer_digest_of(checkpoint)


@pytest.mark.parametrize("folder", ["kept", "older"])
@pytest.mark.parametrize("scored", [False, True])
def test_a_signed_base_is_built_on(
    folder: str,
    scored: bool,
    request: pytest.FixtureRequest,
    checkpoint: Path,
    key: Path,
    member: Member,
    tmp_path: Path,
) -> None:
    state: Path = request.getfixturevalue(folder)
    words = ("--data", member.folder) if scored else ()
    for _ in range(2):
        tapestry("lineage", "sign", "--state", state, "--identity", key, *words)
    assert tokenizer_digest_of(state / "shared-base") == tokenizer_digest_of(checkpoint)
    assert not (state / "shared-base.before-2").exists(), "what is right is signed again as it lies"
    assert "the weights are the base, bit for bit" in tapestry("lineage", "verify", state, "--state", state)
    is_built_on(state, member, tmp_path / "on-state", checkpoint)
    is_built_on(state / "shared-base", member, tmp_path / "on-export", checkpoint)


@pytest.mark.parametrize("folder", ["kept", "older"])
def test_what_was_taken_along_is_built_on(
    folder: str, request: pytest.FixtureRequest, checkpoint: Path, key: Path, member: Member, tmp_path: Path
) -> None:
    state: Path = request.getfixturevalue(folder)
    bundle, back, run_id = tmp_path / "bundle.tar", tmp_path / "back", read_run(state, None).id
    tapestry("exit", state, "--out", bundle, "--identity", key)
    tapestry("exit", "restore", bundle, "--run-id", run_id, "--out", back)
    for name in ("shared-base", "tokenizer"):
        assert tokenizer_digest_of(back / "state" / name) == tokenizer_digest_of(checkpoint)
    guide = (back / "HOW_TO_RESTORE.md").read_text()
    assert "--adopt FOLDER/state/tokenizer\n" in guide and "| `state/tokenizer/` |" in guide
    is_built_on(back / "state", member, tmp_path / "on-state", checkpoint)
    shutil.rmtree(back / "state" / "tokenizer")
    is_built_on(back / "state" / "shared-base", member, tmp_path / "on-export", checkpoint)


def test_a_base_signed_without_a_tokenizer_is_not_taken_along_as_it_is(kept: Path, checkpoint: Path, key: Path) -> None:
    """Such as an earlier version has signed."""
    tapestry("lineage", "sign", "--state", kept, "--identity", key)
    for name in tokenizer_files(kept / "shared-base"):
        (kept / "shared-base" / name).unlink()
    write_bundle(kept, kept.parent / "bundle.tar", ME, Extras(), at=0.0)
    into = kept.parent / "into"
    into.mkdir()
    check_bundle(kept.parent / "bundle.tar", read_run(kept, None).id, (), into)
    assert tokenizer_digest_of(into / "state" / "shared-base") == tokenizer_digest_of(checkpoint)


def test_without_the_tokenizer_it_is_said_where_it_goes(kept: Path, key: Path, member: Member, tmp_path: Path) -> None:
    tapestry("lineage", "sign", "--state", kept, "--identity", key)
    signed = (kept / "shared-base" / STATEMENT_NAME).read_bytes()
    shutil.rmtree(kept / "tokenizer")
    (kept / "shared-base" / "tokenizer.json").write_text("{}")
    commands = (
        ("lineage", "sign", "--state", kept, "--identity", key),
        ("exit", kept, "--out", tmp_path / "bundle.tar", "--identity", key),
        ("build", "new", tmp_path / "build", "--base", kept, "--data", member.folder),
    )
    for words in commands:
        said = tapestry(*words, code=1)
        assert "copy its files from the checkpoint" in said and f"to {kept / 'tokenizer'}" in said
    assert (kept / "shared-base" / STATEMENT_NAME).read_bytes() == signed and not list(kept.glob("shared-base?*"))
    assert not (tmp_path / "bundle.tar").exists() and not (tmp_path / "build").exists()


@pytest.fixture
def put_in(monkeypatch: pytest.MonkeyPatch) -> Callable[[Sequence[Piece]], None]:
    """Bundles then have these pieces in the place of the tokenizer, and no model."""

    def put(pieces: Sequence[Piece]) -> None:
        monkeypatch.setattr("peers.leaving.write.tokenizer_pieces", lambda state, digest: list(pieces))
        monkeypatch.setattr("peers.leaving.write.sign_state", lambda *_, folder, **__: folder.mkdir())

    return put


def test_another_tokenizer_in_a_bundle_is_found(
    kept: Path, tmp_path: Path, put_in: Callable[[Sequence[Piece]], None]
) -> None:
    put_in([Piece.of("state/tokenizer/tokenizer.json", b"{}")])
    with pytest.raises(LineageError, match="state/tokenizer is not the tokenizer that the charter names"):
        write_bundle(kept, tmp_path / "bundle.tar", ME, Extras(), at=0.0)


def test_a_bundle_of_an_earlier_version_still_holds(
    kept: Path, tmp_path: Path, put_in: Callable[[Sequence[Piece]], None]
) -> None:
    """It has no tokenizer."""
    put_in([])
    assert write_bundle(kept, tmp_path / "bundle.tar", ME, Extras(), at=0.0).round == ROUNDS
