"""A `_bulk` endpoint that takes everything: it shares the cores with the flow, so it does as little as it can.

`python -m benchmarks.bulk_server` prints its port, and gives its figures at GET /.
"""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: BulkServer

    def do_POST(self) -> None:
        """Take one bulk request."""
        self.server.note(len(self.rfile.read(int(self.headers["content-length"]))))
        self._answer(b'{"took":1,"errors":false,"items":[]}')

    def do_GET(self) -> None:
        """Tell the figures."""
        self._answer(json.dumps(self.server.figures()).encode())

    def log_message(self, *_args: object) -> None:
        """Stay quiet."""

    def _answer(self, body: bytes) -> None:
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
        self.wfile.write(head + body)


class BulkServer(ThreadingHTTPServer):
    """Counts what it is sent."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self._lock = threading.Lock()
        self._requests = self._bytes = 0
        self._last = 0.0

    def note(self, size: int) -> None:
        """Count a request of `size` bytes."""
        with self._lock:
            self._requests += 1
            self._bytes += size
            self._last = time.time()

    def figures(self) -> dict[str, float]:
        """Return the counts so far, and when the last request came."""
        with self._lock:
            return {"requests": self._requests, "bytes": self._bytes, "last": self._last}


def main() -> None:
    """Serve until killed."""
    server = BulkServer()
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
