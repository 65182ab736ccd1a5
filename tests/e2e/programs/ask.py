"""Clients in Python: asks a server by requests (a pooled session), urllib3 and http.client. Arguments: port, count."""
import http.client
import sys

import requests
import urllib3

port, count = int(sys.argv[1]), int(sys.argv[2])
base = f"http://127.0.0.1:{port}"
with requests.Session() as session:
    session.trust_env = False
    for n in range(count):
        assert session.get(f"{base}/bytes/{n}", params={"by": "requests"}).status_code == 200
    assert session.post(f"{base}/post", data=b"x" * 100_000).text == "100000\n"
    assert session.post(f"{base}/stream", data=(b"y" * 1000 for _ in range(50))).text == "50000\n"
    assert session.get(f"{base}/status/500").status_code == 500
pool = urllib3.PoolManager()
for n in range(count):
    pool.request("PUT", f"{base}/urllib3", body=b"z" * n)
connection = http.client.HTTPConnection("127.0.0.1", port)
for n in range(count):
    connection.request("DELETE", "/http.client")
    connection.getresponse().read()
