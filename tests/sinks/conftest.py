"""What makes a hundred clients cheap: each would read files that are the same for all."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator

import pytest

from tests.servers.tls import Authority


@pytest.fixture(autouse=True, scope="session")
def _one_loader() -> Iterator[None]:
    """Have boto3 read its descriptions of services once: they take it 0.2 s."""
    import botocore.session

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("botocore.session.create_loader", functools.cache(botocore.session.create_loader))
        yield


@pytest.fixture(autouse=True, scope="session")
def _one_authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Have TLS trust one authority, of the tests' own, in place of those of the world, which take it 20 ms to read."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", os.fspath(Authority(tmp_path_factory.mktemp("trusted")).path))
        yield
