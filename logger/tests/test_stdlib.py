from __future__ import annotations

import gc
import logging
import warnings
from typing import Any, Callable

from logweir_logger import StructuredLogger
from logweir_logger.stdlib import StdlibHandler, capture_stdlib

Make = Callable[..., StructuredLogger]
Records = list[dict[str, Any]]


def test_capture(make: Make, records: Records) -> None:
    """What third-party packages log becomes records, until it is given back."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    third = logging.getLogger("third.party")
    with capture_stdlib(make()):
        third.info("got %d of %s", 3, "orders", extra={"order": 5, "password": "p"})
        third.debug("too little")
        try:
            raise ValueError("bad")  # noqa: EM101, TRY301
        except ValueError:
            third.exception("failed")
    assert (root.handlers, root.level) == before
    first, second = records
    assert (first["level"], first["message"]) == ("info", "got 3 of orders")
    assert first["metadata"] == {"order": 5, "password": "[redacted]"}
    assert first["context"]["logger"] == "third.party"
    assert (second["level"], second["error"]["message"]) == ("error", "bad")


def test_levels(make: Make, records: Records) -> None:
    """Each level of logging has one of ours."""
    with capture_stdlib(make(level="trace")):
        for number in (5, 10, 20, 25, 30, 40, 50):
            logging.getLogger("x").log(number, "m")
    assert [record["level"] for record in records] == ["trace", "debug", "info", "info", "warn", "error", "fatal"]


def test_only_some(make: Make, records: Records) -> None:
    """Only named loggers may be taken, at a level of their own; a second `stop` does nothing."""
    capture = capture_stdlib(make(level="debug"), level="error", names=["mine"])
    logging.getLogger("mine.below").error("taken")
    logging.getLogger("mine").warning("too little")
    logging.getLogger("other").error("not taken")
    capture.stop()
    capture.stop()
    logging.getLogger("mine").error("later")
    assert [record["message"] for record in records] == ["taken"]


def test_time_is_kept(make: Make, records: Records) -> None:
    """A record has the time of logging's record."""
    record = logging.LogRecord("n", logging.INFO, "f", 1, "m", (), None)
    record.created = 1_700_000_000.123
    StdlibHandler(make()).handle(record)
    assert records[0]["timestamp"] == "2023-11-14T22:13:20.123Z"


def test_no_circles(make: Make, records: Records) -> None:
    """An output that logs by itself doesn't call itself without end."""

    def listener(record: dict[str, Any]) -> None:
        records.append(record)
        logging.getLogger("client").warning("sent")

    with capture_stdlib(make(outputs=[listener])):
        logging.getLogger("x").info("once")
    assert [record["message"] for record in records] == ["once"]


def test_wrong_format(make: Make, records: Records) -> None:
    """A record whose arguments don't fit its message is written with both."""
    with capture_stdlib(make()):
        logging.getLogger("x").info("%d orders", "no number")
        logging.getLogger("x").info("after")
    assert [record["message"] for record in records] == ["%d orders", "after"]
    assert records[0]["metadata"] == {"args": ["no number"]}


def test_for_good(make: Make, records: Records) -> None:
    """A capture lasts, also when nobody holds what it returned."""
    third = logging.getLogger("for.good")
    capture_stdlib(make(), names=["for.good"])
    gc.collect()
    third.info("taken")
    assert isinstance(third.handlers.pop(), StdlibHandler)
    assert [record["message"] for record in records] == ["taken"]


def test_stack(make: Make, records: Records) -> None:
    """A stack that was asked for is in the metadata."""
    with capture_stdlib(make()):
        logging.getLogger("x").info("here", stack_info=True)
    assert "test_stack" in records[0]["metadata"]["stack_info"]


def test_warnings(make: Make, records: Records) -> None:
    """Python's warnings are taken when asked for."""
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        before = warnings.showwarning
        with capture_stdlib(make(), warnings=True):
            warnings.warn("old", DeprecationWarning, stacklevel=1)
        assert warnings.showwarning is before
    assert "DeprecationWarning: old" in records[0]["message"]


def test_an_object_as_message(make: Make, records: Records) -> None:
    """An object that is logged becomes metadata, without its secrets; its own message is the record's."""
    with capture_stdlib(make()):
        logging.getLogger("x").warning({"event": "login", "password": "hunter2"}, extra={"order": 5})
        logging.getLogger("x").warning({"password": "hunter2"})
        logging.getLogger("x").warning([{"token": "hunter2"}, "other"])
    assert [record["message"] for record in records] == [
        "login",
        '{"password":"[redacted]"}',
        '[{"token":"[redacted]"},"other"]',
    ]
    assert records[0]["metadata"] == {"event": "login", "password": "[redacted]", "order": 5}
    assert "hunter2" not in str(records)


def test_objects_that_are_formatted(make: Make, records: Records) -> None:
    """Secrets in objects that a message is formatted with are hidden, whatever form the arguments have."""
    secret = {"user": "u", "password": "hunter2"}
    with capture_stdlib(make()):
        logger = logging.getLogger("x")
        logger.warning("got %s and %d", secret, 3)
        logger.warning("got %r", [secret])
        logger.warning("%(user)s has %(password)s", secret)
        logger.warning("%s", {"user": "u"})
    assert [record["message"] for record in records] == [
        "got {'user': 'u', 'password': '[redacted]'} and 3",
        "got [{'user': 'u', 'password': '[redacted]'}]",
        "u has [redacted]",
        "{'user': 'u'}",
    ]
    assert secret["password"] == "hunter2"  # what was given stays as it is
