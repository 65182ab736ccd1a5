// The shop's prices: asks the stock how many there are left, and takes more for the last ones.
const http = require("http");
const [port, next] = process.argv.slice(2).map(Number);

http
  .createServer((request, response) => {
    const article = request.url.split("/").pop();
    const headers = {};
    for (const name of ["traceparent", "tracestate"]) if (request.headers[name]) headers[name] = request.headers[name];
    const done = (status, value) => {
      response.writeHead(status, { "Content-Type": "application/json" });
      response.end(JSON.stringify(value));
    };
    http
      .get({ host: "127.0.0.1", port: next, path: `/stock/${article}`, headers }, (answer) => {
        let text = "";
        answer.on("data", (part) => (text += part));
        answer.on("end", () => (answer.statusCode === 200 ? done(200, 100 / Number(text)) : done(500, null)));
      })
      .on("error", () => done(500, null));
  })
  .listen(port, "127.0.0.1");
