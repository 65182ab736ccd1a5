// The shop's pages. It asks its neighbours with fetch.
// A neighbour whose address is not in the environment is done without.
"use strict";
const http = require("node:http");

const { CART, PRICING, PAYMENT } = process.env;

async function ask(method, url) {
  const response = await fetch(url, { method });
  const text = await response.text();
  if (!response.ok) throw new Error(`${url}: ${response.status}`);
  return JSON.parse(text);
}

const pages = {
  "GET /browse": () => {
    const prices = PRICING ? ["tea", "cup"] : [];
    return Promise.all(prices.map((sku) => ask("GET", `${PRICING}/price/${sku}`)));
  },
  "GET /cart": () => ask("GET", `${CART}/total/tea`),
  "POST /checkout": () => (PAYMENT ? ask("POST", `${PAYMENT}/pay`) : ask("POST", `${CART}/reserve/jam`)),
};

async function answer(request) {
  const page = pages[`${request.method} ${request.url}`];
  if (!page) return [404, { error: "no such page" }];
  try {
    return [200, await page()];
  } catch (error) {
    return [502, { error: error.message }];
  }
}

const server = http.createServer(async (request, response) => {
  const [status, body] = await answer(request);
  response.writeHead(status, { "content-type": "application/json" });
  response.end(JSON.stringify(body) + "\n");
});
server.listen(0, "127.0.0.1", () => console.log("ready", server.address().port));
