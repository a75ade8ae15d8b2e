"""Log lines: one line each whatever strangers put into them, and nobody waits for them to be written."""

import json
import logging
import os
import pty
import resource
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest
import structlog

from gateway.app.logs import log_to

HOSTILE = 'a\n{"level": "error"}\r\x1b[2J\x00\x7f\x9b\u2028b'
KIBIBYTE = 1024


class Log:
    """A file to which the log goes."""

    def __init__(self, path):
        self.stream = path.open("a+")
        self.lines = log_to(self.stream)

    def text(self):
        """All that is logged. Nothing more is, from now on."""
        self.lines.close()
        self.stream.seek(0)
        return self.stream.read()

    def records(self):
        return [json.loads(line) for line in self.text().splitlines()]


@pytest.fixture(autouse=True)
def _restored():
    handlers, level = logging.root.handlers[:], logging.root.level
    yield
    logging.basicConfig(handlers=handlers, level=level, force=True)
    structlog.reset_defaults()


@pytest.fixture
def log(tmp_path):
    log = Log(tmp_path / "log")
    yield log
    log.lines.close()
    log.stream.close()


@pytest.fixture
def terminal():
    """What a terminal was told, once the log is closed."""
    master, slave = pty.openpty()
    with os.fdopen(slave, "w") as stream:
        lines = log_to(stream)

        def told():
            lines.close()
            return os.read(master, 1 << 20).decode()

        yield told
    os.close(master)


def raised(text):
    """An exception that has a traceback."""
    with pytest.raises(ValueError) as caught:
        raise ValueError(text)
    return caught.value


def test_a_line_is_one_json_object(log):
    structlog.get_logger().info("mail", size=3, recipients=["a@example.org"])
    (line,) = log.records()
    assert line.pop("time").endswith("Z")
    assert line == {"event": "mail", "level": "info", "size": 3, "recipients": ["a@example.org"]}


def test_strangers_cannot_forge_a_line(log):
    structlog.get_logger().info("mail", mail_from=HOSTILE, recipients=[HOSTILE])
    written = log.text()
    assert written.count("\n") == 1
    assert written.removesuffix("\n").isascii()
    assert written.removesuffix("\n").isprintable()
    assert json.loads(written)["mail_from"] == HOSTILE
    assert json.loads(written)["recipients"] == [HOSTILE]


class Text(str):
    __slots__ = ()

    def __repr__(self):
        return "a text"


class Secret(msgspec.Struct):
    password: str = "secret"

    def __repr__(self):
        return "a secret"


@pytest.mark.parametrize(
    "value",
    [
        "\udc80",
        "\x9b",
        10**30,
        {"\udc80": 1},
        b"\xff",
        {1, 2},
        object,
        None,
        Text("x"),
        Secret(),
        [Secret()],
        {"a": Secret()},
    ],
)
def test_a_line_is_written_whatever_is_in_it_and_of_what_is_no_plain_value_the_repr(log, value):
    structlog.get_logger().info("mail", value=value, size=3)
    written = log.text()
    assert written.count("\n") == 1
    assert written.removesuffix("\n").isascii()
    line = json.loads(written)
    assert line["size"] == 3
    assert line["value"] == json.loads(json.dumps(value, default=repr))


def test_strangers_cannot_move_a_terminals_cursor(terminal):
    structlog.get_logger().info("mail", mail_from=HOSTILE, recipients=[HOSTILE])
    logging.getLogger("library").warning("said %s", HOSTILE)
    structlog.get_logger().error("failed", exc_info=raised(HOSTILE))
    # A terminal gets CR LF for LF.
    written = terminal().replace("\r\n", "\n")
    for octet in ("\r", "\x1b[2J", "\x00", "\x7f", "\x9b", "\u2028"):
        assert octet not in written
    assert "\\x1b[2J" in written


def test_an_exception_is_told_with_its_traceback(log):
    structlog.get_logger().error("failed", exc_info=raised("why"))
    (line,) = log.records()
    assert line["level"] == "error"
    assert line["exception"].startswith("Traceback")
    assert line["exception"].endswith("ValueError: why")


def test_long_texts_are_shortened(log):
    structlog.get_logger().info("mail", hello="x" * 100_000)
    (line,) = log.records()
    assert len(line["hello"]) < 5_000
    assert line["hello"].endswith("x… (100000 characters)")


def test_libraries_log_warnings_in_the_same_form(log):
    logging.getLogger("library").info("not told")
    logging.getLogger("library").warning("told %s", "once")
    (line,) = log.records()
    assert (line["event"], line["logger"], line["level"]) == ("told once", "library", "warning")


def test_a_library_that_repeats_itself_is_told_once_a_minute(log):
    library = logging.getLogger("library")
    for second in (0.0, 0.1, 0.2, 59.0, 61.0, 61.1):
        record = library.makeRecord("library", logging.WARNING, "file", 1, "no connection to %s", ("node 1",), None)
        record.created = 1e9 + second
        library.handle(record)
    library.warning("something else")
    assert [line["event"] for line in log.records()] == [
        "no connection to node 1",
        "no connection to node 1 (3 times more since it was last told)",
        "something else",
    ]


