"""The memory of verified documents: right, and bounded by authors."""

import pytest

from swarm.identity.remembered import Remembered


def test_it_judges_the_same_document_once_and_forgets_an_authors_oldest() -> None:
    judged: list[int] = []

    def double(value: int) -> int:
        judged.append(value)
        return 2 * value

    remembered = Remembered(double, authors=2, each=2)
    assert [remembered("a", value) for value in (1, 1, 2, 1, 3, 2)] == [2, 2, 4, 2, 6, 4]
    assert judged == [1, 2, 3, 2], "2 was a's oldest when 3 came"


def test_an_author_who_is_heard_of_again_pushes_out_one_who_is_not() -> None:
    judged: list[str] = []
    remembered = Remembered(judged.append, authors=2, each=1)
    for author in ("a", "b", "a", "c", "a", "b"):
        remembered(author, author)
    assert judged == ["a", "b", "c", "b"]


def test_what_is_refused_is_judged_again() -> None:
    judged: list[int] = []

    def refuse(value: int) -> None:
        judged.append(value)
        raise ValueError(value)

    remembered = Remembered(refuse, authors=2, each=2)
    for _ in range(2):
        with pytest.raises(ValueError):
            remembered("a", 7)
    assert judged == [7, 7]


def test_an_author_nobody_asks_about_is_forgotten_while_those_who_are_there_stay() -> None:
    judged: list[str] = []
    remembered = Remembered(judged.append, authors=4096, each=2)
    for number in range(200):
        remembered(f"gone {number}", "once")
        for _ in range(20):
            for author in ("a", "b", "c"):
                remembered(author, author)
    assert len(remembered) < 50, "as many as there are, and those that left lately"
    assert [author for author in judged if author != "once"] == ["a", "b", "c"]
