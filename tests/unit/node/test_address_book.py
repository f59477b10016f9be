"""Remembered addresses: what was signed by whom it names, a bounded number of them, whole on disk or not there."""

import asyncio
from pathlib import Path

import msgspec
import pytest

from swarm.charter import passport as passports
from swarm.charter.passport import issue
from swarm.identity.key import Identity
from swarm.net import wire
from swarm.node.address_book import MAX_REMEMBERED, AddressBook, Remembering
from swarm.state.run import Run
from tests.simulation import CREATED_S, MEMBER_KEYS, make_charter, peer_identity

RUN = Run(make_charter(3))
NOW_S = CREATED_S + 1000.0
ME = peer_identity(0).peer_id


def announced(number: int, *, at: float = NOW_S, **changes: object) -> bytes:
    identity = peer_identity(number)
    passport = issue(MEMBER_KEYS[0], RUN.charter, identity.peer_id, "DE", CREATED_S + 10**7, CREATED_S)
    entry = wire.Announcement(
        run_id=RUN.id,
        peer=identity.peer_id,
        region="eu",
        passport=passports.encode(passport),
        addresses=(address(number),),
        round=3,
        tokens=0,
        tokens_per_s=0.0,
        phase="training",
        at=at,
        dialable=True,
        relays=(),
    )
    return wire.encode_sealed(wire.seal(identity, msgspec.structs.replace(entry, **changes)))


def address(number: int, port: int = 4001) -> str:
    return f"/ip4/127.0.0.1/tcp/{port}/p2p/{peer_identity(number).peer_id}"


def book_at(path: Path, said: list[str] | None = None) -> AddressBook:
    book = AddressBook(path, ME, (said if said is not None else []).append)
    book.open(RUN)
    return book


def ways(book: AddressBook) -> dict[str, list[str]]:
    return {peer: [str(address) for address in addresses] for peer, addresses in book.ways().items()}


def saved(book: AddressBook) -> None:
    asyncio.run(book.save())


def test_an_empty_folder_remembers_nobody(tmp_path: Path) -> None:
    book = book_at(tmp_path / "addresses")
    saved(book)
    assert (book.ways(), book.port) == ({}, 0)
    assert not (tmp_path / "addresses").exists(), "nothing to write"


def test_who_was_met_is_remembered_across_restarts_and_long_after(tmp_path: Path) -> None:
    book = book_at(tmp_path / "addresses")
    book.learn([announced(1), announced(2, at=NOW_S + 5), announced(0)], RUN, NOW_S)
    book.use_port(4711)
    saved(book)
    again = book_at(tmp_path / "addresses")
    assert list(ways(again).values()) == [[address(2)], [address(1)]], "heard of last, dialled first; not itself"
    assert again.port == 4711


def test_the_newest_address_counts_and_only_news_is_written(tmp_path: Path) -> None:
    path = tmp_path / "addresses"
    book = book_at(path)
    moved = (address(1, 5005),)
    book.learn([announced(1)], RUN, NOW_S)
    saved(book)
    written_ns = path.stat().st_mtime_ns
    book.learn([announced(1, at=NOW_S + 5)], RUN, NOW_S)
    saved(book)
    assert path.stat().st_mtime_ns == written_ns, "a fresh announcement with the old address is no news"
    book.learn([announced(1, at=NOW_S + 9, addresses=moved), announced(1, at=NOW_S + 6)], RUN, NOW_S)
    saved(book)
    assert list(ways(book_at(path)).values()) == [list(moved)]


def test_who_says_goodbye_stays_where_it_was_met(tmp_path: Path) -> None:
    book = book_at(tmp_path / "addresses")
    book.learn([announced(1)], RUN, NOW_S)
    book.learn([announced(1, at=NOW_S + 1, phase="leaving", addresses=()), announced(2, phase="leaving")], RUN, NOW_S)
    assert list(ways(book).values()) == [[address(1)]]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"rubbish", id="no frame"),
        pytest.param(announced(1)[:-1], id="cut off"),
        pytest.param(announced(1, run_id="0" * 64), id="another run"),
        pytest.param(announced(1, peer=peer_identity(2).peer_id), id="in another's name"),
        pytest.param(announced(1, addresses=()), id="no address"),
        pytest.param(announced(1, at=NOW_S - 10_000), id="old already when it was found"),
    ],
)
def test_what_does_not_hold_is_not_learned(tmp_path: Path, data: bytes) -> None:
    book = book_at(tmp_path / "addresses")
    book.learn([data], RUN, NOW_S)
    assert book.ways() == {}


def test_addresses_that_lead_elsewhere_are_not_dialled(tmp_path: Path) -> None:
    book = book_at(tmp_path / "addresses")
    good = address(1)
    book.learn([announced(1, addresses=("nonsense", address(2), good))], RUN, NOW_S)
    assert ways(book) == {peer_identity(1).peer_id: [good]}


def test_the_book_is_bounded_and_the_long_gone_make_room(tmp_path: Path) -> None:
    book = book_at(tmp_path / "addresses")
    book.learn([announced(number) for number in range(1, MAX_REMEMBERED + 5)], RUN, NOW_S)
    assert len(book.ways()) == MAX_REMEMBERED
    late = MAX_REMEMBERED + 9
    book.learn([announced(late, at=NOW_S + 30)], RUN, NOW_S)
    assert peer_identity(late).peer_id not in book.ways(), "all others were heard of half a minute ago"
    book.learn([announced(late, at=NOW_S + 100)], RUN, NOW_S)
    assert peer_identity(late).peer_id in book.ways() and len(book.ways()) == MAX_REMEMBERED
    saved(book)
    assert (tmp_path / "addresses").stat().st_size < MAX_REMEMBERED * wire.MAX_ANNOUNCEMENT_BYTES


def test_a_damaged_file_is_said_and_written_anew(tmp_path: Path) -> None:
    path = tmp_path / "addresses"
    book = book_at(path)
    book.learn([announced(1)], RUN, NOW_S)
    saved(book)
    path.write_bytes(path.read_bytes()[:-20])
    said: list[str] = []
    book = book_at(path, said)
    assert book.ways() == {} and len(said) == 1 and "addresses" in said[0]
    book.learn([announced(1)], RUN, NOW_S)
    saved(book)
    assert len(book_at(path).ways()) == 1


def test_entries_somebody_wrote_into_the_file_are_verified_again(tmp_path: Path) -> None:
    path = tmp_path / "addresses"
    other = wire.seal(Identity.generate(), wire.unseal(wire.decode(announced(1), wire.Sealed), wire.Announcement))
    path.write_bytes(
        msgspec.msgpack.encode({"port": 1, "announcements": [wire.encode_sealed(other), b"", announced(2, at=0.0)]})
    )
    assert ways(book_at(path)) == {peer_identity(2).peer_id: [address(2)]}


def test_the_book_learns_from_every_look_into_the_directory() -> None:
    class Directory:
        async def announce(self, sealed: bytes, lifetime_s: float) -> None:
            heard.append((sealed, lifetime_s))

        async def announcements(self) -> tuple[bytes, ...]:
            return (b"one",)

    heard: list[object] = []
    remembering = Remembering(Directory(), heard.append)

    async def main() -> None:
        await remembering.announce(b"mine", 30.0)
        assert await remembering.announcements() == (b"one",)

    asyncio.run(main())
    assert heard == [(b"mine", 30.0), (b"one",)]
