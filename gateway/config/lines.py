"""On which line of a TOML document each key stands; `tomllib` gives values only.

A key path is what leads to a value in the parsed document: `("listener", 1, "bind")`. The document has been read by
`tomllib` before, so its syntax is known to be right and is not judged a second time here.
"""

import re
import tomllib
from bisect import bisect
from collections.abc import Mapping

__all__ = ["KeyPath", "key_lines", "line_of"]

KeyPath = tuple[str | int, ...]

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_KEY_PART = re.compile(r"""[ \t]*([A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*')[ \t]*""")
# A multi-line string may end in up to two quotation marks of its own before the three that close it.
_SCALAR = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}'
    r"|'''.*?'{3,5}"
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|'[^'\n]*'"
    r"|[^,\]}\n#]+",
    re.DOTALL,
)


def key_lines(document: str) -> Mapping[KeyPath, int]:
    """The line, counted from 1, of every table, key and array element in a well-formed TOML document."""
    return _Reader(document).read()


def line_of(path: KeyPath, lines: Mapping[KeyPath, int]) -> int:
    """The line of what `path` leads to, or of the nearest thing around it that stands in the document; 0 for none."""
    return next((lines[path[:length]] for length in range(len(path), 0, -1) if path[:length] in lines), 0)


class _Reader:
    """One pass over a document, following TOML 1.0's grammar just far enough to tell keys from values."""

    def __init__(self, document: str) -> None:
        self._text = document
        self._position = 0
        self._line_ends = [match.start() for match in re.finditer("\n", document)]
        self._lines: dict[KeyPath, int] = {}
        self._tables_in: dict[KeyPath, int] = {}

    def read(self) -> dict[KeyPath, int]:
        table: KeyPath = ()
        while self._skip_blank() < len(self._text):
            if self._text.startswith("[[", self._position):
                table = self._array_of_tables_header()
            elif self._text[self._position] == "[":
                table = self._table_header()
            else:
                self._pair(table)
        return self._lines

    def _array_of_tables_header(self) -> KeyPath:
        start, names = self._bracketed(2)
        array = (*self._resolve(names[:-1], start), names[-1])
        index = self._tables_in.get(array, 0)
        self._tables_in[array] = index + 1
        self._note(array, start)
        self._note((*array, index), start)
        return (*array, index)

    def _table_header(self) -> KeyPath:
        start, names = self._bracketed(1)
        table = self._resolve(names, start)
        # A table that `[a.b]` implied is written at its own header, if it has one.
        self._lines[table] = self._line(start)
        return table

    def _bracketed(self, brackets: int) -> tuple[int, list[str]]:
        start = self._position
        self._position += brackets
        names = self._dotted_key()
        self._position += brackets
        return start, names

    def _resolve(self, names: list[str], position: int) -> KeyPath:
        # In a header a name that is an array of tables means its last table.
        path: KeyPath = ()
        for name in names:
            path = (*path, name)
            self._note(path, position)
            if path in self._tables_in:
                path = (*path, self._tables_in[path] - 1)
        return path

    def _pair(self, table: KeyPath) -> None:
        start = self._position
        path = table
        for name in self._dotted_key():
            path = (*path, name)
            self._note(path, start)
        self._position += 1
        self._value(path)

    def _value(self, path: KeyPath) -> None:
        self._skip_blank()
        opening = self._text[self._position]
        if opening == "[":
            self._array(path)
        elif opening == "{":
            self._inline_table(path)
        else:
            self._position = self._match(_SCALAR).end()

    def _array(self, path: KeyPath) -> None:
        self._position += 1
        index = 0
        while self._text[self._skip_blank()] != "]":
            self._note((*path, index), self._position)
            self._value((*path, index))
            index += 1
            self._skip_comma()
        self._position += 1

    def _inline_table(self, path: KeyPath) -> None:
        self._position += 1
        while self._text[self._skip_blank()] != "}":
            self._pair(path)
            self._skip_comma()
        self._position += 1

    def _dotted_key(self) -> list[str]:
        names = []
        while True:
            part = self._match(_KEY_PART)
            self._position = part.end()
            # TOML reads its own quoting best.
            names.append(part[1] if part[1][0] not in "\"'" else next(iter(tomllib.loads(f"{part[1]} = 0"))))
            if self._text[self._position] != ".":
                return names
            self._position += 1

    def _skip_blank(self) -> int:
        self._position = self._match(_BLANK).end()
        return self._position

    def _skip_comma(self) -> None:
        if self._text[self._skip_blank()] == ",":
            self._position += 1

    def _match(self, pattern: re.Pattern[str]) -> re.Match[str]:
        match = pattern.match(self._text, self._position)
        if match is None:
            raise ValueError(f"no TOML at line {self._line(self._position)}")
        return match

    def _note(self, path: KeyPath, position: int) -> None:
        self._lines.setdefault(path, self._line(position))

    def _line(self, position: int) -> int:
        return bisect(self._line_ends, position - 1) + 1
