"""HTTP/2 frames in every form, cut by calls in every way: a server and a client, each a thread, COUNT requests by a SEED.

The requests' paths are /n/SIZE, and each has the field x-n: n, first in full, then by its place in the table."""
import random
import socket
import sys
import threading

count, seed = int(sys.argv[1]), int(sys.argv[2])
PREFACE = b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'
PIECES = [1, 2, 3, 7, 8, 9, 10, 11, 30, 200, 1000, 1030, 4096, 20000, 70000]


def frame(kind, flags, stream, payload=b''):
    return len(payload).to_bytes(3, 'big') + bytes([kind, flags]) + stream.to_bytes(4, 'big') + payload


def text(value):
    assert len(value) < 127
    return bytes([len(value)]) + value


class Half:
    """One direction: what is sent is cut, and what is received comes in pieces."""

    def __init__(self, sock, seed):
        self.sock, self.random, self.waiting = sock, random.Random(seed), b''

    def send(self, data):
        while data:
            vectors = []
            for _ in range(self.random.choice([1, 1, 1, 2, 5, 40])):
                size = self.random.choice(PIECES)
                vectors.append(data[:size])
                data = data[size:]
            if len(vectors) == 1:
                self.sock.sendall(vectors[0])
            else:
                sent = self.sock.sendmsg(vectors)
                data = b''.join(vectors)[sent:] + data

    def more(self):
        size = self.random.choice(PIECES)
        if self.random.random() < .5:
            got = self.sock.recv(size)
        else:
            buffers = [bytearray(self.random.choice(PIECES)) for _ in range(self.random.choice([1, 3, 20]))]
            n = self.sock.recvmsg_into(buffers)[0]
            got = b''.join(buffers)[:n]
        self.waiting += got
        return got

    def frame(self):
        while True:
            if len(self.waiting) >= 9:
                end = 9 + int.from_bytes(self.waiting[:3], 'big')
                if len(self.waiting) >= end:
                    whole, self.waiting = self.waiting[:end], self.waiting[end:]
                    return whole[3], whole[4], int.from_bytes(whole[5:9], 'big'), whole[9:]
            if not self.more():
                return None

    def block(self, flags, stream, block):
        """A header block, perhaps padded, with a priority, in several frames, with noise around."""
        out = self.noise()
        cut = self.random.randrange(len(block) + 1) if self.random.random() < .4 else len(block)
        first, rest = block[:cut], block[cut:]
        if self.random.random() < .3:
            flags |= 0x20
            first = bytes(5) + first
        if self.random.random() < .3:
            flags |= 8
            padding = self.random.randrange(200)
            first = bytes([padding]) + first + bytes(padding)
        out += frame(1, flags | (4 if not rest else 0), stream, first)
        while rest:
            cut = self.random.randrange(len(rest) + 1)
            out += frame(9, 4 if cut == len(rest) else 0, stream, rest[:cut])
            rest = rest[cut:]
        return out

    def data(self, stream, size):
        out = b''
        while size > 0:
            some = min(size, self.random.choice([1, 50, 5000, 16384]))
            size -= some
            out += self.noise() + frame(0, 0, stream, bytes(some))
        return out + frame(0, 1, stream)

    def noise(self):
        return self.random.choice([b'', b'', frame(6, 1, 0, bytes(8)), frame(8, 0, 0, b'\0\0\1\0'), frame(4, 1, 0),
                                   frame(0xbb, 7, 0, bytes(self.random.randrange(3000))), frame(2, 0, 99, bytes(5))])


def serve(listener):
    sock, _ = listener.accept()
    half = Half(sock, seed + 1)
    half.send(frame(4, 0, 0))
    # As Go does it, byte by byte at first as others do, or at once.
    for size in half.random.choice([(14, 10), (1, 23), (24,), (24, )]):
        assert len(sock.recv(size, socket.MSG_WAITALL)) == size
    while (found := half.frame()) is not None:
        kind, flags, stream, payload = found
        if kind in (0, 1) and flags & 1 and not (kind == 1 and not flags & 4):
            answer(half, stream)
        elif kind == 9 and flags & 4 and stream in half.ended:
            answer(half, stream)
        if kind == 1 and flags & 1 and not flags & 4:
            half.ended.add(stream)
    sock.close()


def answer(half, stream):
    size = half.random.choice([0, 10, 3000, 40000])
    out = b''
    if half.random.random() < .2:
        out += half.block(0, stream, b'\x08' + text(b'103'))
    out += half.block(0, stream, b'\x88\x5c' + text(str(size).encode()))
    out += half.data(stream, size)[:-9] if half.random.random() < .5 else half.data(stream, size)
    if not out.endswith(frame(0, 1, stream)):
        out += half.block(1, stream, b'\0' + text(b't') + text(b'v'))
    half.send(out)


def main():
    listener = socket.create_server(('127.0.0.1', 0))
    server = threading.Thread(target=serve, args=(listener,))
    Half.ended = set()
    server.start()
    half = Half(socket.create_connection(listener.getsockname()), seed)
    cut = half.random.choice([1, 4, 14, 24, 24])
    half.sock.sendall(PREFACE[:cut])
    half.sock.sendall(PREFACE[cut:] + frame(4, 0, 0))
    done, reader = set(), Half(half.sock, seed + 2)

    def read():
        ends = set()
        while len(done) < count:
            kind, flags, stream, _ = reader.frame()
            if kind in (0, 1) and flags & 1:
                ends.add(stream)
            # Trailers go on until their block is over.
            if stream in ends and (kind == 0 or kind in (1, 9) and flags & 4):
                done.add(stream)

    answers = threading.Thread(target=read)
    answers.start()
    # A frame header from 1020 to 1029, in two vectors: what is looked at in one piece ends within it.
    filler = frame(0xbb, 0, 0, bytes(1011)) + frame(6, 0, 0, bytes(8))
    half.sock.sendmsg([filler[:1022], filler[1022:]])
    for n in range(count):
        size = half.random.choice([0, 0, 7, 1000, 30000])
        stream = 2 * n + 1
        path = f'/{n}/{size}'.encode()
        field = b'\x40' + text(b'x-n') + text(str(n).encode())
        block = b'\x83\x86\x04' + text(path) + b'\x01' + text(b'frames.test') + field
        half.send(half.block(1 if size == 0 else 0, stream, block) + (half.data(stream, size) if size else b''))
    answers.join()
    half.sock.close()
    server.join()


main()
