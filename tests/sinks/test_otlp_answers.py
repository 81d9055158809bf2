from __future__ import annotations

import pytest

from sinks.destination import Delivered, Hold, Invalid, Outcome, Partial, Retry, TooLarge
from sinks.http import Response
from sinks.otlp_answers import REJECTED, REJECTED_IN_PART, read_answer
from tests.servers.cloud import Answer
from tests.servers.otlp import JSON, PROTOBUF, FakeOtlp, status, success
from tests.sinks.otlp_support import KEY, configured
from tests.sinks.troubles import WAYS, Trouble, Way, ask, held

KINDS = (PROTOBUF, JSON)
HTML = {"Content-Type": "text/html"}


def outcome(answer: Answer, count: int = 3) -> Outcome:
    """Return what an answer means."""
    headers = {name.lower(): value for name, value in answer.headers.items()}
    return read_answer(Response(answer.status, headers, answer.body), count)


class TestSuccess:
    @pytest.mark.parametrize(
        "answer",
        [
            success(),
            success(kind=JSON),
            success(text="a warning"),
            success(text="a warning", kind=JSON),
            Answer(200, b""),
            Answer(204, b""),
            Answer(202, b"{}"),
            Answer(200, b'{"partialSuccess":null}', {"Content-Type": "application/json; charset=utf-8"}),
            Answer(200, b'{"partialSuccess":{"rejectedLogRecords":"0"}}'),
            Answer(200, b'{"aLaterField":1}'),
            Answer(200, b"\x0a\x00", {"Content-Type": "application/x-protobuf"}),
            Answer(200, b"\x0a\x00", {"Content-Type": "application/vnd.google.protobuf"}),
        ],
    )
    def test_delivered(self, answer: Answer) -> None:
        """A success with or without a message is a receipt for all records, in either encoding."""
        assert outcome(answer) == Delivered()

    @pytest.mark.parametrize(
        "answer",
        [
            Answer(200, b"<html>a captive portal</html>", HTML),
            Answer(200, b"<html>", {"Content-Type": PROTOBUF}),
            Answer(200, b"", HTML),
            Answer(200, b"ok", {"Content-Type": "text/plain"}),
            Answer(200, b"[]"),
            Answer(200, b"17"),
            Answer(200, b'{"error":"no such tenant"}'),
            Answer(200, b'{"partialSuccess":[1]}'),
            Answer(200, b'{"partialSuccess":{"rejectedLogRecords":"x"}}'),
            Answer(200, b"\x08\x01\x0a", {"Content-Type": PROTOBUF}),
            Answer(200, b"\x08\x05\x0a\x02\x10\x01", {"Content-Type": PROTOBUF}),
        ],
    )
    def test_what_is_no_receipt(self, answer: Answer) -> None:
        """A page of a proxy, or what can't be read, is no receipt: the request is sent again."""
        found = outcome(answer)
        assert isinstance(found, Retry)
        assert "check `url`" in found.reason

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize(("rejected", "count"), [(3, 3), (1, 1), (9, 1)])
    def test_all_rejected(self, kind: str, rejected: int, count: int) -> None:
        """Where every record was rejected, all have the server's own words, and none is sent again."""
        found = outcome(success(rejected, "too old", kind), count)
        assert found == Partial(dict.fromkeys(range(count), (REJECTED, "too old")), blame="each")

    @pytest.mark.parametrize("kind", KINDS)
    def test_some_rejected(self, kind: str) -> None:
        """Where some were and nobody knows which, all are set aside, saying so, and none is sent again."""
        found = outcome(success(1, "too old", kind))
        assert isinstance(found, Partial)
        assert found.rejected.keys() == {0, 1, 2}
        ((cause, reason),) = set(found.rejected.values())
        assert cause == REJECTED_IN_PART
        assert reason == "1 of the 3 records of a request were rejected, and the answer doesn't say which: too old"
        assert not found.retry

    def test_more_rejected_than_sent(self) -> None:
        """A number that doesn't fit the request is no verdict on all of it: halves are sent until one is alone."""
        assert outcome(success(9, "too old")) == Invalid(REJECTED, "9 records were rejected of a request of 3: too old")

    @pytest.mark.parametrize("kind", KINDS)
    def test_numbers_that_make_no_sense(self, kind: str) -> None:
        """Less than nothing is nothing."""
        assert outcome(success(-1, "", kind)) == Delivered()


