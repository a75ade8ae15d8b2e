"""Gateways one behind the other, with METADATA and without: nothing is lost that the next hop can carry."""

import re
from contextlib import AsyncExitStack
from itertools import product

import pytest

from gateway.connector import PermanentFailure
from gateway.envelope.flatten import flatten
from gateway.smtp import LMTP, SMTP
from gateway.status import Status
from gateway.testing import MemoryConnector
from tests.connectors.smtp.connectors import connected
from tests.connectors.smtp.test_real_servers import HOP, OWN, TEXT, mail_to
from tests.relay.servers import listening


async def chain(stack, folder, hops, *, last=SMTP):
    """A connector to the first of `hops`, which say whether they offer METADATA; each relays to the next one."""
    taken = MemoryConnector()
    destination = taken
    for number, offers in reversed(list(enumerate(hops, 1))):
        dialect = last if destination is taken else SMTP
        (server, _) = await stack.enter_async_context(
            listening(
                folder,
                disabled=() if offers else ("METADATA",),
                dialect=dialect,
                hostname=f"gw{number}.example.net",
                taken=destination,
            )
        )
        destination = await stack.enter_async_context(connected(server, protocol=dialect.name.lower()))
    return destination, taken


def hosts(trace):
    """Which hosts have written the Received fields, from top to bottom."""
    return [each.decode() for each in re.findall(rb"\bby ([a-z0-9.]+)", trace)]


@pytest.mark.parametrize("last", [SMTP, LMTP], ids=lambda dialect: dialect.name)
@pytest.mark.parametrize(
    "hops", [*product([True, False], repeat=3)], ids=lambda hops: "".join("ny"[each] for each in hops)
)
async def test_the_trace_is_whole_and_in_order_and_the_content_untouched_below_it(tmp_path, hops, last):
    mail = mail_to("bob@example.org")
    async with AsyncExitStack() as stack:
        first, taken = await chain(stack, tmp_path, hops, last=last)
        await first.emit(mail)
        (found,) = taken.mails.values()
    containers = found.envelope.metadata.containers
    content = found.content.read()
    trace = b"".join(each.data for each in containers if each.type == 0) + content.removesuffix(TEXT)
    assert content.endswith(TEXT)
    assert hosts(trace) == ["gw3.example.net", "gw2.example.net", "gw1.example.net", "gw.example.net", "msa"]
    assert trace.endswith(OWN + HOP)
    if all(hops):
        assert content == TEXT
        assert found.envelope.message.sha256 == mail.envelope.message.sha256
        assert [(each.type, each.data) for each in containers[3:]] == [(0, OWN), (0, HOP), (1, b"\\Flagged")]
    else:
        # From the last hop without METADATA on, what was above the content is part of it.
        carrying = next(number for number, offers in enumerate(reversed(hops)) if not offers)
        assert len(containers) == 1 + carrying
        assert {each.type for each in containers} == {0}


async def test_a_first_hop_that_is_given_it_flattened_gets_no_containers(tmp_path):
    async with AsyncExitStack() as stack:
        first, taken = await chain(stack, tmp_path, (True, True))
        await first.emit(flatten(mail_to("bob@example.org")))
        (found,) = taken.mails.values()
    assert found.content.read() == OWN + HOP + TEXT
    assert len(found.envelope.metadata.containers) == 2


async def test_a_refusal_at_the_end_is_the_answer_at_the_beginning(tmp_path):
    async with AsyncExitStack() as stack:
        first, taken = await chain(stack, tmp_path, (True, False), last=LMTP)
        taken.failure = PermanentFailure(Status(5, 7, 1), "not this one")
        with pytest.raises(PermanentFailure) as raised:
            await first.emit(mail_to("bob@example.org"))
    assert str(raised.value.status) == "5.7.1"


async def test_a_circle_ends(tmp_path):
    """A gateway that relays to itself: at the hop that is too much it refuses, and so do all before."""

    class ToWhateverComes(MemoryConnector):
        to = None

        async def emit(self, mail):
            return await self.to.emit(mail)

    async with AsyncExitStack() as stack:
        back = ToWhateverComes()
        server, _ = await stack.enter_async_context(listening(tmp_path, taken=back, hostname="gw1.example.net"))
        back.to = await stack.enter_async_context(connected(server, max_connections=64))
        mail = mail_to("bob@example.org", hop=HOP * 95)
        with pytest.raises(PermanentFailure) as raised:
            await back.to.emit(mail)
    assert str(raised.value.status) == "5.4.6"
