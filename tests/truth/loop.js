// The service of threads.py on Node: connections to the leaf are shared by all requests.
//   kept     one call after another        gather  all calls at once        late  after the answer
// Arguments: PORT of the leaf, and perhaps `poll`.
const http = require('http');

const leaf = Number(process.argv[2]);
const agent = new http.Agent({ keepAlive: true, maxSockets: 4 });

const call = (name) =>
  new Promise((done, failed) => {
    http
      .get({ host: '127.0.0.1', port: leaf, agent, path: `/leaf?from=${name}` }, (answer) => {
        answer.resume();
        answer.on('end', done);
      })
      .on('error', failed);
  });
const pause = (ms) => new Promise((done) => setTimeout(done, ms));

async function work(name, calls, mode) {
  if (mode === 'gather') return Promise.all(Array.from({ length: calls }, () => call(name)));
  for (let n = 0; n < calls; n++) {
    if (n % 2) await pause(Math.random() * 2);
    await call(name);
  }
}

const server = http.createServer(async (asked, answer) => {
  const query = new URL(asked.url, 'http://service').searchParams;
  const [name, calls, mode] = [query.get('id'), Number(query.get('calls')), query.get('mode')];
  if (mode === 'late') setTimeout(() => work(name, calls, 'kept'), 4);
  else await work(name, calls, mode);
  answer.setHeader('Content-Length', 2);
  answer.end('ok');
});
server.listen(0, '127.0.0.1', 256, () => console.log(`PORT ${server.address().port}`));

async function poll() {
  for (;;) {
    await call('nobody');
    await pause(1);
  }
}
if (process.argv.includes('poll')) poll();
