"""Install what the tests run against: `python -m tests.servers.install`.

Kafka's jars, the S3 server and Exim go into the cache; swaks, Postfix, Dovecot and curl come from Debian's packages,
where there is apt-get and we are root. What is there already is left as it is. What cannot be had is said in words on
standard error, and the tests that need it will be skipped; where the environment has CI set, nothing may be missing,
and the exit status is 1.
"""

import os
import sys

from tests.servers import exim, kafka, s3
from tests.servers.apt import install_packages, require_apt
from tests.servers.processes import StartFailed, Unavailable, find_program, run_tool

# Each package, and the program that it is here for.
_PROGRAMS = {"curl": "curl", "dovecot-lmtpd": "dovecot", "postfix": "postfix", "swaks": "swaks"}
# The same of modules of Perl's. swaks comes without what it needs for TLS.
_MODULES = {"libnet-ssleay-perl": "Net::SSLeay"}


def install() -> list[str]:
    """Install all that is missing, and return in words what could not be had."""
    missing = []
    for step in (kafka.install, s3.install, _install_packages, exim.install):
        try:
            step()
        except Unavailable as failure:
            missing.append(str(failure))
    return missing


def _install_packages() -> None:
    wanted = [package for package, program in _PROGRAMS.items() if not _is_here(program)]
    wanted += [package for package, module in _MODULES.items() if not _has_perl(module)]
    if not wanted:
        return
    require_apt(", ".join(wanted))
    try:
        if "postfix" in wanted:
            # Installed as a mail system for this machine it would take port 25; without a configuration it stays off.
            run_tool(
                ["sh", "-c", "echo postfix postfix/main_mailer_type select No configuration | debconf-set-selections"],
                seconds=60,
            )
        install_packages(wanted)
    except StartFailed as failure:
        raise Unavailable(f"{', '.join(wanted)} cannot be installed: {failure}") from failure


def _is_here(program: str) -> bool:
    try:
        find_program(program)
    except Unavailable:
        return False
    return True


def _has_perl(module: str) -> bool:
    try:
        run_tool(["perl", f"-M{module}", "-e", "1"], seconds=60)
    except (OSError, StartFailed):
        return False
    return True


if __name__ == "__main__":
    missing = install()
    for sentence in missing:
        print(sentence, file=sys.stderr)
    sys.exit(1 if missing and os.environ.get("CI") else 0)
