"""Paragraph functions: cleaning, language, copies of held-out text, size limit."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peers.corpus import text


def test_clean_joins_lines_and_removes_space_inside_japanese_only() -> None:
    assert text.clean("  a\n  b\u00a0c ") == "a b c"
    assert text.clean("設定でき\nます。 この bash は") == "設定できます。この bash は"
    assert text.clean("이\n장에서는") == "이 장에서는"
    assert text.clean("u\u0308ber") == "über"


@pytest.mark.parametrize(
    ("language", "paragraph"),
    [
        ("de", "Der Befehl wird nicht ausgeführt, wenn die Datei fehlt."),
        ("fr", "La commande est réexécutée avec le nom du fichier."),
        ("vi", "Bạn có thể cài đặt hệ thống này với một đĩa."),
        ("id", "Perintah ini akan menampilkan berkas yang dipilih."),
        ("ja", "ファイルを表示します。"),
        ("ko", "파일을 표시합니다."),
        ("xx", "a language nobody listed"),
    ],
)
def test_a_paragraph_in_its_language_is_kept_and_english_is_not(language: str, paragraph: str) -> None:
    english = "If you want to protect the contents, choose the box and use a password for the section."
    assert text.is_in(language, paragraph)
    assert text.is_in(language, english) == (language == "xx")


def test_select_keeps_the_first_of_equal_paragraphs_and_drops_short_and_undecodable_ones() -> None:
    raw = ["zwei  Wörter mehr", "kurz", "eins und zwei", "zwei Wörter\nmehr", "kaputt \ufffd kaputt"]
    assert text.select(raw, min_chars=6) == ["zwei Wörter mehr", "eins und zwei"]


@given(
    shared=st.text("abcdef ", min_size=50, max_size=50),
    before=st.text("ghij", max_size=60),
    after=st.text("klmn", max_size=60),
)
def test_any_shared_run_of_the_given_length_is_found(shared: str, before: str, after: str) -> None:
    kept = "x" * 80
    assert text.without_copies([before + shared + after, kept], ["y" * 13 + shared + "z" * 7], 50) == [kept]


def test_short_paragraphs_are_copies_only_when_equal() -> None:
    assert text.without_copies(["Abbrechen", "Abbruch"], ["Abbrechen"], 50) == ["Abbruch"]


def test_capped_counts_bytes_with_newlines() -> None:
    assert text.capped(["ää", "bbb", "c"], 5) == ["ää"]
    assert text.capped(["ää", "bbb", "c"], 9) == ["ää", "bbb"]


def test_about_a_tenth_is_held_out() -> None:
    held_out = sum(text.in_held_out_tenth(f"message {i}") for i in range(2000))
    assert 150 < held_out < 250
