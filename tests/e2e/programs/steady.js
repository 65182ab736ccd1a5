// Asks PORT twenty times on one connection of HTTP/2, and 200 times more when it is told to.
const http2 = require('http2');
const client = http2.connect(`http://127.0.0.1:${process.argv[2]}`);
let asked = 0;

function ask() {
  return new Promise((resolve, reject) => {
    const stream = client.request({ ':path': `/small?${asked}`, 'x-number': String(asked), 'x-same': 'as ever' });
    stream.on('error', reject);
    stream.on('close', () => { asked += 1; resolve(); });
    stream.resume();
    stream.end();
  });
}

async function go(until) {
  while (asked < until) await ask();
  console.log(`asked ${asked}`);
}

go(20);
process.stdin.once('data', () => go(220));
