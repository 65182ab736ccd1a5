"""A server that answers as real ones do when something goes wrong, by the path of the request.

    /normal            200, 3 bytes                     /early     413 before the body is read, then closes
    /half              half a body, then closes         /reset     half a body, then resets the connection
    /die               half a body, then SIGKILL itself /silent    reads on and never answers
    /shut              closes without an answer         /hints     100, 103 and 103 before 200
    /cut               a part of a head, then closes
    /until-close       no length: ends by closing       /lf        line ends without CR
    /fold              a folded field                   /long/N    a head of N bytes, in one-byte pieces where N < 300
    /two-lengths       conflicting lengths              /trailers  chunked, extensions, trailers, odd pieces
    /switch            101, then bytes that look like requests
"""
import os
import signal
import socket
import struct
import threading


def reset(connection):
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def serve(connection):
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    data = b""
    while True:
        data = data.lstrip(b"\r\n")
        while b"\r\n\r\n" not in data and b"\n\n" not in data:
            more = connection.recv(4096)
            if not more:
                connection.close()
                return
            data = (data + more).lstrip(b"\r\n")
        end = min(data.find(mark) + len(mark) for mark in (b"\r\n\r\n", b"\n\n") if mark in data)
        head, data = data[:end], data[end:]
        path = head.split(b" ")[1].decode()
        kind, _, number = path.strip("/").partition("/")
        length = 0
        for line in head.split(b"\n"):
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        if kind == "early":
            connection.sendall(b"HTTP/1.1 413 Payload Too Large\r\nContent-Length: 4\r\nConnection: close\r\n\r\nmuch")
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass
            connection.close()
            return
        while len(data) < length:
            data += connection.recv(65536)
        data = data[length:]
        half = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b"h" * 500
        if kind == "half":
            connection.sendall(half)
            connection.close()
            return
        if kind == "reset":
            connection.sendall(half)
            reset(connection)
            return
        if kind == "die":
            connection.sendall(half)
            os.kill(os.getpid(), signal.SIGKILL)
        if kind == "silent":
            connection.recv(1)
            connection.close()
            return
        if kind == "cut":
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nX-Cut: in the mid")
            connection.close()
            return
        if kind == "shut":
            connection.close()
            return
        if kind == "hints":
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            connection.sendall(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </b>\r\n\r\n")
        if kind == "until-close":
            connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
            for _ in range(10):
                connection.sendall(b"p" * 1000)
            connection.close()
            return
        if kind == "lf":
            connection.sendall(b"HTTP/1.1 200 OK\nContent-Length: 2\n\nlf")
        elif kind == "fold":
            connection.sendall(b"HTTP/1.1 200 OK\r\nX-Folded: a\r\n b\r\n\tc\r\nContent-Length: 4\r\n\r\nfold")
        elif kind == "long":
            size = int(number)
            start, rest = b"HTTP/1.1 200 OK\r\nX-Long: ", b"\r\nContent-Length: 4\r\n\r\n"
            answer = start + b"l" * max(0, size - len(start) - len(rest)) + rest + b"long"
            if size < 300:
                for byte in answer:
                    connection.sendall(bytes([byte]))
            else:
                connection.sendall(answer)
        elif kind == "two-lengths":
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nfour")
            connection.close()
            return
        elif kind == "trailers":
            for piece in (
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n4",
                b";name=\"va;lue\"\r\nabcd\r\n0000A\r\n0123",
                b"456789\r", b"\n", b"0\r\nX-Sum: 1\r\nX-More: 2\r\n", b"\r\n",
            ):
                connection.sendall(piece)
        elif kind == "switch":
            connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: odd\r\n\r\n")
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" * 3)
            while connection.recv(4096):
                pass
            connection.close()
            return
        else:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nraw")


listener = socket.create_server(("127.0.0.1", 0), backlog=128)
print("PORT", listener.getsockname()[1], flush=True)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
