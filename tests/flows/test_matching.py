"""Expressions about records of the archive: what a search finds, an erasure takes and a hold keeps."""

from __future__ import annotations

import pyarrow as pa
import pytest

from flows.matching import Matcher
from operators.formats import ECS
from operators.where import parse

FLAT = (
    b'{"@timestamp":"2026-12-01T03:00:00.000Z","user.id":"u1","error.type":"E","error.message":"boom","url.path":"/x"}'
)
NESTED = b'{"user":{"id":"u1"},"error":{"type":"E","message":"boom"},"url":{"path":"/x"}}'
OTHER = b'{"user.id":"u2","message":"of u1, boom","error":{"message":"bang"}}'


@pytest.mark.parametrize(
    "where",
    ["user.id = 'u1'", "error.message = 'boom'", "url.path = '/x'", "error.message contains 'oo'", "/user.id = 'u1'"],
)
def test_an_erasure_finds_every_form_of_ecs(where: str) -> None:
    """What stays because it was written flat would be there after the person was told that it is gone."""
    found = Matcher(parse(where), ECS).rows(pa.array([OTHER, FLAT, NESTED, OTHER], pa.binary()))
    assert found == ([1] if where.startswith("/") else [1, 2])
