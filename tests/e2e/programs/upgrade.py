"""Answers requests of HTTP/1.1 that ask for `h2c` in HTTP/2, as the first stream: in one piece, or in two."""
import socket


def frame(kind, flags, stream, payload=b''):
    return len(payload).to_bytes(3, 'big') + bytes([kind, flags]) + stream.to_bytes(4, 'big') + payload


listener = socket.create_server(('127.0.0.1', 0))
print('PORT', listener.getsockname()[1], flush=True)
while True:
    sock, _ = listener.accept()
    head = b''
    while b'\r\n\r\n' not in head:
        head += sock.recv(65536)
    turn = b'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n'
    answer = frame(4, 0, 0) + frame(1, 4, 1, b'\x8d') + frame(0, 1, 1, b'not here')
    if b'pieces' in head:
        sock.sendall(turn)
        sock.sendall(answer[:5])
        sock.sendall(answer[5:])
    else:
        sock.sendall(turn + answer)
    while sock.recv(65536):
        pass
    sock.close()
