// Node's server and its two clients. Without arguments: a server. With PORT COUNT: asks that server by fetch (undici)
// and by http.request with a keep-alive agent, then ends. With a third argument it asks once before, and waits for a line.
const http = require("node:http");
const net = require("node:net");

function serve() {
  const server = http.createServer(async (request, response) => {
    let length = 0;
    for await (const part of request) length += part.length;
    const [, kind, number] = request.url.split("?")[0].split("/");
    if (kind === "status") {
      response.writeHead(Number(number)).end();
    } else if (kind === "chunks") {
      response.setHeader("Trailer", "X-Sum");
      for (let left = Number(number); left > 0; left -= 10_000) {
        if (!response.write("c".repeat(Math.min(left, 10_000)))) {
          await new Promise((resolve) => response.once("drain", resolve));
        }
      }
      response.addTrailers({ "X-Sum": "1" });
      response.end();
    } else if (kind === "early") {
      response.writeEarlyHints({ link: "</a.css>; rel=preload; as=style" });
      response.end("after hints\n");
    } else {
      response.end(kind === "bytes" ? "b".repeat(Number(number)) : `${length}\n`);
    }
  });
  server.on("upgrade", (request, socket) => {
    socket.write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n");
    socket.pipe(socket);
  });
  server.on("connect", (request, socket) => {
    const [host, port] = request.url.split(":");
    const far = net.connect(Number(port), host, () => {
      socket.write("HTTP/1.1 200 Connection Established\r\n\r\n");
      far.pipe(socket).pipe(far);
    });
    far.on("error", () => socket.end("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n"));
    socket.on("error", () => far.destroy());
  });
  const where = process.argv[2] === "-u" ? { path: process.argv[3] } : { port: 0, host: process.argv[3] ?? "127.0.0.1" };
  server.listen(where, () => console.log(`PORT ${server.address().port ?? 0}`));
}

async function ask(port, count, told) {
  const base = `http://127.0.0.1:${port}`;
  if (told) {
    await (await fetch(`${base}/hello`)).text();
    await new Promise((resolve) => process.stdin.once("data", resolve));
  }
  for (let n = 0; n < count; n++) {
    await (await fetch(`${base}/bytes/${n}?by=fetch`)).text();
  }
  await (await fetch(`${base}/post`, { method: "POST", body: "x".repeat(100_000) })).text();
  await (await fetch(`${base}/chunks/100000`)).text();
  await (await fetch(`${base}/status/500`)).text();
  await Promise.all(Array.from({ length: count }, async (_, n) => (await fetch(`${base}/at-once/${n}`)).text()));
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  for (let n = 0; n < count; n++) {
    await new Promise((resolve, reject) => {
      const request = http.request(`${base}/agent/${n}`, { agent, method: "PUT" }, (response) => {
        response.resume().on("end", resolve);
      });
      request.on("error", reject).end("y".repeat(n));
    });
  }
  process.exit(0);
}

if (/^\d+$/.test(process.argv[2] ?? "")) ask(Number(process.argv[2]), Number(process.argv[3]), process.argv[4]);
else serve();
