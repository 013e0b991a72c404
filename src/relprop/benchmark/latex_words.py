"""LaTeX words: texts and numbers in plain ASCII that every engine prints, and how wide they get."""

from __future__ import annotations

import re
import unicodedata

__all__ = ["escaped", "number", "room", "words"]

_THIN = " .,:;'|[]()-ijlt"

_PLAIN = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "_": r"\_",
    "%": r"\%", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": "$<$", ">": "$>$", "|": "$|$",
    "−": "$-$", "–": "--", "—": "---", "…": r"\ldots{}", "×": r"$\times$", "·": r"$\cdot$", "±": r"$\pm$",
    "≤": r"$\leq$", "≥": r"$\geq$", "≈": r"$\approx$", "≠": r"$\neq$", "→": r"$\to$", "←": r"$\leftarrow$",
    "↑": r"$\uparrow$", "↓": r"$\downarrow$", "∞": r"$\infty$", "√": r"$\surd$", "°": r"$^{\circ}$",
    "†": r"$^{\dagger}$", "‘": "`", "’": "'", "“": "``", "”": "''", "\u00a0": "~", "\u202f": r"\,",
    "ß": r"\ss{}", "ø": r"\o{}", "Ø": r"\O{}", "æ": r"\ae{}", "Æ": r"\AE{}", "œ": r"\oe{}", "Œ": r"\OE{}",
    "ł": r"\l{}", "Ł": r"\L{}", "ı": r"\i{}", "µ": r"$\mu$",
}  # fmt: skip
_PLAIN |= {c: f"$^{{{k}}}$" for k, c in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")}
_PLAIN |= {c: f"$_{{{k}}}$" for k, c in enumerate("₀₁₂₃₄₅₆₇₈₉")}
_ACCENTS = {
    "\u0300": "`", "\u0301": "'", "\u0302": "^", "\u0303": "~", "\u0304": "=", "\u0306": "u", "\u0307": ".",
    "\u0308": '"', "\u030a": "r", "\u030b": "H", "\u030c": "v", "\u0327": "c",
}  # fmt: skip


def escaped(text: str) -> str:
    r"""Text as LaTeX prints it, in ASCII; characters that it has no sign for by their number.

    >>> escaped("lrp_α2β1: 50 % > x²"), escaped("Müller"), escaped("漢")
    ('lrp\\_$\\alpha$2$\\beta$1: 50 \\% $>$ x$^{2}$', 'M\\"{u}ller', '[U+6F22]')
    """
    return "".join(map(_character, text.replace("\n", " ")))


def _character(c: str) -> str:
    if c in _PLAIN:
        return _PLAIN[c]
    if c.isascii():
        return c if c.isprintable() else " "
    name = unicodedata.name(c, "")
    greek = re.fullmatch(r"GREEK (SMALL|CAPITAL) LETTER (\w+)", name)
    if greek and greek[2] in _GREEK:
        return _greek(greek[2].lower(), greek[1] == "CAPITAL")
    parts = unicodedata.normalize("NFD", c)
    if len(parts) == 2 and parts[0].isascii() and parts[1] in _ACCENTS:
        return f"\\{_ACCENTS[parts[1]]}{{{parts[0]}}}"
    return f"[U+{ord(c):04X}]"


_GREEK = {
    *"ALPHA BETA GAMMA DELTA EPSILON ZETA ETA THETA IOTA KAPPA LAMDA MU NU XI OMICRON PI".split(),
    *"RHO SIGMA TAU UPSILON PHI CHI PSI OMEGA".split(),
}
_AS_LATIN = {
    "alpha": "A", "beta": "B", "epsilon": "E", "zeta": "Z", "eta": "H", "iota": "I", "kappa": "K", "mu": "M",
    "nu": "N", "omicron": "O", "rho": "P", "tau": "T", "chi": "X",
}  # fmt: skip


def _greek(name: str, capital: bool) -> str:
    if capital and name in _AS_LATIN:
        return _AS_LATIN[name]
    if name == "omicron":
        return "o"
    name = "lambda" if name == "lamda" else name
    return f"$\\{name.capitalize() if capital else name}$"


def number(text: str, bold: bool = False) -> str:
    r"""A number, with its power of ten set as one.

    >>> number("−1.7e-07", bold=True), number("71.2")
    ('$\\mathbf{-1.7\\times10^{-7}}$', '71.2')
    """
    power = re.fullmatch(r"([−\d.]+)e([-+]\d+)", text)
    if power:
        inner = f"{power[1].replace('−', '-')}\\times10^{{{int(power[2])}}}"
        return f"$\\mathbf{{{inner}}}$" if bold else f"${inner}$"
    return f"\\textbf{{{escaped(text)}}}" if bold else escaped(text)


def words(text: str) -> str:
    """Text with numbers in it."""
    parts = re.split(r"([−\d.]+e[-+]\d+)", text)
    return "".join(number(part) if k % 2 else escaped(part) for k, part in enumerate(parts))


def room(text: str, size: float) -> float:
    """About the width in points of a line of Computer Modern, whose small sizes are wider for their height."""
    ems = sum(
        0.5 if c.isdigit() else 0.28 if c in _THIN else 0.72 if c.isupper() or c == "%" else 0.47
        for c in text
    )
    return ems * size * (1.14 if size < 8 else 1.03)