def test_what_libraries_have_said_is_not_remembered_without_bound(log):
    for number in range(1000):
        logging.getLogger("library").warning("number %d", number)
    (repetitions,) = (each for handler in logging.root.handlers for each in handler.filters)
    assert len(log.records()) == 1000
    assert len(repetitions._said) <= 256


def test_debugging_is_not_logged(log):
    structlog.get_logger().debug("detail")
    assert log.text() == ""


def test_library_lines_and_ours_and_plain_ones_keep_their_order(log):
    for number in range(0, 300, 3):
        structlog.get_logger().info("line", number=number)
        logging.getLogger("library").warning("%d", number + 1)
        print(json.dumps({"number": number + 2}), file=log.lines, flush=True)
    assert [line.get("number") or int(line["event"]) for line in log.records()[1:]] == list(range(1, 300))


@pytest.fixture
def pipe():
    """A pipe: its end to read from, and the stream of its other end."""
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as stream:
        yield reader, stream
    with suppress(OSError):
        os.close(reader)


def read_until(reader, text):
    """What comes, up to the line with `text`, as records."""
    found = b""
    while text not in found or not found.endswith(b"\n"):
        found += os.read(reader, 1 << 20)
    return [json.loads(line) for line in found.splitlines()]


def test_a_reader_that_stops_reading_holds_nobody_up_and_is_told_what_it_missed(pipe):
    reader, stream = pipe
    lines = log_to(stream)
    started = time.monotonic()
    for number in range(20_000):
        structlog.get_logger().info("line", number=number, text="x" * KIBIBYTE)
    assert time.monotonic() - started < 10
    records = read_until(reader, b'"log lines were lost"')
    numbers = [record["number"] for record in records if record["event"] == "line"]
    (lost,) = (record["count"] for record in records if record["event"] == "log lines were lost")
    assert numbers == list(range(len(numbers)))
    assert len(numbers) + lost == 20_000
    # The queue is bounded, in octets.
    assert 6_000 < len(numbers) < 9_000
    lines.close()


def test_a_reader_that_stopped_reading_delays_the_end_by_a_second_at_most(pipe):
    lines = log_to(pipe[1])
    for _ in range(1000):
        structlog.get_logger().info("line", text="x" * KIBIBYTE)
    started = time.monotonic()
    lines.close()
    assert time.monotonic() - started < 2
    # Let the thread that writes come to its end.
    os.close(pipe[0])
    lines._thread.join(10)


def test_everything_that_was_logged_is_written_at_the_end(log):
    for number in range(5_000):
        structlog.get_logger().info("line", number=number)
    assert [record["number"] for record in log.records()] == list(range(5_000))


def test_a_reader_that_has_gone_is_no_error_of_those_who_log(pipe, capfd):
    reader, stream = pipe
    lines = log_to(stream)
    os.close(reader)
    structlog.get_logger().info("mail")
    logging.getLogger("library").warning("trouble")
    lines.close()
    assert not lines._thread.is_alive()
    assert capfd.readouterr().err == ""


def test_a_full_disk_is_no_error_of_those_who_log(capfd):
    with open("/dev/full", "w") as stream:  # noqa: PTH123  # a device
        lines = log_to(stream)
        structlog.get_logger().info("mail")
        logging.getLogger("library").warning("trouble")
        lines.close()
    assert capfd.readouterr().err == ""


@pytest.fixture
def limited_file_size():
    """Files of this process may have so many octets, and no more: a disk that fills up."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    def limit(octets):
        resource.setrlimit(resource.RLIMIT_FSIZE, (octets, before[1]))

    yield limit
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


def test_after_a_disk_was_full_lines_are_whole_again_and_the_lost_ones_are_counted(log, limited_file_size):
    path = Path(log.stream.name)
    limited_file_size(1000)
    # All at once: of what is written later none is to find room again.
    log.lines.write(100 * (json.dumps({"text": "x" * 80}) + "\n"))
    wait_until(lambda: not log.lines._queue and log.lines._lost)
    limited_file_size(resource.RLIM_INFINITY)
    structlog.get_logger().info("after")
    wait_until(lambda: "were lost" in path.read_text())
    *whole, cut, after, lost = log.text().splitlines()
    assert {line[-3:] for line in whole} == {'x"}'}
    assert not cut.endswith('"}')
    assert json.loads(after)["event"] == "after"
    assert json.loads(lost)["count"] + len(whole) >= 100


def wait_until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        threading.Event().wait(0.01)


def test_a_process_without_standard_error_logs_to_nobody():
    lines = log_to(None)
    structlog.get_logger().info("mail")
    lines.write("mailsluice ready\n")
    assert not lines.isatty()
    lines.close()
