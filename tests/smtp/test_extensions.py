"""The extension framework: everything about an extension derives from its one object."""

import pytest

from gateway.smtp import EXTENSIONS, SMTP, Extension, ExtensionTable, Limits, Policy, Reply, ServerConnection, Waiting
from gateway.smtp.extensions import Chunking, EightBitMime, Metadata, Size, extension_table

POLICY = Policy(
    message_octets=1000,
    starttls=True,
    authentication=True,
    authentication_without_tls=True,
    reply_codes=True,
    submission_tokens=True,
)


class Sample(Extension):
    """An extension that nobody has, with all its parts."""

    name = "Sample"
    keyword = "XSAMPLE"
    requires = ("SIZE",)
    mail_octets = 20
    rcpt_octets = 30
    verb_octets = {b"XLONG": 5000}  # noqa: RUF012  # as short as a test may be

    def __init__(self) -> None:
        self.verbs = {b"XLONG": lambda connection, argument: connection.respond(_length(argument))}
        self.mail_parameters = {"XCOLOUR": lambda value: "" if value in ("RED", "BLUE") else "no such colour"}
        self.rcpt_parameters = {"XQUIET": lambda value: "XQUIET takes no value" if value else ""}

    def keyword_parameters(self, connection) -> tuple[str, ...]:
        return ("RED", "BLUE")

    def refuse_mail(self, connection, mail):
        return Reply.of(550, "5.7.1", "no blue mail here") if ("XCOLOUR", "BLUE") in mail.parameters else None


def _length(argument: bytes) -> Reply:
    return Reply.of(250, "2.0.0", f"{len(argument)} octets")


def talk(table: ExtensionTable, *lines: bytes) -> list[str]:
    """The last line of the reply to each line."""
    connection = ServerConnection(
        SMTP, hostname="mx.example.com", extensions=table, limits=Limits(message_octets=1000, command_octets=512)
    )
    said = []
    for line in lines:
        connection.receive_data(line + b"\r\n")
        while not isinstance(connection.next_event(), Waiting):
            connection.answer(Reply.of(250, "2.0.0", "ok"))
        said.append(connection.data_to_send().decode().splitlines())
    return [lines[-1] for lines in said if lines]


def test_a_new_extension_is_announced_dispatched_and_checked_by_its_object_alone():
    assert talk(
        ExtensionTable([Size(1000), Sample()]),
        b"EHLO a",
        b"XLONG " + b"x" * 4000,
        b"MAIL FROM:<a@b> XCOLOUR=GREEN",
        b"MAIL FROM:<a@b> XCOLOUR=BLUE",
        b"MAIL FROM:<a@b> XCOLOUR=RED",
        b"RCPT TO:<a@b> XQUIET=1",
        b"RCPT TO:<a@b> XQUIET",
    ) == [
        "250 XSAMPLE RED BLUE",
        "250 4000 octets",
        "501 no such colour",
        "550 no blue mail here",
        "250 ok",
        "501 XQUIET takes no value",
        "250 ok",
    ]


def test_without_its_object_nothing_of_an_extension_is_known():
    assert talk(ExtensionTable([Size(1000)]), b"EHLO a", b"XLONG x", b"MAIL FROM:<a@b> XCOLOUR=RED") == [
        "250 SIZE 1000",
        "500 unknown command",
        "555 XCOLOUR is not known here",
    ]


def test_line_lengths_are_the_sum_of_what_extensions_add():
    table = ExtensionTable([Size(1000), EightBitMime(), Sample()])
    assert table.line_octets == {b"MAIL": 512 + 26 + 17 + 20, b"RCPT": 512 + 30, b"XLONG": 5000}


@pytest.mark.parametrize("extension", [Metadata(), Sample()])
def test_an_extension_is_not_offered_without_the_one_it_requires(extension):
    with pytest.raises(ValueError, match=f"{extension.keyword} cannot be offered without"):
        ExtensionTable([extension])


def test_withdrawing_an_extension_withdraws_those_that_require_it():
    table = extension_table(POLICY, disabled=["CHUNKING"])
    assert "METADATA" not in table
    assert "BINARYMIME" not in table
    assert "SMTPUTF8" not in extension_table(POLICY, disabled=["8BITMIME"])


def test_metadata_is_offered_with_what_it_requires():
    assert "METADATA" in ExtensionTable([Chunking(), Metadata()])


@pytest.mark.parametrize("extension_type", EXTENSIONS, ids=lambda extension_type: extension_type.keyword)
def test_every_extension_has_its_parts(extension_type):
    """RFC 1869 §4.3 and RFC 5321 §2.2.2: names, keyword, parameters, verbs, and how much longer lines get."""
    extension = extension_type.for_policy(POLICY)
    connection = ServerConnection(
        SMTP, hostname="mx.example.com", extensions=ExtensionTable([]), limits=Limits(message_octets=1000)
    )
    connection.greet(reply_codes=("ID", "KAFKA"))
    assert extension.name
    assert extension.keyword == extension.keyword.upper()
    assert all(
        parameter.isprintable() and " " not in parameter for parameter in extension.keyword_parameters(connection)
    )
    assert all(verb == verb.upper() for verb in extension.verbs)
    assert bool(extension.mail_parameters) == (extension.mail_octets > 0)
    assert bool(extension.rcpt_parameters) == (extension.rcpt_octets > 0)
    assert extension_type.__doc__


def test_keywords_and_verbs_belong_to_one_extension_each():
    keywords = [extension_type.keyword for extension_type in EXTENSIONS]
    verbs = [verb for extension_type in EXTENSIONS for verb in extension_type.for_policy(POLICY).verbs]
    assert len(keywords) == len(set(keywords))
    assert len(verbs) == len(set(verbs))
