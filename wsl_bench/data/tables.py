"""CSV tables of datasets: rows with their line numbers, and clear errors."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from wsl_bench.errors import DataError

Row = tuple[int, list[str]]


def find_file(root: Path, names: Sequence[str], what: str) -> Path:
    """The first of these files that is there.

    Raises:
        DataError: none is.
    """
    for name in names:
        if (root / name).is_file():
            return root / name
    raise DataError(
        root, expected=f"{what} ({' or '.join(names)})", found="no such file",
        fix="Download it from the publisher and put it there, or correct --data-root.",
    )  # fmt: skip


def read_lines(path: Path, *, fix: str, missing: str | None = None) -> list[Row]:
    """Every line of a CSV table that is not empty, the header among them, with its number.

    Args:
        fix: what to do about a file that is no such table. missing: about one that is not there.

    Raises:
        DataError: not a CSV table in UTF-8, or no file at all.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            return text_lines(file)
    except FileNotFoundError:
        raise DataError(path, expected="a CSV table", found="no such file", fix=missing or fix) from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(path, expected="a CSV table in UTF-8", found=str(error), fix=fix) from None


def text_lines(text: Iterable[str]) -> list[Row]:
    """Lines of CSV text that are not empty, each with its number.

    Raises:
        csv.Error: not CSV.
    """
    reader = csv.reader(text, strict=True)
    return [(reader.line_num, fields) for fields in reader if fields]


def read_rows(path: Path, columns: Sequence[str]) -> list[Row]:
    """Rows of a table, each with its line number and the fields of `columns` in that order.

    A header field matches a column if it is the same but for case and blanks. Other columns are passed over, so that
    tables are read whatever columns a later release adds.

    Raises:
        DataError: not a CSV table in UTF-8, a column missing, a row that is too short, no row at all.
    """
    return rows_of(path, read_lines(path, fix="Download it again."), columns)


def rows_of(path: Path, rows: Sequence[Row], columns: Sequence[str]) -> list[Row]:
    """The same for lines that were read before; `path` is what errors name.

    Raises:
        DataError: see `read_rows`.
    """
    header = [_plain(field) for field in rows[0][1]] if rows else []
    missing = [column for column in columns if _plain(column) not in header]
    if missing:
        raise DataError(
            path, expected=f"the column {missing[0]!r}", found=f"the columns {', '.join(header) or 'none'}",
            fix="Use the table as published.",
        )  # fmt: skip
    if len(rows) < 2:
        raise DataError(path, expected="one row an image", found="a header alone", fix="Download it again.")
    places = [header.index(_plain(column)) for column in columns]
    out: list[Row] = []
    for line, fields in rows[1:]:
        if len(fields) <= max(places):
            raise DataError(
                f"{path}, line {line}", expected=f"{max(places) + 1} fields or more", found=f"{len(fields)}",
                fix="Download it again; it may be cut off.",
            )  # fmt: skip
        out.append((line, [fields[place].strip() for place in places]))
    return out


def read_list(path: Path) -> list[str]:
    """The lines of a text file, without blank ones.

    Raises:
        DataError: it cannot be read, or is empty.
    """
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(path, expected="a list of file names", found=str(error), fix="Download it again.") from None
    if not lines:
        raise DataError(path, expected="a list of file names", found="no line", fix="Download it again.")
    return lines


def number(path: Path, line: int, text: str) -> float:
    """A finite number of a table.

    Raises:
        DataError: it is none.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if math.isfinite(value):
        return value
    raise DataError(f"{path}, line {line}", expected="a number", found=repr(text), fix="Use the table as published.")


def _plain(field: str) -> str:
    return field.strip().lower()
