"""What the answers of Datadog's Logs intake mean: "Send logs" in its API reference."""

from __future__ import annotations

import re
import time
from typing import Any

from sinks.destination import Delivered, Hold, Invalid, Outcome, Retry, TooLarge, blame_of
from sinks.http import Response

_LONGEST_REASON = 1000
_EPOCH_LIMIT = 1e9
"""X-RateLimit-Reset is in seconds from now; a larger number is a moment."""
_TIME = re.compile(r"time ?stamp", re.IGNORECASE)
"""What an intake that speaks Datadog's protocol says of a time in another form than it reads."""
_KEY = "check api_key, which must be an API key and no application key, and that site is the one it belongs to"


def read_answer(answer: Response) -> Outcome:
    """Return what an answer to a request means."""
    errors = _errors(answer)
    status, reason = answer.status, f"{answer.status}: {errors or answer.excerpt()}"
    if status == 202 or (status in {200, 204} and answer.body.strip()[:1] in {b"", b"{"}):  # noqa: PLR2004
        # 200 and 204 are what proxies that speak this protocol answer; a page of theirs is no receipt.
        outcome: Outcome = Delivered()
    elif status == 413:  # noqa: PLR2004
        outcome = TooLarge(reason)
    elif status in {401, 403}:
        mend = _KEY if errors else f"check api_key and site, or url: {_ANOTHER}"
        outcome = Hold(f"{reason}: {mend}", blame_of(status))
    elif status in {200, 204, 408, 429} or status >= 500:  # noqa: PLR2004
        outcome = Retry(reason, _reset(answer), blame_of(status))
    elif status == 400 and not errors and _TIME.search(reason):  # noqa: PLR2004
        outcome = Hold(
            f"{reason}: set `timestamps: milliseconds`, or text: this intake reads the other kind", blame_of(status)
        )
    elif status == 400 and errors:  # noqa: PLR2004
        outcome = Invalid("refused by Datadog", reason)
    else:
        outcome = Hold(f"{reason}: check site, or url, and compression", blame_of(status))
    return outcome


_ANOTHER = "that is no error of Datadog's, so a proxy or a firewall may have answered"


def _reset(answer: Response) -> float | None:
    """Return the seconds that Datadog asks to wait: Retry-After, else X-RateLimit-Reset."""
    asked = answer.retry_after()
    text = answer.headers.get("x-ratelimit-reset", "").strip()
    if asked is None and text.isascii() and text.isdigit():
        asked = float(text)
        if asked > _EPOCH_LIMIT:
            asked = max(0.0, asked - time.time())
    return asked


def _errors(answer: Response) -> str:
    """Return the errors' own words; nothing where the answer is none of Datadog's."""
    try:
        return "; ".join(map(_words, answer.json()["errors"]))[:_LONGEST_REASON]
    except (ValueError, LookupError, TypeError):
        return ""


def _words(error: Any) -> str:
    if isinstance(error, dict):
        return ": ".join(str(error[part]) for part in ("title", "detail") if error.get(part))
    return str(error)
