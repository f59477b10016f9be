"""The pilot's report on made-up numbers: what it concludes and shows, and that nothing gets in unescaped."""

import re
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest

from peers.demo import plots, summary
from peers.demo.report import headline, write_report
from peers.demo.result import LanguageScore, PrivacyOfRun, Result, RoundRecord

EU, ASIA, SEA, LATE = (f"12D3KooW{name * 11}" for name in ("EuEu", "JpKr", "ViId", "Late"))
DIGEST = "ab" * 32
PNG = b"\x89PNG\r\n\x1a\n"


def made_up(rounds: int = 12) -> Result:
    """A run of plausible shape: `SEA` is killed before round 5, `LATE` joins in round 8."""

    def roster(number: int) -> tuple[str, ...]:
        return (EU, ASIA, *((SEA,) if number < 5 else ()), *((LATE,) if number >= 8 else ()))

    def losses(peer: str, high: float) -> tuple[tuple[int, float], ...]:
        return tuple(
            (n, high / (1 + 0.18 * n) + 1.4 + 0.1 * (n % 3)) for n in range(1, rounds + 1) if peer in roster(n)
        )

    alone = {"eu": 4.1, "east-asia": 7.4, "southeast-asia": 6.2}
    scores = {
        language: LanguageScore(
            untrained=8.05,
            shared=3.6 + 0.12 * place,
            alone={region: value - (1.1 if home == region else 0) + place / 7 for region, value in alone.items()},
        )
        for place, (language, home) in enumerate(
            {
                "de": "eu",
                "fr": "eu",
                "ja": "east-asia",
                "ko": "east-asia",
                "vi": "southeast-asia",
                "id": "southeast-asia",
            }.items()
        )
    }
    return Result(
        rounds_committed=rounds,
        base_digests={EU: DIGEST, ASIA: DIGEST, LATE: DIGEST},
        corpus="debian",
        bits_per_byte=scores,
        bytes_sent={
            peer: {
                "chunk": 4_100_000 // share,
                "result": 3_900_000 // share,
                "vote": 21_300,
                "join": 9_800 * share,
            }
            | ({"state": 5_200_000} if peer == EU else {})
            for peer, share in ((EU, 1), (ASIA, 1), (SEA, 3), (LATE, 2))
        },
        report="report.html",
        seconds=251.3,
        regions={EU: "eu", ASIA: "east-asia", SEA: "southeast-asia", LATE: "southeast-asia"},
        notes=(
            "min_contributors = 1: single updates crossed borders.",
            "Trainer isolation: network namespace.",
        ),
        killed=SEA,
        joined=LATE,
        settings={"rounds": rounds, "seed": 7, "inner_steps": 10, "codec": "int8", "parameters": 624_768},
        loss={EU: losses(EU, 4.0), ASIA: losses(ASIA, 3.4), SEA: losses(SEA, 4.4), LATE: losses(LATE, 4.0)},
        rounds=tuple(
            RoundRecord(
                round=number,
                attempt=2 if number == 5 else 1,
                contributors=roster(number),
                peers=roster(number),
                seconds=12.0 + (number * 7 % 5) + (6 if number == 5 else 0),
                form_s=0.6 + (2.5 if number == 5 else 0),
                reduce_s=1.4 + (number % 3) / 4,
                state_digest=f"{number:064x}",
            )
            for number in range(1, rounds + 1)
        ),
        held_out_curve=tuple((number, 8.05 / (1 + 0.1 * number)) for number in range(rounds + 1)),
    )


def document(result: Result) -> dict[str, object]:
    return msgspec.to_builtins(result)


class Outline(HTMLParser):
    """Text of a page, addresses it refers to, and whether its tags are balanced."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text = ""
        self.addresses: list[str] = []
        self.open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [value or "" for name, value in attrs if name in {"src", "srcset", "href"}]
        if tag not in {"meta", "img", "source", "br"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text += data


def readable(path: Path) -> str:
    """The page's text with plain spaces."""
    return Outline(path.read_text("utf-8")).text.replace("\N{NO-BREAK SPACE}", " ")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("out")
    ledger = folder / "peers" / EU / "ledger.jsonl"
    ledger.parent.mkdir(parents=True)
    ledger.write_text("")
    return write_report(document(made_up()), folder)


