"""The two servers that transcripts run against: the engine in memory, and a real listener on a socket.

Both answer alike: MAIL is accepted, a recipient when it has a route, a mail by what its recipients' destinations say.
"""

import ipaddress
import re
import ssl
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from aiosmtpd.smtp import AuthResult

from gateway.connector import PermanentFailure, Receipt, TransientFailure
from gateway.delivery import Destination, Route, Routes
from gateway.envelope import Mail
from gateway.envelope.flatten import flatten
from gateway.ingress import Listener, ListenerSettings
from gateway.ingress.receipt_codes import receipt_names
from gateway.ingress.reply_metadata import OfferedCodes, ReplyMetadata
from gateway.keys import Key, KeyRing, Purpose
from gateway.maildata import ContentTokens
from gateway.smtp import DIALECTS, Limits, Policy, extension_table
from gateway.smtp.extensions.stoken import DELIVERY_ID, STOKEN
from gateway.smtp.extensions.xreplymeta import MAILDATA
from gateway.smtp.referral import REFERRAL, parse_referral
from gateway.status import Status
from gateway.stoken import SubmissionTokens
from tests.smtp.transcript import Transcript, unescape

HOSTNAME = "mx.example.com"
COORDINATES = {"recorder": ("place", "number"), "smtp": ("host",)}
KEY = Key(purpose=Purpose.MAILDATA, id="1", created="2026-11-22T00:00:00.000000Z", secret=bytes(32))
SUBMISSION_KEY = Key(purpose=Purpose.STOKEN, id="1", created="2026-11-22T00:00:00.000000Z", secret=bytes(32))
_DATE = re.compile(rb"[A-Z][a-z]{2}, [0-9]+ [A-Z][a-z]{2} [0-9]{4} [0-9:]{8} \+0000")


@dataclass(frozen=True)
class Settings:
    """What the `@` lines of a transcript may say; the names are those of its fields, and of the extensions' policy."""

    dialect: str = "smtp"
    disable: tuple[str, ...] = ()
    max_message: int = 1_000_000
    limits: dict[str, int] = field(default_factory=dict)
    starttls: bool = False
    require_tls: bool = False
    login: str = ""  # login:password
    require_auth: bool = False
    auth_in_clear: bool = False
    before_content: bool = False
    trusted: bool = False
    receipts: bool = False  # response codes for receipts are offered
    stoken: bool = False  # submission by token is offered
    maildata: bool = False  # tokens about stored content are offered, of what the recorder has
    referral: bool = False  # referrals are offered
    places: tuple[str, ...] = ("store",)  # where the receipts of a mail say that it is, "_" for a blank, "-" for none
    # recipients at example.org go to a destination that takes them; those at other domains have no route
    answers: dict[str, str] = field(default_factory=dict)  # recipient -> "451 4.4.1 text" or "550 5.1.1 text"
    # recipient -> "refer url" or "dovecot url"; with "taken" in between, the recorder gets what is not referred
    referrals: dict[str, str] = field(default_factory=dict)


def settings_of(transcript: Transcript) -> Settings:
    known: dict[str, object] = {}
    limits: dict[str, int] = {}
    answers: dict[str, str] = {}
    referrals: dict[str, str] = {}
    for name, value in transcript.settings.items():
        if "@" in name and value.startswith(("refer_", "dovecot_")):
            referrals[name] = value.replace("_", " ")
        elif "@" in name:
            answers[name] = value.replace("_", " ")
        elif name.startswith("limit_"):
            limits[name.removeprefix("limit_")] = int(value)
        elif name in ("disable", "places"):
            known[name] = tuple(value.split(","))
        elif name == "max_message":
            known[name] = int(value)
        elif value in ("yes", "no"):
            known[name] = value == "yes"
        else:
            known[name] = value
    return Settings(**known, limits=limits, answers=answers, referrals=referrals)


class Recorder:
    """A connector that keeps what it gets, and refuses the recipients whose domain it is told to."""

    def __init__(self, answer: str = "", *, place: str = "store", name: str = "recorder") -> None:
        self.answer = answer
        self.name = name
        self.location: dict[str, str | int] = {"secret": "hidden"}
        if place != "-":
            self.location |= {"number": 7, "place": unescape(place.replace("_", " ")).decode()}
        self.mails: list[dict[str, bytes]] = []

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def emit(self, mail: Mail) -> Receipt:
        if self.answer:
            code, status, text = self.answer.split(" ", 2)
            failure = TransientFailure if code[0] == "4" else PermanentFailure
            raise failure(Status.parse(status), text)
        self.mails.append(describe(mail))
        return Receipt(id=mail.envelope.id, connector=self.name, type="recorder", location=self.location)


