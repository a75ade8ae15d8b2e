"""Notifications as mails of our own: `multipart/report` (RFC 6522) about recipients of one mail (RFC 3464).

A notification goes to the reverse-path of the mail and has the null reverse-path itself, so that none is ever sent
about one. It says what the originator needs and what the connector lets the world know; the rest is in the log, under
the mail's id, which it names.
"""

import binascii
import hashlib
from collections.abc import Sequence

from msgspec import Struct

from gateway.address import NULL_REVERSE_PATH, Address
from gateway.dates import date_time, seconds_of, timestamp
from gateway.envelope import (
    Client,
    Content,
    Envelope,
    Mail,
    Message,
    Parameter,
    Recipient,
    Sender,
    Transaction,
    TransactionEnvelope,
    new_id,
    read_headers,
    read_metadata,
    with_own_trace,
)
from gateway.envelope.headers import MAXIMUM_OCTETS
from gateway.envelope.trace import composed_field
from gateway.notification.fields import field, final_recipient, one_line
from gateway.notification.requests import (
    envelope_id,
    original_recipient,
    wants_failure,
    wants_headers_only,
    wants_success,
)
from gateway.notification.returned import Part, is_lines, returned_headers, returned_mail
from gateway.status import DELIVERED, Status

__all__ = ["Undelivered", "failed", "relayed"]


class Undelivered(Struct, frozen=True, kw_only=True):
    """A recipient who does not get the mail, and the status and text of the DeliveryFailure that says why."""

    recipient: Recipient
    status: Status
    text: str


class _Said(Struct, frozen=True, kw_only=True):
    """What is said of a recipient. `reason` is empty where there is nothing to explain."""

    recipient: Recipient
    status: Status
    reason: str = ""


class _Report(Struct, frozen=True, kw_only=True):
    """What is said of some recipients. `has_one_reason` where the text explains what is the same for all of them."""

    subject: str
    action: str
    text: str
    recipients: tuple[_Said, ...]
    has_one_reason: bool = True


def failed(mail: Mail, undelivered: Sequence[Undelivered], *, hostname: str, now: int) -> Mail | None:
    """The notification that `mail` will not be delivered to some recipients; None where none of them wants one.

    A failure is a transient one where retries have ended. `hostname` is this gateway's, `now` Unix time in nanoseconds.
    `mail` is not flattened; its content is read, up to 1 MiB of it, and not needed later. Raises OSError where it
    cannot be read.
    """
    wanted = tuple(
        _Said(
            recipient=each.recipient,
            status=each.status,
            reason=one_line(each.text).encode("ascii", "replace").decode(),
        )
        for each in undelivered
        if wants_failure(each.recipient)
    )
    given_up = any(each.status.class_ == 4 for each in wanted)
    tried = "It was tried again and again, and is given up now." if given_up else "It is not tried again."
    reasons = {f"{each.reason} ({each.status})" for each in wanted}
    has_one_reason = len(reasons) == 1
    reason = f"The reason: {min(reasons)}." if has_one_reason else "The reason stands below each."
    report = _Report(
        subject="Your mail could not be delivered",
        action="failed",
        text=f"Your mail could not be delivered to the recipients below. {tried}\r\n"
        f"{reason}\r\n\r\n"
        "If you can mend that, send your mail again. If not, forward this notice to\r\n"
        f"postmaster@{hostname}, with the number {mail.envelope.id}.\r\n",
        recipients=wanted,
        has_one_reason=has_one_reason,
    )
    return _notification(mail, report, hostname=hostname, now=now)


def relayed(
    mail: Mail, recipients: Sequence[Recipient], *, hostname: str, now: int, most_octets: int = MAXIMUM_OCTETS
) -> Mail | None:
    """The notification that `mail` has been handed over for `recipients`; None where none of them wants one.

    It is due when every destination of a recipient has the mail: what lies behind them cannot notify (RFC 3461 §5.2.4).
    The rest is as with `failed`; only the header section is returned (RFC 3461 §4.3), up to `most_octets` of it.
    """
    report = _Report(
        subject="Your mail was relayed",
        action="relayed",
        text="Your mail has been handed over to where mail for the recipients below goes.\r\n"
        "There is nothing for you to do. From there you may get no further notice.\r\n",
        recipients=tuple(_Said(recipient=each, status=DELIVERED) for each in recipients if wants_success(each)),
    )
    return _notification(mail, report, hostname=hostname, now=now, most_octets=most_octets)