def test_the_page_is_whole_and_self_contained(written: Path) -> None:
    outline = Outline(written.read_text("utf-8"))
    assert outline.open == []
    outside = [a for a in outline.addresses if not a.startswith("data:image/png;base64,")]
    assert outside == [f"peers/{EU}/ledger.jsonl"]
    for plot in ("bits_per_byte", "loss", "rounds", "bytes_sent"):
        assert (written.parent / f"{plot}.png").read_bytes().startswith(PNG)
    assert len(outline.addresses) == 1 + 2 * 4


def test_the_page_says_what_happened(written: Path) -> None:
    text = readable(written)
    mean = summary.averages(made_up())
    assert mean is not None
    assert "The Shared Base beats every region alone" in text
    assert f"{mean.shared:.2f}" in text
    assert f"{mean.best_alone:.2f}" in text
    for fact in (
        "was killed before round 5",
        "first contributed in round 8",
        "min_contributors = 1: single updates crossed borders.",
        "German",
        "Indonesian",
        "624768",
        "4 min 11 s",
        "3 of 3",
        DIGEST,
        "self-reported",
    ):
        assert fact in text
    assert "differs" not in text


def test_averages_and_headline() -> None:
    scores = {
        "de": LanguageScore(untrained=8, shared=3, alone={"eu": 2, "asia": 7}),
        "ja": LanguageScore(untrained=8, shared=3, alone={"eu": 6, "asia": 5}),
    }
    result = msgspec.structs.replace(made_up(), bits_per_byte=scores)
    mean = summary.averages(result)
    assert mean is not None
    assert (mean.best_region, mean.best_alone, mean.shared, mean.saved_percent) == ("eu", 4, 3, 25)
    assert headline(result).replace("\N{NO-BREAK SPACE}", " ") == (
        "The Shared Base beats every region alone: 25 % fewer bits per byte than the best of them"
    )
    worse = {name: msgspec.structs.replace(score, shared=5) for name, score in scores.items()}
    lost = headline(msgspec.structs.replace(result, bits_per_byte=worse))
    assert lost.replace("\N{NO-BREAK SPACE}", " ") == "The Shared Base does not beat eu alone: 25 % more bits per byte"


def test_an_unequal_base_is_shown(tmp_path: Path) -> None:
    digests = {EU: DIGEST, ASIA: DIGEST, LATE: "cd" * 32}
    result = msgspec.structs.replace(made_up(), base_digests=digests)
    text = readable(write_report(document(result), tmp_path))
    assert "The peers do not hold the same Shared Base." in text
    assert "2 of 3" in text
    assert len(re.findall("differs", text)) == 1


def test_everything_from_the_document_is_escaped(tmp_path: Path) -> None:
    evil = '<script>"&'
    result = msgspec.structs.replace(
        made_up(3),
        corpus=evil,
        notes=(evil,),
        settings={evil: evil},
        regions={EU: evil, ASIA: "east-asia", SEA: "southeast-asia", LATE: "southeast-asia"},
        bytes_sent={evil: {evil: 5}},
        base_digests={evil: evil},
    )
    html = write_report(document(result), tmp_path).read_text("utf-8")
    assert "<script" not in html
    assert Outline(html).text.count(evil) == 6


def test_a_run_with_nothing_to_show_still_has_a_report(tmp_path: Path) -> None:
    result = Result(
        rounds_committed=0,
        base_digests={},
        corpus="plone",
        bits_per_byte={},
        bytes_sent={},
        report="",
        seconds=3.0,
        regions={},
        privacy=PrivacyOfRun(tier="licence", peers={}),
    )
    path = write_report(document(result), tmp_path)
    assert "The run was not scored" in path.read_text("utf-8")
    assert "<dt>licence gates and audit</dt><dd>tier 1</dd>" in path.read_text("utf-8")
    assert list(tmp_path.glob("*.png")) == []


def test_a_short_run_without_kill_and_join_is_drawn() -> None:
    result = msgspec.structs.replace(made_up(2), killed=None, joined=None, held_out_curve=())
    drawn = plots.draw(result, plots.DARK)
    assert set(drawn) == {"bits_per_byte", "loss", "rounds", "bytes_sent"}
    assert summary.killed_before_round(result) is None
    assert summary.joined_in_round(result) is None


def test_a_document_of_another_shape_is_refused(tmp_path: Path) -> None:
    with pytest.raises(msgspec.ValidationError, match="rounds_committed"):
        write_report({"corpus": "debian"}, tmp_path)
