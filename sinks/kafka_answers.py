"""What a Kafka producer's failures mean: "Error codes" in the Kafka protocol guide, and rdkafka.h for local ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from logweir.librdkafka import LibrdkafkaSettings, teller
from sinks.destination import Delivered, Hold, Invalid, Outcome, Partial, Retry, TooLarge

TOO_LARGE = "MSG_SIZE_TOO_LARGE"
ALONE_TOO_LARGE = "logweir: larger than the producer takes"
"""Beside librdkafka's names: the producer itself refused the record, so its size alone is at fault."""
WITH_ANOTHER = "_INVALID_DIFFERENT_RECORD"
"""The record was in a batch with a record that was refused."""

_LOGIN = "check sasl.mechanism, sasl.username, sasl.password and security.protocol under `settings`"
_MENDING = {
    "_AUTHENTICATION": _LOGIN,
    "SASL_AUTHENTICATION_FAILED": _LOGIN,
    "ILLEGAL_SASL_STATE": _LOGIN,
    "UNSUPPORTED_SASL_MECHANISM": _LOGIN,
    "_SSL": "check ssl.ca.location and the other ssl.* under `settings`, and the names in `brokers`",
    "TOPIC_AUTHORIZATION_FAILED": "allow this user to write to `topic`, or check sasl.username under `settings`",
    "CLUSTER_AUTHORIZATION_FAILED": "allow this user IdempotentWrite on the cluster, or to write to `topic`",
    "UNKNOWN_TOPIC_OR_PART": "create it, or check `topic` and `brokers`",
    "_UNKNOWN_TOPIC": "create it, or check `topic` and `brokers`",
    "UNKNOWN_TOPIC_ID": "create it, or check `topic` and `brokers`",
    "_UNKNOWN_PARTITION": "check `topic`, which has no such partition",
    "TOPIC_EXCEPTION": "check `topic`: the brokers take no topic of this name",
    "UNSUPPORTED_COMPRESSION_TYPE": "set another `compression`",
    "UNSUPPORTED_FOR_MESSAGE_FORMAT": "the brokers or the topic are of an old format: upgrade them",
    "UNSUPPORTED_VERSION": "the brokers are too old for an idempotent producer: upgrade them",
    "_UNSUPPORTED_FEATURE": "the brokers are too old for an idempotent producer, or for this `compression`",
    "_INVALID_ARG": "check `settings`",
    "INVALID_REQUIRED_ACKS": "check the topic's min.insync.replicas",
}
"""What a person has to mend."""
_REFUSED = {"INVALID_RECORD", "INVALID_TIMESTAMP", "INVALID_MSG_SIZE"}
"""What is wrong with a record, such as one without a key for a compacted topic.

Where it is the only one of its batch, all of the batch are told so; where there are more, the others are told that
they failed with them. So only a record that was sent alone is known to be at fault.
"""
_UNTOLD = {"_MSG_TIMED_OUT", "_PURGE_QUEUE", "_PURGE_INFLIGHT", "_FATAL", "_TIMED_OUT", "_TRANSPORT", "_FAIL"}
"""These say that a record wasn't acknowledged, not why: what the client has said of its connections may."""

_REFUSED_LOGIN = {name for name, mend in _MENDING.items() if mend == _LOGIN} | {"_SSL"}
_DOWN = "_ALL_BROKERS_DOWN"
_UNREACHED = {_DOWN, "_TRANSPORT", "_RESOLVE"}


class Failure(NamedTuple):
    """Why a record was not acknowledged, or what the client says of a connection."""

    name: str
    """Of the error, such as TOPIC_AUTHORIZATION_FAILED; local ones begin with _."""
    said: str
    """librdkafka's words, without any secret."""

    def outcome(self, trouble: Failure | None) -> Hold | Retry:
        """Return whether a person is needed; whatever isn't known is tried again."""
        cause = trouble if trouble is not None and self.name in _UNTOLD else self
        reason = f"{self.name}: {self.said}" + (f" ({cause.name}: {cause.said})" if cause is not self else "")
        if (mend := _MENDING.get(cause.name)) is not None:
            return Hold(f"{reason}: {mend}")
        if cause.name in _UNREACHED:
            reason += ": if it stays so, check `brokers`, and security.protocol under `settings`"
        return Retry(reason)


class Troubles:
    """What a client says of its connections: the `error_cb` of it.

    Args:
        settings: The user's, for what must not be shown.
    """

    def __init__(self, settings: LibrdkafkaSettings) -> None:
        self._said = teller(settings)
        self.last: Failure | None = None
        """The last one, but none that says less than one before it."""
        self.fatal = False
        """Whether the client can't go on."""

    def __call__(self, error: Any) -> None:
        """Take note of an error of librdkafka's."""
        failure = self.read(error)
        if error.fatal():
            self.last, self.fatal = failure, True
        elif self.last is None or not (self.fatal or self.refused or failure.name == _DOWN):
            self.last = failure

    @property
    def refused(self) -> bool:
        """Whether a broker refused the login, or its certificate was refused."""
        return self.last is not None and self.last.name in _REFUSED_LOGIN

    def read(self, error: Any) -> Failure:
        """Return an error of librdkafka's without any secret."""
        return Failure(error.name(), self._said(error))

    def forget(self) -> None:
        """Forget what was said before."""
        self.last = None


def read_failures(failed: Mapping[int, Failure], trouble: Failure | None, count: int) -> Outcome:
    """Return what became of a request of `count` records.

    Args:
        failed: By its index, why a record was not acknowledged. All others were.
        trouble: What the client last said of its connections, or None.
        count: How many records were sent.
    """
    if not failed:
        return Delivered()
    rejected: dict[int, tuple[str, str]] = {}
    large: list[int] = []
    suspect: list[int] = []
    again: list[int] = []
    reason = issue = ""
    accused = next((failure for failure in failed.values() if failure.name in _REFUSED), None)
    for index, failure in failed.items():
        if failure.name == ALONE_TOO_LARGE:
            rejected[index] = ("record too large", failure.said)
        elif failure.name == TOO_LARGE:
            large.append(index)
        elif failure.name in _REFUSED or (accused and failure.name == WITH_ANOTHER):
            suspect.append(index)
        else:
            again.append(index)
            outcome = failure.outcome(trouble)
            if isinstance(outcome, Hold):
                issue = issue or outcome.issue
            else:
                reason = reason or outcome.reason
    unread = [*large, *suspect]
    if len(unread) == count:
        # The broker looks at batches: which of their records is at fault shows once each is alone.
        return Invalid(f"rejected: {accused.name}", accused.said) if accused else TooLarge(failed[large[0]].said)
    if len(again) + len(unread) == count:
        return Hold(issue) if issue else Retry(reason)
    # Those alone are sent at once, and split if they are refused again: this was no attempt of theirs.
    after = 0.0 if unread and not again else None
    return Partial(rejected, tuple(sorted([*again, *unread])), "" if issue else reason, after, issue)