def describe(mail: Mail) -> dict[str, bytes]:
    """The facts of a mail that a transcript may state."""
    envelope = mail.envelope
    own, *received = envelope.metadata.containers
    flat = flatten(mail)
    described: dict[str, str | bytes] = {
        "from": f"<{envelope.envelope.mail_from.address.raw}>",
        "to": ",".join(f"<{recipient.address.raw}>" for recipient in envelope.envelope.recipients),
        "mail_parameters": " ".join(_words(envelope.envelope.mail_from.parameters)),
        "rcpt_parameters": ",".join(" ".join(_words(r.parameters)) for r in envelope.envelope.recipients),
        "content": mail.content.read(),
        "containers": b",".join(b"%b:%04x:%b" % (c.origin.value.encode(), c.type, c.data) for c in received),
        "keywords": " ".join(envelope.metadata.keywords),
        "chunks": ",".join(map(str, envelope.message.chunks)),
        "protocol": envelope.transaction.protocol,
        "body": envelope.transaction.body,
        "hello": envelope.transaction.hello,
        "authenticated_as": envelope.transaction.authenticated_as,
        "extensions": ",".join(envelope.transaction.extensions),
        "origins": ",".join(container.origin.value for container in envelope.metadata.containers),
        # This gateway's own trace is another one each time.
        "own_trace": _DATE.sub(b"{date}", own.data.replace(envelope.id.encode(), b"{id}")),
        "flattened": flat.content.read().replace(own.data, b"{own trace}", 1),
        "disposition": ",".join(f"{d.type:04x}:{d.action.value}" for d in flat.envelope.metadata.disposition[1:]),
    }
    return {name: fact.encode() if isinstance(fact, str) else fact for name, fact in described.items()}


def _words(parameters: Iterable[object]) -> list[str]:
    return [f"{p.keyword}={p.value}" if p.value else p.keyword for p in parameters]  # type: ignore[attr-defined]


def listener_settings(settings: Settings, spool: Path, tls: ssl.SSLContext | None) -> ListenerSettings:
    login, _, password = settings.login.partition(":")

    def authenticator(_server, _session, _envelope, _mechanism, data):
        return AuthResult(success=(data.login, data.password) == (login.encode(), password.encode()))

    policy = Policy(
        message_octets=settings.max_message,
        starttls=settings.starttls,
        require_tls=settings.require_tls,
        authentication=bool(settings.login),
        require_authentication=settings.require_auth,
        authentication_without_tls=settings.auth_in_clear,
        bmtd_before_content=settings.before_content,
        reply_codes=settings.receipts or settings.maildata or settings.stoken or settings.referral,
        submission_tokens=settings.stoken,
    )
    everyone = (ipaddress.ip_network("127.0.0.0/8"),)
    return ListenerSettings(
        name="test",
        hostname=HOSTNAME,
        dialect=DIALECTS[settings.dialect],
        extensions=extension_table(policy, disabled=settings.disable),
        limits=Limits(message_octets=settings.max_message, **settings.limits),
        spool=spool,
        tls=tls,
        authenticator=authenticator if login else None,
        trusted_networks=everyone if settings.trusted else (),
        reply_metadata=ReplyMetadata(
            offered=tuple(
                OfferedCodes(names=names, networks=everyone)
                for names, is_offered in (
                    (receipt_names(COORDINATES), settings.receipts),
                    ((MAILDATA,), settings.maildata),
                    ((STOKEN, DELIVERY_ID), settings.stoken),
                    ((REFERRAL,), settings.referral),
                )
                if is_offered
            ),
            coordinates=COORDINATES,
            submission=SubmissionTokens(KeyRing([SUBMISSION_KEY])) if settings.stoken else None,
            contents=(
                ContentTokens(KeyRing([KEY]), issuer=HOSTNAME, storages=["recorder"]) if settings.maildata else None
            ),
        ),
    )


def routes(settings: Settings, recorder: Recorder) -> Routes:
    """`*@example.org` goes to the recorder; each recipient with an answer of its own to a destination that gives it."""
    found = [
        Route(recipients=(recipient,), destinations=(_destination(Recorder(answer), answer),))
        for recipient, answer in settings.answers.items()
    ]
    first, *others = settings.places
    recorder.location = Recorder(place=first).location
    copies = [Recorder(place=place, name=f"copy-{number}") for number, place in enumerate(others, 1)]
    everywhere = tuple(_destination(each, each.name) for each in (recorder, *copies))
    for recipient, text in settings.referrals.items():
        style, *taken, url = text.split(" ")
        found.append(
            Route(
                recipients=(recipient,),
                destinations=everywhere if taken else (),
                referral=parse_referral(url),
                dovecot_form=style == "dovecot",
            )
        )
    found.append(Route(recipients=("*@example.org",), destinations=everywhere))
    return Routes(found, hostname="example.org")


def _destination(connector: Recorder, name: str) -> Destination:
    return Destination(connector, name=name, metadata="preserve", deadline_seconds=10, max_in_flight=100)


async def listen(settings: ListenerSettings, routes: Routes) -> tuple[Listener, int]:
    listener = Listener(settings, routes)
    ((_, port),) = await listener.listen_tcp("127.0.0.1", 0)
    return listener, port
