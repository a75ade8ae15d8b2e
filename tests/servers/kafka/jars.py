"""Kafka's jars, copied by Maven as `pom.xml` lists them into the cache, and the Java that runs them."""

import re
import shutil
import tempfile
from pathlib import Path

from tests.servers.cache import CACHE, exclusive
from tests.servers.processes import StartFailed, Unavailable, run_tool

_HERE = Path(__file__).parent
_POM = _HERE / "pom.xml"
_INSTALLED = CACHE / "kafka"
_COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
_OLDEST_JAVA = 17  # Kafka 4 brokers are compiled for it


def install() -> None:
    """Have the jars in the cache; do nothing if those of this very `pom.xml` are there.

    Raises `Unavailable` without Java or Maven, or when Maven cannot get the jars.
    """
    _java()
    with exclusive():
        if _is_installed():
            return
        maven = shutil.which("mvn")
        if maven is None:
            raise Unavailable("Kafka cannot be installed: Maven (mvn) is not here")
        # Into a directory beside it, renamed when complete: an interrupted copy must not pass for an installed one.
        with tempfile.TemporaryDirectory(dir=CACHE) as unfinished:
            jars = Path(unfinished) / "kafka"
            try:
                run_tool(
                    [maven, "-B", "-q", "-f", _POM, _COPY, "-DincludeScope=runtime", f"-DoutputDirectory={jars}"],
                    seconds=900,
                )
            except StartFailed as failure:
                raise Unavailable(f"Kafka cannot be installed: {failure}") from failure
            shutil.copy(_POM, jars)
            shutil.rmtree(_INSTALLED, ignore_errors=True)
            jars.rename(_INSTALLED)


def java_command(main_class: str, *arguments: str | Path, options: tuple[str, ...] = ()) -> list[str | Path]:
    """Return the command that runs a class of Kafka; raise `Unavailable` if Java or the jars are not here."""
    java = _java()
    if not _is_installed():
        raise Unavailable("Kafka is not installed: run `python -m tests.servers.install`")
    return [
        java,
        "-XX:+UseSerialGC",  # starts fastest, and a test broker's heap is small
        f"-Dlog4j.configurationFile=file:{_HERE / 'log4j2.properties'}",
        *options,
        "-cp",
        f"{_INSTALLED}/*",
        main_class,
        *arguments,
    ]


def _is_installed() -> bool:
    copy = _INSTALLED / _POM.name
    return copy.exists() and copy.read_bytes() == _POM.read_bytes()


def _java() -> str:
    java = shutil.which("java")
    if java is None:
        raise Unavailable(f"Kafka cannot run: Java is not here, {_OLDEST_JAVA} or later is needed")
    stated = run_tool([java, "-version"], seconds=60)
    version = re.search(r'version "(\d+)', stated)
    if version is None or int(version[1]) < _OLDEST_JAVA:
        raise Unavailable(f"Kafka cannot run: Java {_OLDEST_JAVA} or later is needed, here is {stated.splitlines()[0]}")
    return java
