"""gRPC by its C core: serves shop.Cart, or makes one call of each kind to PORT and then COUNT at once."""
import concurrent.futures
import sys
import threading

import grpc

SERVICE = '/shop.Cart/'
SIZES = [('grpc.max_receive_message_length', 1 << 24)]


def never(_, context):
    over = threading.Event()
    context.add_callback(over.set)
    over.wait(10)
    return b''


def echo(request, _):
    return request


def chat(requests, _):
    yield from requests


class Cart(grpc.GenericRpcHandler):
    def service(self, call):
        return {
            'Unary': grpc.unary_unary_rpc_method_handler(echo),
            'Large': grpc.unary_unary_rpc_method_handler(echo),
            'Empty': grpc.unary_unary_rpc_method_handler(echo),
            'Collect': grpc.stream_unary_rpc_method_handler(lambda requests, _: b''.join(requests)),
            'List': grpc.unary_stream_rpc_method_handler(lambda request, _: iter([request] * 5)),
            'Chat': grpc.stream_stream_rpc_method_handler(chat),
            'Early': grpc.stream_stream_rpc_method_handler(chat),
            'Missing': grpc.unary_unary_rpc_method_handler(
                lambda _, context: context.abort(grpc.StatusCode.NOT_FOUND, 'none: \u00fc %')),
            'Broken': grpc.unary_unary_rpc_method_handler(
                lambda _, context: context.abort(grpc.StatusCode.INTERNAL, 'broken')),
            'Never': grpc.unary_unary_rpc_method_handler(never),
            'Cancel': grpc.unary_unary_rpc_method_handler(never),
        }.get(call.method.removeprefix(SERVICE))


def serve():
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(16), options=SIZES)
    server.add_generic_rpc_handlers((Cart(),))
    port = server.add_insecure_port('127.0.0.1:0')
    server.start()
    print(f'PORT {port}', flush=True)
    server.wait_for_termination()


def ask(port, count):
    channel = grpc.insecure_channel(f'127.0.0.1:{port}', options=SIZES)

    def unary(method, request=b'', **how):
        try:
            channel.unary_unary(SERVICE + method)(request, **how)
        except grpc.RpcError:
            pass

    unary('Unary', b'x' * 10)
    unary('Large', b'x' * 1_000_000)
    unary('Empty')
    channel.stream_unary(SERVICE + 'Collect')(iter([b'abc'] * 5))
    assert len(list(channel.unary_stream(SERVICE + 'List')(b'abc'))) == 5
    assert len(list(channel.stream_stream(SERVICE + 'Chat')(iter([b'abc'] * 5)))) == 5
    for method in ('Missing', 'Broken', 'Gone'):
        unary(method)
    unary('Never', timeout=.1)
    cancelled = channel.unary_unary(SERVICE + 'Cancel').future(b'')
    threading.Event().wait(.05)
    cancelled.cancel()
    over = threading.Event()

    def once():
        yield b'abc'
        over.wait(10)

    early = channel.stream_stream(SERVICE + 'Early')(once())
    next(early)
    early.cancel()
    over.set()
    for call in [channel.unary_unary(SERVICE + 'Unary').future(bytes(n)) for n in range(count)]:
        call.result()
    channel.close()


if len(sys.argv) > 1:
    ask(*map(int, sys.argv[1:]))
else:
    serve()
