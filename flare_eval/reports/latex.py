"""Markdown tables of this package as LaTeX."""

import re
from typing import Final

_SPECIAL: Final = {"%": r"\%", "&": r"\&", "_": r"\_", "#": r"\#", "±": r"$\pm$", "\\|": "|"}
_CELLS: Final = re.compile(r"(?<!\\)\|")


def to_latex(markdown: str) -> str:
    """One Markdown table as a `tabular`, its first column to the left and the others to the right.

    Args:
        markdown: lines of cells between bars: header, alignment, rows.
    """
    header, _, *rows = ([cell.strip() for cell in _CELLS.split(line)[1:-1]] for line in markdown.strip().splitlines())
    lines = [r"\begin{tabular}{l" + "r" * (len(header) - 1) + "}", r"\hline", _row(header), r"\hline"]
    return "\n".join([*lines, *(_row(row) for row in rows), r"\hline", r"\end{tabular}"]) + "\n"


def _row(cells: list[str]) -> str:
    return " & ".join(_escaped(cell) for cell in cells) + r" \\"


def _escaped(cell: str) -> str:
    for plain, latex in _SPECIAL.items():
        cell = cell.replace(plain, latex)
    return cell