class TestFailure:
    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize(
        ("code", "text", "expected"),
        [
            (400, "proto: cannot parse invalid wire-format data", Invalid),
            (400, "unsupported Content-Encoding: zstd", Hold),
            (400, "gzip: invalid header", Hold),
            (400, "missing 'x-honeycomb-dataset' header", Hold),
            (401, "unknown API key - check your credentials", Hold),
            (403, "forbidden", Hold),
            (404, "not found", Hold),
            (405, "method not allowed", Hold),
            (407, "", Hold),
            (408, "", Retry),
            (411, "", Hold),
            (413, "request body too large", TooLarge),
            (415, "unsupported media type", Hold),
            (429, "rate limited", Retry),
            (500, "internal", Retry),
            (502, "", Retry),
            (503, "", Retry),
            (504, "", Retry),
            (302, "", Hold),
        ],
    )
    def test_each_status(self, kind: str, code: int, text: str, expected: type[Outcome]) -> None:
        """Each status has its outcome, with the server's words from either encoding."""
        found = outcome(status(code, text, 3, kind))
        assert type(found) is expected
        said = found.issue if isinstance(found, Hold) else getattr(found, "reason", "")
        assert said.startswith(f"{code}: {text}")

    @pytest.mark.parametrize("body", [b"<html>Bad Gateway</html>", b"", b"\xff", b"[1]", b'{"code":5}', b"\x10\x05"])
    @pytest.mark.parametrize("kind", [*KINDS, "text/html"])
    def test_other_bodies(self, kind: str, body: bytes) -> None:
        """A body that is no Status is quoted."""
        found = outcome(Answer(502, body, {"Content-Type": kind}))
        assert isinstance(found, Retry)
        assert body.decode(errors="replace") in found.reason or not body

    @pytest.mark.parametrize("code", [429, 502, 503, 504])
    def test_retry_after(self, code: int) -> None:
        """The wait that a server asks for is kept to."""
        answer = status(code, "busy")
        found = outcome(Answer(code, answer.body, {**answer.headers, "Retry-After": "7"}))
        assert isinstance(found, Retry)
        assert found.after == 7


TROUBLES = [
    Trouble("key", status(401, "unknown API key - check your credentials", 16), ("401: unknown API key", "`headers`")),
    Trouble("permission", status(403, "the token may not write", 7), ("403", "`headers`")),
    Trouble("tenant", Answer(401, b"no org id\n", {"Content-Type": "text/plain"}), ("no org id", "`headers`")),
    Trouble("path", Answer(404, b"404 page not found\n", {"Content-Type": "text/plain"}), ("404", "`url`")),
    Trouble("method", Answer(405, b"405 method not allowed", {"Content-Type": "text/plain"}), ("405", "`url`")),
    Trouble("redirect", Answer(301, b"", {"Location": "https://x/v1/logs"}), ("redirected to https://x", "`url`")),
    Trouble("media", Answer(415, b"415 unsupported media type", {"Content-Type": "text/plain"}), ("415", "`encoding`")),
    Trouble("encoding", status(400, "unsupported Content-Encoding: gzip", 3), ("400", "`compression`")),
    Trouble("echo", status(401, f"invalid token Bearer {KEY}: {KEY}", 16), ("invalid token ***: ***", "`headers`")),
]


class TestTroubles:
    @pytest.mark.parametrize("way", WAYS)
    @pytest.mark.parametrize("trouble", TROUBLES, ids=str)
    def test_what_a_person_mends(self, way: Way, trouble: Trouble) -> None:
        """A record and a health check meet the same trouble, and both name the setting, and no secret."""
        with FakeOtlp() as server:
            server.fault = trouble.answer
            held(ask(configured(server.url), way), *trouble.words, secret=KEY)

    @pytest.mark.parametrize("way", WAYS)
    def test_a_secret_that_is_repeated(self, way: Way) -> None:
        """What a server says of a key is shown without it, whatever the outcome."""
        with FakeOtlp() as server:
            for answer in (status(503, KEY), success(1, KEY), Answer(200, KEY.encode()), status(400, KEY)):
                server.fault = answer
                assert KEY not in repr(ask(configured(server.url), way))
