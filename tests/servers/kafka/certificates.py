"""A certificate authority for one run, the broker's key and certificate in the PEM form Kafka reads, and a client's."""

from dataclasses import dataclass
from pathlib import Path

import trustme
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from tests.servers.ports import LOOPBACK


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificates:
    """Where the files are: what both sides trust, the broker's keystore, and a client's certificate with its key."""

    ca_file: Path
    client_cert_file: Path
    keystore: Path


def make_certificates(directory: Path) -> Certificates:
    """Make an authority, a certificate for the loopback address and one for a client, and write all to `directory`."""
    authority = trustme.CA()
    leaf = authority.issue_cert(LOOPBACK, "localhost")
    # Kafka reads a PKCS #8 key only, and trustme writes the older form.
    key = load_pem_private_key(leaf.private_key_pem.bytes(), password=None)
    key_pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    certificates = Certificates(
        ca_file=directory / "ca.pem",
        client_cert_file=directory / "client.pem",
        keystore=directory / "keystore.pem",
    )
    authority.issue_cert("client@example.org").private_key_and_cert_chain_pem.write_to_path(
        certificates.client_cert_file
    )
    authority.cert_pem.write_to_path(certificates.ca_file)
    certificates.keystore.write_bytes(key_pem + b"".join(pem.bytes() for pem in leaf.cert_chain_pems))
    return certificates
