import errno
import io
import json
import logging

import pytest
import structlog

from gateway.app.logs import log_to

HOSTILE = 'a\n{"level": "error"}\r\x1b[2J\x00\x7f\x9b\u2028b'


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def _restored():
    handlers, level = logging.root.handlers[:], logging.root.level
    yield
    logging.basicConfig(handlers=handlers, level=level, force=True)
    structlog.reset_defaults()


@pytest.fixture
def stream():
    stream = io.StringIO()
    log_to(stream)
    return stream


@pytest.fixture
def terminal():
    terminal = Terminal()
    log_to(terminal)
    return terminal


def raised(text):
    """An exception that has a traceback."""
    with pytest.raises(ValueError) as caught:
        raise ValueError(text)
    return caught.value


def lines(stream):
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_one_json_object(stream):
    structlog.get_logger().info("mail", size=3, recipients=["a@example.org"])
    (line,) = lines(stream)
    assert line.pop("time").endswith("Z")
    assert line == {"event": "mail", "level": "info", "size": 3, "recipients": ["a@example.org"]}


def test_strangers_cannot_forge_a_line(stream):
    structlog.get_logger().info("mail", mail_from=HOSTILE, recipients=[HOSTILE])
    written = stream.getvalue()
    assert written.count("\n") == 1
    assert written.removesuffix("\n").isascii()
    assert written.removesuffix("\n").isprintable()
    assert lines(stream)[0]["mail_from"] == HOSTILE
    assert lines(stream)[0]["recipients"] == [HOSTILE]


def test_strangers_cannot_move_a_terminals_cursor(terminal):
    structlog.get_logger().info("mail", mail_from=HOSTILE, recipients=[HOSTILE])
    logging.getLogger("library").warning("said %s", HOSTILE)
    structlog.get_logger().error("failed", exc_info=raised(HOSTILE))
    written = terminal.getvalue()
    for octet in ("\r", "\x1b[2J", "\x00", "\x7f", "\x9b", "\u2028"):
        assert octet not in written
    assert "\\x1b[2J" in written


def test_an_exception_is_told_with_its_traceback(stream):
    structlog.get_logger().error("failed", exc_info=raised("why"))
    (line,) = lines(stream)
    assert line["level"] == "error"
    assert line["exception"].startswith("Traceback")
    assert line["exception"].endswith("ValueError: why")


def test_long_texts_are_shortened(stream):
    structlog.get_logger().info("mail", hello="x" * 100_000)
    (line,) = lines(stream)
    assert len(line["hello"]) < 5_000
    assert line["hello"].endswith("x… (100000 characters)")


def test_libraries_log_warnings_in_the_same_form(stream):
    logging.getLogger("library").info("not told")
    logging.getLogger("library").warning("told %s", "once")
    (line,) = lines(stream)
    assert (line["event"], line["logger"], line["level"]) == ("told once", "library", "warning")


def test_a_library_that_repeats_itself_is_told_once_a_minute(stream):
    library = logging.getLogger("library")
    for second in (0.0, 0.1, 0.2, 59.0, 61.0, 61.1):
        record = library.makeRecord("library", logging.WARNING, "file", 1, "no connection to %s", ("node 1",), None)
        record.created = 1e9 + second
        library.handle(record)
    library.warning("something else")
    assert [line["event"] for line in lines(stream)] == [
        "no connection to node 1",
        "no connection to node 1 (3 times more since it was last told)",
        "something else",
    ]


def test_what_libraries_have_said_is_not_remembered_without_bound(stream):
    for number in range(1000):
        logging.getLogger("library").warning("number %d", number)
    (repetitions,) = (each for handler in logging.root.handlers for each in handler.filters)
    assert len(lines(stream)) == 1000
    assert len(repetitions._said) <= 256


def test_debugging_is_not_logged(stream):
    structlog.get_logger().debug("detail")
    assert stream.getvalue() == ""


class FullDisk(io.StringIO):
    def write(self, text):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_line_that_cannot_be_written_is_no_error_of_those_who_log(capsys):
    log_to(FullDisk())
    structlog.get_logger().info("mail")
    logging.getLogger("library").warning("trouble")
    assert capsys.readouterr().err == ""
