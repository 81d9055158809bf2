"""The vocabulary that flows, operators and sinks share: record, batch, ledger, units, errors, events."""

__version__ = "0.1.0"
