"""Authorities and certificates of one's own, against servers that want them."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from pydantic import ValidationError

from sinks import SINKS, load_sink
from sinks.destination import Hold, Retry
from sinks.http import HttpClient, Response
from sinks.tls import Tls
from tests.servers.tls import ELSEWHERE, HERE, Authority


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """One that nobody but its own file's readers trusts."""
    return Authority(tmp_path)


@contextmanager
def serving(context: ssl.SSLContext) -> Iterator[str]:
    """A server that answers each request; give its address."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        ended = threading.Event()

        def serve() -> None:
            while not ended.is_set():
                with (
                    suppress(OSError),
                    server.accept()[0] as plain,
                    context.wrap_socket(plain, server_side=True) as peer,
                ):
                    peer.recv(65_536)
                    peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"https://127.0.0.1:{server.getsockname()[1]}"
        ended.set()
        with suppress(OSError):
            socket.create_connection(server.getsockname(), timeout=1).close()
        thread.join(10)


def asked(url: str, *, verify: bool = True, **settings: Any) -> Response | Retry | Hold:
    """Ask it once."""
    client = HttpClient(url, {}, verify=verify, timeout=5, tls=Tls.model_validate(settings) if settings else None)
    answer = client.request("GET", "/")
    client.close()
    return answer


def client_files(authority: Authority, folder: Path) -> tuple[Path, Path, Path]:
    """Return a file with a certificate and its key, and one of each."""
    before = set(folder.glob("server-*.pem"))
    authority.context()
    (both,) = set(folder.glob("server-*.pem")) - before
    text = both.read_text()
    at = text.index("-----BEGIN PRIVATE KEY")
    certificate, key = folder / "client.pem", folder / "client.key"
    certificate.write_text(text[:at])
    key.write_text(text[at:])
    return both, certificate, key


def test_an_authority_of_ones_own(authority: Authority) -> None:
    """It is trusted where it is named, and nowhere else."""
    with serving(authority.context(HERE)) as url:
        assert isinstance(asked(url, ca=str(authority.path)), Response)
        assert not isinstance(asked(url), Response)
        assert not isinstance(asked(url, min_version="1.2"), Response)
        assert isinstance(asked(url, verify=False, min_version="1.3"), Response)


def test_another_authority(authority: Authority, tmp_path: Path) -> None:
    """The one that is named is trusted in place of others."""
    (tmp_path / "other").mkdir()
    with serving(authority.context(HERE)) as url:
        assert not isinstance(asked(url, ca=str(Authority(tmp_path / "other").path)), Response)


def test_a_certificate_of_ones_own(authority: Authority, tmp_path: Path) -> None:
    """A server that wants one gets it, with its key in the same file or in another."""
    both, certificate, key = client_files(authority, tmp_path)
    context = authority.context(HERE)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(authority.path)
    ca = str(authority.path)
    with serving(context) as url:
        assert not isinstance(asked(url, ca=ca), Response)
        assert isinstance(asked(url, ca=ca, certificate=str(both)), Response)
        assert isinstance(asked(url, ca=ca, certificate=str(certificate), key=str(key)), Response)


def test_a_certificate_for_another_name(authority: Authority) -> None:
    """It is taken where that name is said, and only that name."""
    ca = str(authority.path)
    with serving(authority.context(ELSEWHERE)) as url:
        assert not isinstance(asked(url, ca=ca), Response)
        assert isinstance(asked(url, ca=ca, server_name="elsewhere.example"), Response)
        assert not isinstance(asked(url, ca=ca, server_name="another.example"), Response)


def test_a_server_that_is_too_old(authority: Authority) -> None:
    """What is older than the least version isn't spoken."""
    context = authority.context(HERE)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with serving(context) as url:
        assert isinstance(asked(url, ca=str(authority.path)), Response)
        assert not isinstance(asked(url, ca=str(authority.path), min_version="1.3"), Response)


def test_files_that_are_of_no_use(authority: Authority, tmp_path: Path) -> None:
    """Each is held with the setting, the file and what is wrong with it, and needs no restart once it is mended."""
    both, certificate, _ = client_files(authority, tmp_path)
    other = tmp_path / "other.pem"
    authority.context()
    garbage, encrypted = tmp_path / "garbage", tmp_path / "encrypted"
    garbage.write_text("no PEM")
    key = serialization.load_pem_private_key(both.read_bytes(), None)
    encrypted.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"planted-secret"),
        )
    )
    for settings, said in (
        ({"ca": other}, f"tls.ca {other}: No such file or directory"),
        ({"ca": garbage}, f"tls.ca {garbage}: "),
        ({"certificate": other}, f"tls.certificate {other}: No such file or directory"),
        ({"certificate": certificate}, f"tls.certificate {certificate}: "),
        ({"certificate": certificate, "key": encrypted}, "its key is encrypted: give one without a password"),
    ):
        given: dict[str, Any] = {name: str(path) for name, path in settings.items()}
        found = asked("https://127.0.0.1:9", **given)
        assert isinstance(found, Hold)
        assert said in found.issue


def test_a_key_without_its_certificate() -> None:
    """It would never be shown."""
    with pytest.raises(ValidationError, match="key goes with certificate"):
        Tls(key="a.key")


def test_each_destination_over_http_has_it() -> None:
    """Whose server's certificate can be left unchecked can also be given an authority."""
    for name in SINKS:
        fields = load_sink(name).model_fields
        assert ("validate_ssl" in fields) == ("tls" in fields), name
