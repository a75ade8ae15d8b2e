"""Emit one mail again and again, killed before each operation that changes the file system, each time elsewhere.

Usage: crash.py ENVELOPE CONTENT DIRECTORY [shared]. Prints how many operations there are; DIRECTORY/1 was left by a
process that was killed before the first of them, and so on.
"""

import asyncio
import os
import signal
import sys
from pathlib import Path

from connectors.directory import CONNECTOR, DirectorySettings
from gateway.codec import json_v1
from gateway.envelope import Content, Mail

OPERATIONS = ("fsync", "link", "mkdir")


def kill_before(fatal):
    left = fatal

    def wrapped(operation):
        def call(*arguments, **keywords):
            nonlocal left
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)
            return operation(*arguments, **keywords)

        return call

    for name in OPERATIONS:
        setattr(os, name, wrapped(getattr(os, name)))


async def emit(mail, directory, *, single_instance):
    settings = DirectorySettings(name="archive", path=directory, single_instance=single_instance)
    connector = CONNECTOR.build(settings, {})
    await connector.open()
    await connector.emit(mail)
    await connector.close()


def main(envelope, content, directory, layout=""):
    mail = Mail(json_v1.decode(Path(envelope).read_bytes()), Content(Path(content).read_bytes()))
    fatal = 1
    while True:
        child = os.fork()
        if not child:
            kill_before(fatal)
            asyncio.run(emit(mail, Path(directory) / str(fatal), single_instance=layout == "shared"))
            os._exit(0)
        if not os.waitpid(child, 0)[1]:
            break
        fatal += 1
    print(fatal - 1)


main(*sys.argv[1:])
