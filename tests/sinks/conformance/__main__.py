"""Write docs/fault-matrix.md anew from what the tests see: `python -m tests.sinks.conformance`."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest


def main() -> int:
    """Run the cells and write the page; a cell that can't be run leaves the page as it is."""
    pytest.main([str(Path(__file__).with_name("test_faults.py")), "-q", "--tb=line", "-p", "no:cacheprovider"])
    # Not above: pytest has to see these first.
    from tests.sinks.conformance import matrix
    from tests.sinks.conformance.faults import FAULTS
    from tests.sinks.conformance.sites import SITES

    missing = [f"{name}: {fault}" for name in SITES for fault in FAULTS if (name, fault.name) not in matrix.SEEN]
    if missing:
        print(f"Not written, since these did not run well: {'; '.join(missing)}", file=sys.stderr)  # noqa: T201
        return 1
    matrix.PAGE.write_text(matrix.render(list(SITES), matrix.SEEN), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
