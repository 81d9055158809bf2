from __future__ import annotations

import json

import pytest

from sinks.destination import Delivered, Hold, Invalid, Outcome, Retry, TooLarge
from sinks.http import Response
from sinks.loki_answers import LINE_TOO_LONG, TOO_FAR_BEHIND, Sent, read_answer, refusals
from sinks.loki_entries import SECOND
from sinks.window import TOO_NEW, TOO_OLD
from tests.servers.loki import rfc3339

NOON = 1_790_000_000 * SECOND
STREAM = r'{job="it\"s", level="info"}'
OLD = f"entry for stream '{STREAM}' has timestamp too old: {rfc3339(NOON)}, oldest acceptable timestamp is: "
NEW = f"entry for stream '{STREAM}' has timestamp too new: "
LONG = f"max entry size '100' bytes exceeded for stream '{STREAM}' while adding an entry with length '101' bytes"
TOTAL = f"user 'fake', total ignored: 1 out of 2 for stream: {STREAM}"


def found(text: str, times: list[int], *, sizes: list[int] | None = None, alone: bool = True) -> dict[int, str]:
    """Return the cause of each entry that is refused for certain."""
    sent = Sent(times, sizes or [10] * len(times), alone)
    return {index: cause for index, (cause, _) in refusals(Response(400, {}, text.encode()), sent).items()}


class TestRefusals:
    def test_too_old(self) -> None:
        """All before the second of the oldest acceptable time are refused; what shares that second may be or not."""
        limit = NOON + 100 * SECOND
        times = [NOON, limit - 1, limit, limit + SECOND]
        assert found(OLD + rfc3339(limit), times) == {0: TOO_OLD, 1: TOO_OLD}
        assert found(f"3 errors like: {OLD}{rfc3339(limit)}; 1 errors like: x", times) == {0: TOO_OLD, 1: TOO_OLD}

    def test_an_offset(self) -> None:
        """Loki writes times in the zone of its machine."""
        limit = rfc3339(NOON + 3600 * SECOND).replace("Z", "+01:00")
        assert found(OLD + limit, [NOON - 1, NOON]) == {0: TOO_OLD}

    def test_too_new(self) -> None:
        """All from the earliest that is named on are refused."""
        text = f"{NEW}{rfc3339(NOON + 9 * SECOND)}; 2 errors like: {NEW}{rfc3339(NOON)}"
        assert found(text, [NOON - 1, NOON + 5, NOON + 60 * SECOND]) == {1: TOO_NEW, 2: TOO_NEW}

    def test_too_long(self) -> None:
        """All whose line is longer than the limit that is named are refused."""
        assert found(LONG, [NOON] * 3, sizes=[100, 101, 5000]) == {1: LINE_TOO_LONG, 2: LINE_TOO_LONG}

    def test_several_at_once(self) -> None:
        """One answer names all kinds, in any order."""
        text = (
            f"1 errors like: {LONG}; 1 errors like: {NEW}{rfc3339(NOON + SECOND)}; 1 errors like: {OLD}{rfc3339(NOON)}"
        )
        causes = found(text, [NOON - 1, NOON, NOON + SECOND], sizes=[10, 101, 10])
        assert causes == {0: TOO_OLD, 1: LINE_TOO_LONG, 2: TOO_NEW}

    @pytest.mark.parametrize(
        "reason",
        [
            f"entry too far behind, entry timestamp is: {rfc3339(NOON)}, oldest acceptable timestamp is: {{}}",
            "entry too far behind, oldest acceptable timestamp is: {}",
        ],
    )
    def test_too_far_behind(self, reason: str) -> None:
        """All of the stream before the oldest acceptable time are refused, whether or not they are named."""
        limit = NOON + 100 * SECOND
        said = reason.format(rfc3339(limit))
        text = f"entry with timestamp 2026-09-21 14:13:20 +0000 UTC ignored, reason: '{said}',\n{TOTAL}"
        assert found(text, [NOON, limit - 1, limit]) == {0: TOO_FAR_BEHIND, 1: TOO_FAR_BEHIND}
        assert found(text, [NOON, limit - 1, limit], alone=False) == {}

    def test_the_time_that_is_named(self) -> None:
        """An entry whose time is named is refused, to the nanosecond, and so are earlier ones of its stream."""
        for words in ("entry too far behind", "entry out of order"):
            text = (
                f"entry with timestamp 2026-09-21 14:13:20.0000005 +0000 UTC ignored, reason: '{words}' for stream: x"
            )
            assert found(text, [NOON, NOON + 500, NOON + 501]) == {0: TOO_FAR_BEHIND, 1: TOO_FAR_BEHIND}

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "something is wrong",
            f"stream '{STREAM}' has label value too long: 'x'",
            f"entry for stream '{{a={json.dumps(NEW + rfc3339(0))}}}' has a problem",
            f"{NEW}garbage",
            f"{OLD}2026-99-99T00:00:00Z",
            "\x00\ud800".encode("utf-8", "surrogatepass").decode("latin-1"),
        ],
    )
    def test_unknown_words(self, text: str) -> None:
        """What is not known to name entries names none."""
        assert found(text, [NOON, 0]) == {}


@pytest.mark.parametrize(
    ("status", "text", "kind"),
    [
        (204, "", Delivered),
        (200, "", Delivered),
        (200, "<html>", Retry),
        (260, "blocked", Hold),
        (301, "", Hold),
        (400, "something", Invalid),
        (422, "something", Invalid),
        (400, "request body too large: 5 bytes, limit: 4 bytes", TooLarge),
        (400, f"stream '{STREAM}' has structured metadata too large: '70000' bytes, limit: '65536' bytes", Invalid),
        (413, "", TooLarge),
        (429, 'maximum active stream limit exceeded when trying to create stream {a="message too large"}', Retry),
        (429, f"entry with timestamp x ignored, reason: 'Per stream rate limit exceeded',\n{TOTAL}", Retry),
        (500, "rpc error: code = ResourceExhausted desc = grpc: received message larger than max (2 vs. 1)", TooLarge),
        (500, "rpc error: code = Unavailable", Retry),
        (503, "", Retry),
        (401, "", Hold),
        (404, "", Hold),
        (411, "", Hold),
    ],
)
def test_read_answer(status: int, text: str, kind: type[Outcome]) -> None:
    """Each answer has its outcome, whatever a label says."""
    assert type(read_answer(Response(status, {}, text.encode()))) is kind


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        (OLD + rfc3339(NOON), TOO_OLD),
        (NEW + rfc3339(NOON), TOO_NEW),
        (LONG, LINE_TOO_LONG),
        (f"entry too far behind, oldest acceptable timestamp is: {rfc3339(NOON)}", TOO_FAR_BEHIND),
        ("x", "refused by Loki"),
    ],
)
def test_cause(text: str, cause: str) -> None:
    """An entry that is refused alone has the cause that the answer names."""
    outcome = read_answer(Response(400, {}, text.encode()))
    assert isinstance(outcome, Invalid)
    assert outcome.cause == cause
