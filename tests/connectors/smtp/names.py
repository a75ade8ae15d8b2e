"""A DNS server on loopback that answers from a zone, and one that answers nothing."""

import asyncio

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

FAILING = "servfail"


class Names(asyncio.DatagramProtocol):
    """The zone has texts by (name, type): `{("example.org", "MX"): ["10 mx.example.org."]}`, or FAILING by a name.

    A name that is in it nowhere does not exist.
    """

    def __init__(self, zone):
        self.zone = zone
        self.asked = []

    async def __aenter__(self):
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", 0))
        self.address = self._transport.get_extra_info("sockname")
        return self

    async def __aexit__(self, *_):
        self._transport.close()

    def connection_made(self, transport):
        self._transport = transport

    def datagram_received(self, octets, client):
        query = dns.message.from_wire(octets)
        (question,) = query.question
        name = question.name.to_text(omit_final_dot=True).lower()
        kind = dns.rdatatype.to_text(question.rdtype)
        self.asked.append((name, kind))
        answer = dns.message.make_response(query)
        answer.flags |= dns.flags.RA
        if self.zone.get(name) == FAILING:
            answer.set_rcode(dns.rcode.SERVFAIL)
        elif (name, kind) in self.zone:
            answer.answer.append(dns.rrset.from_text_list(question.name, 60, "IN", kind, self.zone[name, kind]))
        elif not any(isinstance(key, tuple) and key[0] == name for key in self.zone):
            answer.set_rcode(dns.rcode.NXDOMAIN)
        self._transport.sendto(answer.to_wire(), client)
