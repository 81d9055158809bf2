"""TLS for the stand-ins: an authority of the tests' own, and certificates that are right or wrong in a chosen way."""

from __future__ import annotations

import ipaddress
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from socketserver import TCPServer
from uuid import uuid4

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

HERE = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
ELSEWHERE = x509.DNSName("elsewhere.example")


class Authority:
    """An authority; `path` is its own certificate, for those who trust it.

    Args:
        folder: Where its files go.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Authority of the tests")])
        own = self._builder(self._name, self._key, days=1).add_extension(x509.BasicConstraints(True, 0), critical=True)
        self.path = folder / "authority.pem"
        self.path.write_bytes(own.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))

    def secure(self, server: TCPServer, name: x509.GeneralName = HERE, *, days: int = 1) -> None:
        """Have a server speak TLS.

        Args:
            server: It listens already, and has not yet been connected to.
            name: What its certificate is for.
            days: How long it is valid still; negative: it is so no more.
        """
        server.socket = self.context(name, days=days).wrap_socket(server.socket, server_side=True)

    def context(self, name: x509.GeneralName = HERE, *, days: int = 1) -> ssl.SSLContext:
        """Return what makes a server speak TLS, with a new certificate."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "server")])
        made = self._builder(subject, key, days).add_extension(x509.SubjectAlternativeName([name]), critical=False)
        pem = serialization.Encoding.PEM
        # One for each: several may be made at a time.
        file = self._folder / f"server-{uuid4().hex}.pem"
        file.write_bytes(
            made.sign(self._key, hashes.SHA256()).public_bytes(pem)
            + key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, days: int) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=2))
            .not_valid_after(now + timedelta(days=days))
        )
