"""A server of http.server's own kind, one thread a connection, that answers by what it is asked.

    /status/N    status N, no body        /bytes/N     N bytes
    /chunked/N   N bytes, chunked         /moved       302 to /status/200
Anything else is answered with the length of the request's body. Arguments: [-4|-6|-u PATH]
"""
import socket
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def body(self):
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            total = 0
            while True:
                size = int(self.rfile.readline().split(b";")[0], 16)
                if size == 0:
                    while self.rfile.readline() not in (b"\r\n", b""):
                        pass
                    return total
                total += len(self.rfile.read(size))
                self.rfile.readline()
        return len(self.rfile.read(int(self.headers.get("Content-Length", 0))))

    def answer(self):
        length = self.body()
        path = self.path.split("?")[0]
        kind, _, number = path.strip("/").partition("/")
        if kind == "status":
            self.send_response(int(number))
            if int(number) not in (204, 304):
                self.send_header("Content-Length", "0")
            self.end_headers()
        elif kind == "moved":
            self.send_response(302)
            self.send_header("Location", "/status/200")
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif kind == "chunked":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.send_header("Trailer", "X-Sum")
            self.end_headers()
            left = int(number)
            while left:
                size = min(left, 1000)
                self.wfile.write(b"%x;part=1\r\n" % size + b"c" * size + b"\r\n")
                left -= size
            self.wfile.write(b"0\r\nX-Sum: 1\r\n\r\n")
        else:
            body = b"b" * int(number) if kind == "bytes" else b"%d\n" % length
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

    def __getattr__(self, name):
        if name.startswith("do_"):
            return self.answer
        raise AttributeError(name)

    def address_string(self):
        return "somebody"

    def log_message(self, *_):
        pass


class Unix(ThreadingHTTPServer):
    address_family = socket.AF_UNIX

    def server_bind(self):
        self.socket.bind(self.server_address)
        self.server_name, self.server_port = "unix", 0


class V6(ThreadingHTTPServer):
    """On all addresses, IPv4 ones as mapped ones: whether it takes them is its default."""

    address_family = socket.AF_INET6


how = sys.argv[1] if len(sys.argv) > 1 else "-4"
if how == "-u":
    server = Unix(sys.argv[2], Handler)
elif how == "-6":
    server = V6(("::", 0), Handler)
else:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
server.daemon_threads = True
# Heads and bodies are written one after the other: they are not to wait for each other's acknowledgement.
Handler.disable_nagle_algorithm = how != "-u"
print("PORT", server.server_port, flush=True)
server.serve_forever()
