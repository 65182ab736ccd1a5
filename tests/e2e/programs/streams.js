// HTTP/2 without TLS by Node's own library: serves, or asks PORT for COUNT requests at once on one connection.
// A path that starts with /rpc/ is answered as gRPC does: a status behind the content, or instead of it.
const http2 = require('http2');

function serve() {
  const server = http2.createServer();
  server.on('stream', (stream, headers) => {
    const path = headers[':path'];
    let size = 0;
    stream.on('data', (chunk) => { size += chunk.length; });
    stream.on('error', () => {});
    stream.on('end', () => {
      if (path === '/rpc/shop.Cart/Missing') {
        stream.respond({ ':status': 200, 'content-type': 'application/grpc', 'grpc-status': '5' }, { endStream: true });
      } else if (path === '/rpc/shop.Cart/Never') {
        // Whoever asks gives up.
      } else if (path.startsWith('/rpc/')) {
        stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
        stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0', 'grpc-message': '' }));
        stream.end(Buffer.alloc(5 + 20));
      } else if (path === '/reset') {
        stream.close(http2.constants.NGHTTP2_INTERNAL_ERROR);
      } else {
        stream.respond({ ':status': 200, 'x-size': String(size) });
        stream.end(Buffer.alloc(path.length * 1000));
      }
    });
  });
  server.listen(0, '127.0.0.1', () => console.log(`PORT ${server.address().port}`));
}

function ask(client, headers, body) {
  return new Promise((resolve) => {
    const stream = client.request(headers);
    stream.on('error', () => {});
    stream.on('close', resolve);
    stream.resume();
    stream.end(body);
    if (headers[':path'].endsWith('Never')) {
      setTimeout(() => stream.close(http2.constants.NGHTTP2_CANCEL), 50);
    }
  });
}

async function main(port, count) {
  const client = http2.connect(`http://127.0.0.1:${port}`);
  const each = [...Array(count).keys()];
  await Promise.all(each.map((n) => ask(client, { ':method': 'POST', ':path': `/at-once/${n}` }, Buffer.alloc(n * 100))));
  for (const n of each) {
    await ask(client, { ':path': `/agent/${n}`, traceparent: `00-${'ab'.repeat(16)}-${'cd'.repeat(8)}-01` });
  }
  const grpc = (path) => ({ ':method': 'POST', ':path': path, 'content-type': 'application/grpc', te: 'trailers' });
  await ask(client, grpc('/rpc/shop.Cart/Add'), Buffer.alloc(25));
  await ask(client, grpc('/rpc/shop.Cart/Missing'), Buffer.alloc(25));
  await ask(client, { ...grpc('/rpc/shop.Cart/Never'), 'grpc-timeout': '50m' }, Buffer.alloc(25));
  await ask(client, grpc('/rpc/shop.Cart/Never'), Buffer.alloc(25));
  await ask(client, { ':path': '/reset' });
  client.close();
}

const [port, count] = process.argv.slice(2).map(Number);
if (port) main(port, count); else serve();
