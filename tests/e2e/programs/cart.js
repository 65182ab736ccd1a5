// gRPC by Node's own library: serves shop.Cart, or makes one call of each kind to PORT and then COUNT at once.
const grpc = require('@grpc/grpc-js');

const same = (bytes) => bytes;
const method = (name, requestStream, responseStream) => ({
  path: `/shop.Cart/${name}`, requestStream, responseStream,
  requestSerialize: same, requestDeserialize: same, responseSerialize: same, responseDeserialize: same,
});
const unary = ['Unary', 'Large', 'Empty', 'Missing', 'Broken', 'Never', 'Cancel'];
const methods = Object.fromEntries(unary.map((name) => [name, method(name, false, false)]));
Object.assign(methods, { Collect: method('Collect', true, false), List: method('List', false, true) });
Object.assign(methods, { Chat: method('Chat', true, true), Early: method('Early', true, true) });
const sizes = { 'grpc.max_receive_message_length': 1 << 24 };

function serve() {
  const server = new grpc.Server(sizes);
  const echo = (call, done) => done(null, call.request);
  const chat = (call) => {
    call.on('data', (bytes) => call.write(bytes));
    call.on('end', () => call.end());
    call.on('error', () => {});
  };
  server.addService(methods, {
    Unary: echo, Large: echo, Empty: echo, Chat: chat, Early: chat,
    Collect: (call, done) => {
      const parts = [];
      call.on('data', (bytes) => parts.push(bytes));
      call.on('end', () => done(null, Buffer.concat(parts)));
    },
    List: (call) => {
      for (let n = 0; n < 5; n += 1) call.write(call.request);
      call.end();
    },
    Missing: (_, done) => done({ code: grpc.status.NOT_FOUND, details: 'none: \u00fc %' }),
    Broken: (_, done) => done({ code: grpc.status.INTERNAL, details: 'broken' }),
    Never: () => {}, Cancel: () => {},
  });
  server.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), (_, port) => console.log(`PORT ${port}`));
}

async function ask(port, count) {
  const Cart = grpc.makeGenericClientConstructor({ ...methods, Gone: method('Gone', false, false) }, 'Cart');
  const cart = new Cart(`127.0.0.1:${port}`, grpc.credentials.createInsecure(), sizes);
  const call = (name, size, how = {}) => new Promise((done) => {
    cart[name](Buffer.alloc(size), new grpc.Metadata(), how, done);
  });
  const over = (stream) => new Promise((done) => {
    stream.on('data', () => {});
    stream.on('error', () => {});
    stream.on('status', done);
  });
  const some = (stream) => {
    for (let n = 0; n < 5; n += 1) stream.write(Buffer.from('abc'));
    stream.end();
    return stream;
  };
  await call('Unary', 10);
  await call('Large', 1e6);
  await call('Empty', 0);
  await new Promise((done) => { some(cart.Collect(done)); });
  await over(cart.List(Buffer.from('abc')));
  await over(some(cart.Chat()));
  await call('Missing', 0);
  await call('Broken', 0);
  await call('Gone', 0);
  await call('Never', 0, { deadline: Date.now() + 100 });
  await new Promise((done) => {
    const stream = cart.Cancel(Buffer.alloc(0), done);
    setTimeout(() => stream.cancel(), 50);
  });
  const early = cart.Early();
  early.on('data', () => early.cancel());
  early.write(Buffer.from('abc'));
  await over(early);
  await Promise.all([...Array(count).keys()].map((n) => call('Unary', n)));
  cart.close();
}

const [port, count] = process.argv.slice(2).map(Number);
if (port) ask(port, count); else serve();
