"""The cart: what it costs, and setting goods aside. One thread a connection, urllib for its own calls."""

import json
import os
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.request import urlopen

PRICING = os.environ.get("PRICING")
STOCK = {"tea": 7, "cup": 2}


class Cart(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.answer(self.total)

    def do_POST(self):
        self.answer(self.reserve)

    def total(self, sku):
        time.sleep(0.3)  # An old database.
        if not PRICING:
            return {"total": 4}
        with urlopen(f"{PRICING}/price/{sku}") as response:
            return {"total": json.load(response)["price"]}

    def reserve(self, sku):
        return {"left": STOCK[sku] - 1}  # Nobody thought of goods that were never stocked.

    def answer(self, action):
        try:
            status, body = 200, action(self.path.split("/")[-1])
        except Exception as error:
            status, body = 500, {"error": repr(error)}
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Cart)
print("ready", server.server_port, flush=True)
server.serve_forever()
