"""Where mail comes in: sockets and sessions around the protocol engine, up to a Mail and back to its replies."""

from gateway.ingress.admission import Admission
from gateway.ingress.listener import Listener
from gateway.ingress.passwords import PasswordFile, PasswordFileError, hash_password
from gateway.ingress.settings import Authenticator, ListenerSettings

__all__ = [
    "Admission",
    "Authenticator",
    "Listener",
    "ListenerSettings",
    "PasswordFile",
    "PasswordFileError",
    "hash_password",
]
