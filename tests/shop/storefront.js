// The shop's pages. nginx reaches it through a Unix socket; it asks its neighbours with fetch.
// A neighbour whose address is not in the environment is done without.
"use strict";
const http = require("node:http");

const { LISTEN, CART, PRICING, PAYMENT } = process.env;

// What a caller says about its trace goes on to those who are asked on its behalf.
function handedOn(request) {
  const names = ["traceparent", "tracestate"].filter((name) => request.headers[name]);
  return Object.fromEntries(names.map((name) => [name, request.headers[name]]));
}

async function ask(method, url, headers) {
  const response = await fetch(url, { method, headers });
  const text = await response.text();
  if (!response.ok) throw new Error(`${url}: ${response.status}`);
  return JSON.parse(text);
}

const pages = {
  "GET /browse": (headers) => {
    const prices = PRICING ? ["tea", "cup"] : [];
    return Promise.all(prices.map((sku) => ask("GET", `${PRICING}/price/${sku}`, headers)));
  },
  "GET /cart": (headers) => ask("GET", `${CART}/total/tea`, headers),
  "POST /checkout": (headers) =>
    PAYMENT ? ask("POST", `${PAYMENT}/pay`, headers) : ask("POST", `${CART}/reserve/jam`, headers),
};

async function answer(request) {
  const page = pages[`${request.method} ${request.url}`];
  if (!page) return [404, { error: "no such page" }];
  try {
    return [200, await page(handedOn(request))];
  } catch (error) {
    return [502, { error: error.message }];
  }
}

const server = http.createServer(async (request, response) => {
  const [status, body] = await answer(request);
  response.writeHead(status, { "content-type": "application/json" });
  response.end(JSON.stringify(body) + "\n");
});
server.listen(LISTEN, () => console.log("ready", LISTEN));
