"""What a server in Python can reach at most: it knows DATA, its end and QUIT, and answers everything else with 250.

It is right about whoever says one command at a time. python canned.py PORT
"""

import asyncio
import sys

import uvloop


class Canned(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport
        self.in_content = False
        transport.write(b"220 mx.example.org ESMTP\r\n")

    def data_received(self, octets):
        if self.in_content:
            self.end = (self.end + octets[-5:])[-5:]
            if self.end != b"\r\n.\r\n":
                return
            self.in_content = False
            reply = b"250 2.0.0 accepted\r\n"
        elif octets == b"DATA\r\n":
            self.in_content = True
            self.end = b""
            reply = b"354 end the content with <CRLF>.<CRLF>\r\n"
        else:
            reply = b"250 2.0.0 OK\r\n"
        self.transport.write(reply)
        if octets == b"QUIT\r\n":
            self.transport.close()


async def main(port):
    server = await asyncio.get_running_loop().create_server(Canned, "127.0.0.1", int(port), backlog=1000)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
