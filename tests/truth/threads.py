"""A service of one thread a connection. While it handles `/w?id=ID&calls=N&mode=MODE` it calls
`/leaf?from=ID` N times, so that the URL of each outbound request tells which inbound one caused it.

    kept     by a connection that the thread keeps       new     by a new connection each
    pool     by connections that all threads share       late    by another thread, after the answer
Arguments: PORT of the leaf, and perhaps `poll`: then a thread calls `/leaf?from=nobody` all the time.
"""
import http.client
import queue
import random
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

LEAF = int(sys.argv[1])
kept = threading.local()
pool = queue.LifoQueue()


def dial():
    return http.client.HTTPConnection("127.0.0.1", LEAF)


def call(connection, name):
    connection.request("GET", f"/leaf?from={name}")
    connection.getresponse().read()


def call_by(mode, name):
    if mode == "new":
        connection = dial()
        call(connection, name)
        connection.close()
    elif mode == "pool":
        try:
            connection = pool.get_nowait()
        except queue.Empty:
            connection = dial()
        call(connection, name)
        pool.put(connection)
    else:
        if not hasattr(kept, "connection"):
            kept.connection = dial()
        call(kept.connection, name)


def later(name, calls):
    time.sleep(0.004)
    for _ in range(calls):
        call_by("new", name)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self):
        asked = {key: values[0] for key, values in parse_qs(urlsplit(self.path).query).items()}
        name, calls, mode = asked["id"], int(asked["calls"]), asked["mode"]
        if mode == "late":
            threading.Thread(target=later, args=(name, calls)).start()
        else:
            for _ in range(calls):
                time.sleep(random.random() * 0.002)
                call_by(mode, name)
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256


def poll():
    connection = dial()
    while True:
        call(connection, "nobody")
        time.sleep(0.001)


if "poll" in sys.argv:
    threading.Thread(target=poll, daemon=True).start()
server = Server(("127.0.0.1", 0), Handler)
print("PORT", server.server_port, flush=True)
server.serve_forever()
