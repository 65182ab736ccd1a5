"""The shop's basket: asks for the price of an article and adds it up. Plain http.server and http.client."""

import http.client
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

port, next_port = int(sys.argv[1]), int(sys.argv[2])


class Basket(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        article = self.path.rsplit("/", 1)[-1]
        passed_on = {name: self.headers[name] for name in ("traceparent", "tracestate") if name in self.headers}
        prices = http.client.HTTPConnection("127.0.0.1", next_port, timeout=10)
        prices.request("GET", f"/price/{article}", headers=passed_on)
        answer = prices.getresponse()
        price = json.loads(answer.read())
        prices.close()
        body = json.dumps({"article": article, "total": price}).encode()
        self.send_response(200 if answer.status == 200 else 502)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


ThreadingHTTPServer(("127.0.0.1", port), Basket).serve_forever()