def _notification(
    mail: Mail, report: _Report, *, hostname: str, now: int, most_octets: int = MAXIMUM_OCTETS
) -> Mail | None:
    sender = mail.envelope.envelope.mail_from
    # RFC 3461 §5.2: never to the null reverse-path.
    if sender.address == NULL_REVERSE_PATH or not report.recipients:
        return None
    to = _without_route(sender.address)
    utf8 = not to.raw.isascii()
    whole = report.action == "failed" and not wants_headers_only(sender)
    parts = (
        _text(report, hostname),
        _delivery_status(mail.envelope, report, hostname),
        returned_mail(mail, utf8=utf8) if whole else returned_headers(mail, utf8=utf8, most_octets=most_octets),
    )
    id_ = new_id()
    boundary = _boundary(id_, parts)
    header = (
        field("From", f"Mail Delivery System <MAILER-DAEMON@{hostname}>"),
        # RFC 5321 §4.5.1: a postmaster without a domain is this host's, and has one in a header field.
        field("To", f"<{to.raw}>" if to.domain else f"<{to.raw}@{hostname}>"),
        field("Subject", report.subject),
        field("Date", date_time(now / 1e9)),
        field("Message-ID", f"<{id_}@{hostname}>"),
        field("Auto-Submitted", "auto-replied"),
        field("MIME-Version", "1.0"),
        b'Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary="%b"\r\n' % boundary,
        # RFC 2045 §6.4: said of the whole where it is said of a part.
        field("Content-Transfer-Encoding", "8bit" if any(part.encoding == "8bit" for part in parts) else "7bit"),
    )
    octets = b"".join((*header, *(_framed(part, boundary) for part in parts), b"\r\n--%b--\r\n" % boundary))
    return _mail_of_ours(octets, id_=id_, to=to, utf8=utf8, hostname=hostname, now=now)


def _text(report: _Report, hostname: str) -> Part:
    addresses = "".join(_line(each, with_reason=not report.has_one_reason) for each in report.recipients)
    octets = f"This is the mail gateway {hostname}.\r\n\r\n{report.text}{addresses}\r\n".encode(errors="replace")
    if octets.isascii() and is_lines(octets):
        return Part("text/plain; charset=us-ascii", "7bit", octets)
    return Part("text/plain; charset=utf-8", "quoted-printable", binascii.b2a_qp(octets))


def _line(said: _Said, *, with_reason: bool) -> str:
    address = f"\r\n  <{one_line(said.recipient.address.raw)}>"
    return f"{address}\r\n    {said.reason} ({said.status})" if with_reason else address


def _delivery_status(envelope: Envelope, report: _Report, hostname: str) -> Part:
    # RFC 3461 §6.3: dns is the type of fully qualified names.
    name_type = "dns" if "." in hostname else "x-local-hostname"
    fields = [
        field("Reporting-MTA", f"{name_type}; {hostname}"),
        field("Arrival-Date", date_time(seconds_of(envelope.received_at))),
    ]
    if id_ := envelope_id(envelope.envelope.mail_from):
        fields.insert(0, field("Original-Envelope-Id", id_))
    for each in report.recipients:
        fields.append(b"\r\n")
        if original := original_recipient(each.recipient):
            fields.append(field("Original-Recipient", original))
        fields.append(field("Final-Recipient", final_recipient(each.recipient.address.raw)))
        fields += [field("Action", report.action), field("Status", str(each.status))]
        if each.reason:
            # Not of the type smtp: that is for replies of a mail server.
            fields.append(field("Diagnostic-Code", f"x-mailsluice; {each.reason}"))
        fields.append(field("Final-Log-ID", envelope.id))
    return Part("message/delivery-status", "7bit", b"".join(fields))


def _boundary(id_: str, parts: Sequence[Part]) -> bytes:
    # Made after the mail that it must not occur in; but hoping is not knowing.
    boundary = b"=_" + id_.encode("ascii")
    while any(b"--" + boundary in part.octets for part in parts):
        boundary += b"_"
    return boundary


def _framed(part: Part, boundary: bytes) -> bytes:
    head = field("Content-Type", part.media_type) + field("Content-Transfer-Encoding", part.encoding)
    return b"\r\n--%b\r\n%b\r\n%b" % (boundary, head, part.octets)


def _without_route(address: Address) -> Address:
    # RFC 5321 §4.1.1.3, appendix C: a source route is not followed, nor sent again.
    if not address.raw.startswith("@"):
        return address
    return Address(raw=address.raw.partition(":")[2], local_part=address.local_part, domain=address.domain)


def _mail_of_ours(octets: bytes, *, id_: str, to: Address, utf8: bool, hostname: str, now: int) -> Mail:
    body = "7BIT" if octets.isascii() else "8BITMIME"
    headers, headers_complete = read_headers(octets)
    parameters = (Parameter(keyword="BODY", value=body), *((Parameter(keyword="SMTPUTF8"),) if utf8 else ()))
    own = composed_field(hostname=hostname, id_=id_, recipients=(to,), when=now / 1e9)
    envelope = Envelope(
        id=id_,
        received_at=timestamp(now),
        gateway=hostname,
        # It came in by no session.
        transaction=Transaction(protocol="", listener="", session="", client=Client(address=""), body=body),
        envelope=TransactionEnvelope(
            mail_from=Sender(address=NULL_REVERSE_PATH, parameters=parameters),
            recipients=(Recipient(address=to),),
        ),
        metadata=read_metadata(with_own_trace(own, ()), trusted=True),
        message=Message(
            size=len(octets),
            sha256=hashlib.sha256(octets).hexdigest(),
            headers=headers,
            headers_complete=headers_complete,
        ),
    )
    return Mail(envelope, Content(octets))
