"""Trace and span ids: made anew, read from and written to W3C `traceparent`, taken from OpenTelemetry."""

from __future__ import annotations

import os
import sys
from typing import Any, NamedTuple, Optional

_modules = sys.modules
_OTEL = "opentelemetry.trace"
_HEX = frozenset("0123456789abcdef")
_TRACE_LENGTH = 32
_SPAN_LENGTH = 16
_VERSION_LENGTH = _FLAGS_LENGTH = 2
_SAMPLED = "01"


def generate_trace_id() -> str:
    """Return a new trace id: 32 hexadecimal digits."""
    return os.urandom(16).hex()


def generate_span_id() -> str:
    """Return a new span id: 16 hexadecimal digits."""
    return os.urandom(8).hex()


class TraceParent(NamedTuple):
    """What a `traceparent` header says."""

    trace_id: str
    span_id: str
    """Of the caller, so the parent of what is done here."""
    flags: str = _SAMPLED

    def __str__(self) -> str:
        # Version 00 knows but the first of the flags; others, of a later version, must not be passed on.
        return f"00-{self.trace_id}-{self.span_id}-{int(self.flags, 16) & 1:02x}"


def parse_traceparent(header: object) -> Optional[TraceParent]:
    """Return what a `traceparent` header of W3C Trace Context says, None where it is none."""
    if isinstance(header, bytes):
        header = header.decode("latin-1")
    if not isinstance(header, str):
        return None
    version, *rest = header.strip().split("-")
    if not _is_hex(version, _VERSION_LENGTH) or version == "ff" or len(rest) < 3:  # noqa: PLR2004
        return None
    trace_id, span_id, flags = rest[:3]
    # Version 00 has exactly these parts; later ones may add to them.
    if version == "00" and len(rest) > 3:  # noqa: PLR2004
        return None
    if not (_is_id(trace_id, _TRACE_LENGTH) and _is_id(span_id, _SPAN_LENGTH) and _is_hex(flags, _FLAGS_LENGTH)):
        return None
    return TraceParent(trace_id, span_id, flags)


def _is_hex(text: str, length: int) -> bool:
    return len(text) == length and _HEX.issuperset(text)


def _is_id(text: str, length: int) -> bool:
    return _is_hex(text, length) and text.strip("0") != ""


def _otel() -> Any:
    """Return the current OpenTelemetry span and its context, None where there is none.

    Nothing is imported for it: an application without OpenTelemetry has no current span.
    """
    module: Any = _modules.get(_OTEL)
    if module is None:
        return None
    span = module.get_current_span()
    context = span.get_span_context()
    return (span, context) if context.is_valid else None


def otel_ids() -> Optional[TraceParent]:
    """Return the ids of the current OpenTelemetry span, None where there is none."""
    try:
        found = _otel()
        if found is None:
            return None
        context = found[1]
        return TraceParent(f"{context.trace_id:032x}", f"{context.span_id:016x}", f"{int(context.trace_flags):02x}")
    except Exception:  # noqa: BLE001  # half imported, or not what it seems
        return None


def otel_trace() -> Optional[bytes]:
    """Return the encoded trace of the current OpenTelemetry span, None where there is none."""
    try:
        current = _otel()
        if current is None:
            return None
        span, context = current
        found = b',"trace":{"traceId":"%032x","spanId":"%016x"' % (context.trace_id, context.span_id)
        parent = getattr(span, "parent", None)
        return found + (b"}" if parent is None else b',"parentSpanId":"%016x"}' % parent.span_id)
    except Exception:  # noqa: BLE001  # half imported, or not what it seems: the record matters more
        return None
