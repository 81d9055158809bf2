"""Fetch what the real servers need, ahead of the tests: `python -m tests.servers`."""

from __future__ import annotations

import sys

from tests.servers import kafka, maven, opensearch


def main() -> int:
    """Fill the cache; a machine without Java or Maven is told so, and its tests skip what needs them."""
    try:
        maven.java()
        kafka.prepare()
        opensearch.prepare()
    except maven.ServersUnavailable as error:
        print(f"Without real servers: {error}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
