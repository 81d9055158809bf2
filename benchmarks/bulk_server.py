"""A `_bulk` endpoint that takes everything and counts documents: what it costs is not the flow's.

`python -m benchmarks.bulk_server [PORT] [DELAY]` prints its port, answers each request after DELAY seconds, and gives its
figures at GET /.
"""

from __future__ import annotations

import gzip
import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: BulkServer

    def do_POST(self) -> None:
        """Take one bulk request."""
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.note(body, gzipped=self.headers.get("content-encoding") == "gzip")
        time.sleep(self.server.delay)
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

    def __init__(self, port: int, delay: float) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.delay = delay
        self._lock = threading.Lock()
        self._requests = self._documents = self._bytes = self._raw_bytes = 0
        self._last = 0.0

    def note(self, body: bytes, *, gzipped: bool) -> None:
        """Count a request's documents."""
        text = gzip.decompress(body) if gzipped else body
        with self._lock:
            self._requests += 1
            self._bytes += len(body)
            self._raw_bytes += len(text)
            self._documents += text.count(b"\n") // 2
            self._last = time.time()

    def figures(self) -> dict[str, float]:
        """Return the counts so far, and when the last request came."""
        with self._lock:
            return {
                "requests": self._requests,
                "documents": self._documents,
                "bytes": self._bytes,
                "raw_bytes": self._raw_bytes,
                "last": self._last,
            }


def main() -> None:
    """Serve until killed."""
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 0
    server = BulkServer(port, float(sys.argv[2]) if len(sys.argv) > 2 else 0.0)
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
