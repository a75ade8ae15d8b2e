"""The extension framework of RFC 1869 §4 to §6: an extension is an object with seven parts.

    1 name                the textual name
    2 keyword             what EHLO lists
    3 keyword_parameters  what follows the keyword there
    4 verbs               the verbs it adds
    5 mail_parameters,    the parameters it adds to MAIL and RCPT
      rcpt_parameters
    6 refuse_*,           how it changes what the server does with other commands
      accept_mail
    7 mail_octets,        how much longer MAIL and RCPT lines may be (RFC 5321 §2.2.1 item 6)
      rcpt_octets

The EHLO reply, the dispatch of verbs, the parameters that are accepted and the length of lines all derive from the
table of extensions that a listener has. A new extension is a file in `extensions` and a line in its list.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

from gateway.smtp.events import MailReceived, RecipientReceived
from gateway.smtp.refusals import NOT_AVAILABLE
from gateway.smtp.reply import Reply

if TYPE_CHECKING:
    from gateway.smtp.server import ServerConnection

__all__ = ["Extension", "ExtensionTable", "Parameter", "Policy", "Verb"]


# RFC 5321 §4.5.3.1.4: a command line, CRLF included, before extensions make it longer.
_LINE_OCTETS = 512

Verb = Callable[["ServerConnection", bytes], None]
"""What a verb does, given the connection and the argument: it responds, or asks the owner of the connection."""

Parameter = Callable[[str], str]
"""What is wrong with a parameter's value (`""` for none given), or `""` when it is right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What a listener wants of its extensions; each takes from it what concerns itself."""

    message_octets: int
    starttls: bool = False
    require_tls: bool = False
    authentication: bool = False
    require_authentication: bool = False
    authentication_without_tls: bool = False
    bmtd_before_content: bool = False
    reply_codes: bool = False
    submission_tokens: bool = False


class Extension:
    """One service extension. Hooks change nothing unless overridden."""

    name: ClassVar[str]
    keyword: ClassVar[str]
    requires: ClassVar[tuple[str, ...]] = ()
    verbs: Mapping[bytes, Verb] = {}
    verb_octets: ClassVar[Mapping[bytes, int]] = {}
    mail_parameters: Mapping[str, Parameter] = {}
    rcpt_parameters: Mapping[str, Parameter] = {}
    mail_octets: ClassVar[int] = 0
    rcpt_octets: ClassVar[int] = 0

    @classmethod
    def for_policy(cls, policy: Policy) -> Self | None:  # noqa: ARG003  # what an override takes its arguments from
        """The extension as a listener wants it; None where it makes no sense (STARTTLS without a certificate)."""
        return cls()

    def keyword_parameters(self, connection: "ServerConnection") -> tuple[str, ...]:  # noqa: ARG002  # as is_offered
        """What stands behind the keyword in the EHLO reply."""
        return ()

    def is_offered(self, connection: "ServerConnection") -> bool:  # noqa: ARG002  # what an override looks at
        """Whether EHLO lists the extension in the session's present state, and its verbs and parameters work."""
        return True

    def decline(self, connection: "ServerConnection", argument: bytes) -> None:  # noqa: ARG002  # a payload's size
        """Answer one of the extension's verbs where the extension is switched off."""
        connection.respond(NOT_AVAILABLE)

    def refuse_verb(self, connection: "ServerConnection", verb: bytes) -> Reply | None:
        """Why a known verb is refused before it is looked at."""

    def refuse_mail(self, connection: "ServerConnection", mail: MailReceived) -> Reply | None:
        """Why a MAIL that is in order otherwise is refused."""

    def accept_mail(self, connection: "ServerConnection", mail: MailReceived) -> None:
        """Take from an accepted MAIL what holds for its transaction."""

    def refuse_rcpt(self, connection: "ServerConnection", recipient: RecipientReceived) -> Reply | None:
        """Why a RCPT that is in order otherwise is refused."""

    def refuse_data(self, connection: "ServerConnection") -> Reply | None:
        """Why a DATA that is in sequence is refused."""


class ExtensionTable:
    """The extensions of one listener, and the ones that it knows but has switched off.

    Raises ValueError when an enabled extension requires one that is not (METADATA needs CHUNKING, MD00 §3).
    """

    def __init__(self, enabled: Sequence[Extension], *, disabled: Iterable[Extension] = ()) -> None:
        self.enabled = tuple(enabled)
        keywords = {extension.keyword for extension in self.enabled}
        for extension in self.enabled:
            for needed in extension.requires:
                if needed not in keywords:
                    raise ValueError(f"{extension.keyword} cannot be offered without {needed}")
        self.verbs: dict[bytes, Verb] = {verb: extension.decline for extension in disabled for verb in extension.verbs}
        for extension in self.enabled:
            self.verbs.update(extension.verbs)
        self.mail_parameters = _by_parameter((extension, extension.mail_parameters) for extension in self.enabled)
        self.rcpt_parameters = _by_parameter((extension, extension.rcpt_parameters) for extension in self.enabled)
        self.line_octets = {
            b"MAIL": _LINE_OCTETS + sum(extension.mail_octets for extension in self.enabled),
            b"RCPT": _LINE_OCTETS + sum(extension.rcpt_octets for extension in self.enabled),
        }
        for extension in self.enabled:
            self.line_octets |= extension.verb_octets
        # Only the extensions that override a hook are asked, for every command of every mail.
        self.refuse_verb = [e.refuse_verb for e in self.enabled if type(e).refuse_verb is not Extension.refuse_verb]
        self.refuse_mail = [e.refuse_mail for e in self.enabled if type(e).refuse_mail is not Extension.refuse_mail]
        self.accept_mail = [e.accept_mail for e in self.enabled if type(e).accept_mail is not Extension.accept_mail]
        self.refuse_rcpt = [e.refuse_rcpt for e in self.enabled if type(e).refuse_rcpt is not Extension.refuse_rcpt]
        self.refuse_data = [e.refuse_data for e in self.enabled if type(e).refuse_data is not Extension.refuse_data]

    def __contains__(self, keyword: str) -> bool:
        return any(extension.keyword == keyword for extension in self.enabled)

    def offered_verbs(self, connection: "ServerConnection") -> set[bytes]:
        """The verbs of the extensions that work in the session's present state."""
        return {verb for extension in self.enabled if extension.is_offered(connection) for verb in extension.verbs}

    def hello_lines(self, connection: "ServerConnection") -> list[str]:
        """The EHLO reply's lines after the greeting: `keyword *(SP parameter)` (RFC 1869 §4.3)."""
        return [
            " ".join((extension.keyword, *extension.keyword_parameters(connection)))
            for extension in self.enabled
            if extension.is_offered(connection)
        ]


def _by_parameter(
    declared: Iterable[tuple[Extension, Mapping[str, Parameter]]],
) -> Mapping[str, Sequence[tuple[Extension, Parameter]]]:
    # A parameter may belong to several extensions, each with values of its own: BODY is 8BITMIME's and BINARYMIME's.
    found: dict[str, list[tuple[Extension, Parameter]]] = {}
    for extension, parameters in declared:
        for keyword, check in parameters.items():
            found.setdefault(keyword, []).append((extension, check))
    return found
