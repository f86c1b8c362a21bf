"""Receive the public events of a municipality by webhook, and know that they come from it.

    pip install standardwebhooks
    python receive.py 8080 secret.txt

The secret in that file (whsec_...) comes from the municipality's operator. Put a proxy with TLS before it.
"""

import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

from standardwebhooks import Webhook, WebhookVerificationError

webhook = Webhook(Path(sys.argv[2]).read_text(encoding="ascii").strip())


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(min(int(self.headers.get("Content-Length", 0)), 2_000_000))
        try:
            event = webhook.verify(body, dict(self.headers))
        except (WebhookVerificationError, ValueError):  # not from the municipality, or too old: a replay
            self.send_error(401)
            return
        print(event["type"], event["data"], flush=True)  # store it here, before the answer
        self.send_response(204)
        self.end_headers()


HTTPServer(("127.0.0.1", int(sys.argv[1])), Receiver).serve_forever()
