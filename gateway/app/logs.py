"""Where log lines go: standard error, as JSON for machines or in columns for a person at a terminal.

Values in log lines come from strangers. Whatever they hold, a line stays one line and moves no terminal's cursor:
control characters are escaped, and texts have a bounded length. A line that cannot be written, to a full disk or to a
reader that has gone or does not read, is lost: no mail may fail for it, nor wait.
"""

import json
import logging
import time
from collections.abc import Iterable, MutableMapping
from contextlib import suppress
from typing import Any, TextIO, cast

import msgspec
import structlog

from gateway.app.log_lines import LogLines
from gateway.app.sparse_lines import SparseLines
from gateway.dates import timestamp

__all__ = ["log_to", "log_with"]

_LONGEST_TEXT = 4096
_REPEATED_AFTER_SECONDS = 60.0
_REMEMBERED = 256
# `json` writes everything, and in ASCII; the other does most lines in a fifth of the time.
_ENCODER = json.JSONEncoder(default=repr)
_QUICK_ENCODER = msgspec.json.Encoder()
# What both write in the same way.
_PLAIN = frozenset({int, float, bool, type(None)})
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))} | {
    0x2028: "\\u2028",
    0x2029: "\\u2029",
}
# A traceback keeps its lines on a terminal.
_CONTROLS_OF_LINES = {code: text for code, text in _CONTROLS.items() if code != 0x0A}


def log_to(stream: TextIO | None, *, turns: int | None = None, worker: int | None = None) -> LogLines:
    """Send all log lines to `stream`: ours from INFO on, those of libraries from WARNING on, and once a minute each.

    `stream` has a file descriptor, or is None where the process was started without it. What is returned takes other
    lines too, in order with those of the log; close it to have the last ones written. `turns` is what LogLines says;
    `worker` goes into every line.
    """
    lines = LogLines(stream, turns=turns)
    log_with(lines, worker=worker)
    return lines


def log_with(lines: LogLines | SparseLines, *, worker: int | None = None) -> None:
    """Send all log lines to `lines`, as `log_to` does."""
    if lines.isatty():
        renderer: structlog.typing.Processor = structlog.dev.ConsoleRenderer(
            exception_formatter=structlog.dev.plain_traceback
        )
        presentation = [_shorten, _escape_controls, renderer]
    else:
        presentation = [_json]
    prepare = _preparation(worker)
    structlog.configure(
        processors=[prepare, *presentation],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(cast("TextIO", lines)),
        # What the supervisor's loggers have cached would stay in the workers that are forked later.
        cache_logger_on_first_use=isinstance(lines, LogLines),
    )
    libraries = logging.StreamHandler(cast("TextIO", lines))
    libraries.addFilter(_Repetitions())
    libraries.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, prepare],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *presentation],
        )
    )
    logging.basicConfig(handlers=[libraries], level=logging.WARNING, force=True)


class _Repetitions(logging.Filter):
    """Lets each text through once a minute, then with the number of times that it was held back.

    A library that cannot reach its server may say so in four lines, ten times a second, for as long as that lasts.
    """

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        key = record.name, text[:_LONGEST_TEXT]
        said, held_back = self._said.get(key, (0.0, 0))
        if record.exc_info is None and record.created - said < _REPEATED_AFTER_SECONDS:
            self._said[key] = said, held_back + 1
            return False
        if len(self._said) >= _REMEMBERED:
            self._said.clear()
        self._said[key] = record.created, 0
        if held_back:
            record.msg, record.args = f"{text} ({held_back} times more since it was last told)", ()
        return True


def _preparation(worker: int | None) -> structlog.typing.Processor:
    """What every line has, in one step: it is done for every mail."""

    def prepare(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        structlog.processors.add_log_level(logger, method, event)
        event["time"] = timestamp(time.time_ns())
        if "exc_info" in event:
            structlog.processors.format_exc_info(logger, method, event)
        if worker is not None:
            event["worker"] = worker
        return event

    return prepare


def _shorten(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key, value in event.items():
        if isinstance(value, str) and len(value) > _LONGEST_TEXT:
            event[key] = f"{value[:_LONGEST_TEXT]}… ({len(value)} characters)"
    return event


def _escape_controls(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {
        key: str(value).translate(_CONTROLS_OF_LINES if key == "exception" else _CONTROLS)
        for key, value in event.items()
    }


def _json(logger: Any, method: str, event: MutableMapping[str, Any]) -> str:
    if _are_plain(event.values()):
        with suppress(ValueError, TypeError, OverflowError, msgspec.MsgspecError):  # half a surrogate pair, for one
            line = _QUICK_ENCODER.encode(event)
            if line.isascii() and b"\x7f" not in line:
                return msgspec.json.format(line, indent=0).decode("ascii")
    # ASCII, with everything else escaped; only DEL is left, which JSON would let through.
    return _ENCODER.encode(_shorten(logger, method, event)).replace("\x7f", "\\u007f")


def _are_plain(values: Iterable[Any]) -> bool:
    """Whether nothing in them is long, or has a form of its own to be written in."""
    for value in values:
        kind = type(value)
        if kind is str:
            if len(value) > _LONGEST_TEXT:
                return False
        elif kind is list:
            if not _are_plain(value):
                return False
        elif kind is dict:
            if not (_are_plain(value) and _are_plain(value.values())):
                return False
        elif kind not in _PLAIN:
            return False
    return True
