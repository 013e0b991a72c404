from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace

import pytest
from tests.benchmark.reports import ranked, small

from relprop.benchmark.latex import document, to_latex
from relprop.benchmark.latex_words import escaped
from relprop.benchmark.record import Record
from relprop.benchmark.table import tabulate
from relprop.metrics.metric import Metric, Outcome

ODD = "a_b & 50% #1 {x} ~ ^ \\ $5 <|> α2β1 Ωμ x² é Ł ř ß – − … × ≥ “q” 漢 🙂"


class Odd(Metric):
    name, summary = "odd", ""
    outcomes = (
        Outcome("x", f"Title {ODD}"),
        Outcome("tiny", "Tiny", better="lower", average="pair", percent=False),
        Outcome("far", "Far", better="", average="pair", percent=False),
    )


def _odd(count=8, methods=("[plain]", "*", ODD)):
    made = [
        Record(f"{i}", 0, m, "odd", {"x": 0.5 + 0.01 * i, "tiny": -1e-9 * (i + 1), "far": 2e6 + i})
        for i in range(count)
        for m in methods
    ]
    return tabulate(made, {"odd": Odd()}, methods, title=ODD)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a_b%", "a\\_b\\%"),
        ("\\", "\\textbackslash{}"),
        ("−1 – 2", "$-$1 -- 2"),
        ("αΑΩλ", "$\\alpha$A$\\Omega$$\\lambda$"),
        ("éŁǎ", "\\'{e}\\L{}\\v{a}"),
        ("x²₁", "x$^{2}$$_{1}$"),
        ("漢\n\t", "[U+6F22]  "),
        ("mIoU > 0", "mIoU $>$ 0"),
    ],
)
def test_escaped(text, expected):
    assert escaped(text) == expected


@pytest.mark.parametrize("table", [small(), ranked(), _odd(), tabulate([], {}, ["a"])])
def test_is_ascii_and_closes_what_it_opens(table):
    text = to_latex(table)
    assert text.isascii()
    opened, closed = re.findall(r"\\begin{([a-z*]+)}", text), re.findall(r"\\end{([a-z*]+)}", text)
    assert sorted(opened) == sorted(closed)
    text = text.replace(r"\\", "")  # ends of lines
    assert len(re.findall(r"(?<!\\){", text)) == len(re.findall(r"(?<!\\)}", text))


def test_rows_have_as_many_cells_as_the_heading():
    for tabular in re.findall(r"\\begin{tabular}{(.*?)}\n(.*?)\\end{tabular}", to_latex(ranked()), re.S):
        shape, body = tabular
        columns = len(re.sub(r"@{}", "", shape))
        for line in body.splitlines():
            if line.endswith(r"\\") and "emph" not in line:
                across = line.count(" &") + sum(int(n) - 1 for n in re.findall(r"\\multicolumn{(\d)}", line))
                assert across + 1 == columns, line


def test_the_best_is_bold_and_intervals_can_be_left_out():
    text = to_latex(ranked())
    assert "alpha & \\textbf{71.0} & " in text
    assert "{\\scriptsize [70.7, 71.2] (88 \\%)}" in text
    bare = to_latex(ranked(), intervals=False)
    assert "[70.7" not in bare
    assert "{\\scriptsize (88 \\%)}" in bare


def test_powers_of_ten_are_set_as_powers():
    text = to_latex(_odd())
    assert "$\\mathbf{-4.5\\times10^{-9}}$" in text
    assert "2.0e+06" not in text
    assert "$2.0\\times10^{6}$" in text


def test_columns_that_do_not_fit_go_to_further_tables():
    wide, narrow = to_latex(small(), width=2000), to_latex(small(), width=110)
    assert "(1 of" not in wide
    assert narrow.count("\\begin{table*}") > wide.count("\\begin{table*}")
    assert "(1 of 6)" in narrow
    assert narrow.count("Intervals: 95") == 1


def test_long_notes_go_to_a_table_of_their_own():
    made = [Record(f"{i}", 0, f"method-{m}", "odd", {"x": 0.1 * i}) for i in range(3) for m in range(25)]
    methods = [f"method-{m}" for m in range(25)]
    short = to_latex(tabulate(made, {"odd": Odd()}, methods, title="T"))
    assert "signs and notes" not in short
    long = to_latex(tabulate(made, {"odd": Odd()}, methods, title="T", notes=["A long sentence. " * 120]))
    assert "\\caption{T: signs and notes}" in long
    assert long.count("A long sentence. A long sentence.") > 50
    assert "Signs and notes: on a page of their own." in long


def test_every_table_has_a_label_of_its_own():
    table = small()
    cells = {key: replace(cell, published=0.5) for key, cell in table.cells.items()}
    labels = re.findall(r"\\label{(.*)}", to_latex(replace(table, cells=cells), width=150))
    assert sum("published" in label for label in labels) > 1
    assert len(set(labels)) == len(labels)


def test_published_numbers_have_a_table_of_their_own():
    ours, paper = to_latex(small()).split("Small: published numbers")
    assert "57.6" not in ours
    assert "57.6" in paper
    assert "measured by others on a VGG." in paper


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
@pytest.mark.parametrize("make", [small, ranked, _odd])
def test_compiles(tmp_path, make):
    (tmp_path / "t.tex").write_text(document(make()))
    told = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stdout[-2000:]
    assert "undefined" not in told.stdout
    assert make is _odd or "Overfull" not in told.stdout  # one of its names is longer than a line
    assert "too large" not in told.stdout
