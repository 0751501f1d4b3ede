"""An HTTP server that answers every RPC call in one odd way."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class OddKubo:
    """Answers with ``answer`` (status, message) or ``facts``, or redirects, or sends without end."""

    def __init__(self):
        self.answer = (200, "")
        self.facts = None
        self.endless = False
        self.redirect = ""
        self.requests = []
        odd = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                odd.requests.append((self.path, dict(self.headers)))
                self._read_body()
                if odd.redirect:
                    self._reply(307, b"", {"Location": odd.redirect})
                elif odd.endless:
                    self.send_response(200)
                    self.end_headers()
                    self.close_connection = True
                    try:
                        for _ in range(64):
                            self.wfile.write(bytes(1024 * 1024))
                    except OSError:
                        return
                else:
                    status, message = odd.answer
                    error = {"Message": message, "Code": 0, "Type": "error"}
                    body = json.dumps(error if odd.facts is None else odd.facts).encode()
                    self._reply(status, body, {"Content-Type": "application/json"})

            def _read_body(self):
                if "chunked" not in self.headers.get("Transfer-Encoding", ""):
                    self.rfile.read(int(self.headers.get("Content-Length", 0)))
                    return
                while size := int(self.rfile.readline().split(b";")[0], 16):
                    self.rfile.read(size + 2)
                self.rfile.readline()

            def _reply(self, status, body, headers):
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
