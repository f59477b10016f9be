"""The three small readers: manual pages, HTML, gettext."""

from peers.corpus import groff, markup, po

MANUAL = r"""
.\" a comment
'\" t
.TH MOUNT 8
.ie  \n(.g .ds Aq \(aq
.de  URL
\fI\\$2\fP not text
..
.if  \n[.g] \{\
.  mso www.tmac
.am URL not text
.\}
.SH BEZEICHNUNG
\fBmount\fP \- ein Dateisystem
einhängen \" said quietly
.PP
Siehe
.BR umount (8)
und
.I "zwei Wörter" .
.nf
    code --not text
.fi
.TS
l l.
table	not text
.TE
.TP
\fB\-l\fP
»\&.conf« \(lqauf\(rq \[u00E4]\(:o\s-1X\s0 \e
.EX
unended example
.SS "Noch etwas"
Schluss\h'-04'.
"""


def test_a_manual_page_gives_its_prose() -> None:
    assert [" ".join(text.split()) for text in groff.paragraphs(MANUAL)] == [
        "mount - ein Dateisystem einhängen",
        "Siehe umount(8) und zwei Wörter .",
        "-l ».conf« “auf” äöX \\",
        "Schluss.",
    ]


def test_an_mdoc_page_gives_nothing() -> None:
    assert groff.paragraphs(".Sh NAME\n.Nm ls\n.Nd list\nText.") == []


HELP = """<!DOCTYPE html><html><head><title>not text</title><script>var not = "text";</script></head>
<body><header><p>not text<br></header><div class="navheader"><table><tr><td>not <img> text</table></div>
<h1>도움말</h1><p>첫 번째 <span>단락</span>입니다 &amp; 끝.</p><p>둘째<br>셋째
<pre>not text</pre><ul><li>넷째</ul><aside><p>not text</aside></body></html>"""


def test_an_html_page_gives_its_blocks() -> None:
    assert [text.strip() for text in markup.paragraphs(HELP)] == [
        "도움말",
        "첫 번째 단락입니다 & 끝.",
        "둘째",
        "셋째",
        "넷째",
    ]


MESSAGES = r"""
msgid ""
msgstr ""
"Language: de\n"

#. Default: "Close"
#: a.py:1
msgid "close"
msgstr "Schließen \"jetzt\""

msgid "long"
msgstr ""
"erste Zeile\n"
"zweite"

#, fuzzy
msgid "guessed"
msgstr "geraten"

msgid "untranslated"
msgstr ""

#~ msgid "gone"
#~ msgstr "weg"

msgctxt "menu"
msgid "file"
msgid_plural "files"
msgstr[0] "Datei"
msgstr[1] "Dateien"
"""


def test_a_po_file_gives_ids_and_translations() -> None:
    assert list(po.messages(MESSAGES)) == [
        ("close", 'Schließen "jetzt"'),
        ("long", "erste Zeile\nzweite"),
        ("file", "Datei"),
        ("file", "Dateien"),
    ]
