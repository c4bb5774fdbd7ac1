"""The table for people: plain or styled text of any width."""

import io
from collections.abc import Sequence

from rich.box import HORIZONTALS
from rich.console import Console, Group
from rich.table import Table as Grid
from rich.text import Text

from morex.report.caption import caption
from morex.report.formats import cost_cell
from morex.report.table import Table

_CELL = len("(95.2)")
_UNLIMITED = 10_000
_GAP = 2  # a space of padding and one between columns


def to_text(table: Table, *, width: int | None = None, styled: bool = False) -> str:
    """Return the table as text: percentages with one decimal, the best of each line marked ``*``.

    Twelve models fit into 120 characters. A table wider than ``width`` is split into blocks of
    columns; nothing is ever cut off. The paper's figures follow below in parentheses where the
    setting matches.

    Args:
        table: what to show.
        width: characters available; None, for files and pipes, means no limit.
        styled: whether to use bold and dim (ANSI sequences), for terminals.
    """
    blocks = _blocks(table, width)
    needed = max(_block_width(table, block) for block in blocks)
    console = Console(
        file=io.StringIO(),
        width=max(needed, width or _UNLIMITED),
        force_terminal=styled,
        force_jupyter=False,
        color_system="standard" if styled else None,
        highlight=False,
        markup=False,
        emoji=False,
    )
    notes = ("* best in its row", *caption(table))
    with console.capture() as captured:
        console.print(Text(table.title, style="bold"))
        console.print(Group(*(_grid(table, block) for block in blocks)))
        for note in notes:
            console.print(Text(note))
    return "\n".join(line.rstrip() for line in captured.get().splitlines()) + "\n"


def _blocks(table: Table, width: int | None) -> list[range]:
    """Split the columns into the fewest equal blocks that fit; one column a block if none does."""
    total = len(table.columns)
    for count in range(1, total + 1):
        size = -(-total // count)
        blocks = [range(at, min(at + size, total)) for at in range(0, total, size)]
        if width is None or all(_block_width(table, block) <= width for block in blocks):
            break
    return blocks


def _block_width(table: Table, block: Sequence[int]) -> int:
    label = max(map(len, ("attack", *table.values, *table.cost_lines)))
    return 2 + label + 1 + sum(_column_width(table.headings[i]) + _GAP for i in block)


def _column_width(name: str) -> int:
    return max(_CELL, *map(len, name.split()))


def _grid(table: Table, block: Sequence[int]) -> Grid:
    grid = Grid(box=HORIZONTALS, padding=(0, 1, 0, 0), header_style="bold")
    grid.add_column("attack", no_wrap=True)
    for i in block:
        grid.add_column(_header(table.headings[i]), no_wrap=True)
    for name, line in _lines(table).items():
        if name == "union":
            grid.add_section()
        grid.add_row(name, *(line[i] for i in block))
    for n, (name, costs) in enumerate(table.cost_lines.items()):
        if not n:
            grid.add_section()
        grid.add_row(name, *(_cost(costs[i], table.headings[i]) for i in block))
    return grid


def _header(name: str) -> str:
    width = _column_width(name)
    return "\n".join(word.rjust(width - 1) for word in name.split())


def _lines(table: Table) -> dict[str, list[Text]]:
    """Return the cells of every line of the table, each padded to the width of its column."""
    nothing = (None,) * len(table.columns)
    return {
        name: [
            _cell(value, is_best, paper, width=_column_width(column))
            for value, is_best, paper, column in zip(
                values,
                table.best(name),
                table.paper.get(name, nothing),
                table.headings,
                strict=True,
            )
        ]
        for name, values in table.values.items()
    }


def _cost(value: int | None, column: str) -> str:
    return cost_cell(value).rjust(_column_width(column) - 1)


def _cell(value: float | None, is_best: bool, paper: float | None, *, width: int) -> Text:
    figure = "-" if value is None else f"{100 * value:.1f}"
    marked = f"{figure}{'*' if is_best else ' '}".rjust(width)
    below = () if paper is None else (("\n" + f"({paper:.1f})".rjust(width), "dim"),)
    return Text.assemble((marked, "bold" if is_best else ""), *below)
