"""The backend of the sample services: finds a worker by its DNS name and requests work from it.

It resolves the name for each request with the system's resolver, as any program on this host would. It caches neither
the answer nor the connection, so its response shows the current DNS answer.
"""

import os
import random
import signal
import socket
import threading

import requests
from flask import Flask
from werkzeug.serving import make_server

ADDRESS = os.environ.get("ROLLCALL_ADDRESS", "127.0.0.1")
PORT = int(os.environ.get("ROLLCALL_PORT_5000", "5000"))
WORKER = "worker." + os.environ.get("NAMESPACE", "corp")
WORKER_PORT = int(os.environ.get("WORKER_PORT", "5000"))
TIMEOUT = 5  # seconds to connect, and between two parts of the response

app = Flask("flask-backend")


def bracketed(address):
    """Returns the address as written in a URL."""
    return f"[{address}]" if ":" in address else address


def request_work(address):
    with requests.Session() as session:
        session.trust_env = False  # a proxy would resolve the name itself
        response = session.get(f"http://{bracketed(address)}:{WORKER_PORT}/work", timeout=TIMEOUT)
        response.raise_for_status()
        return response.json()["message"]


@app.get("/")
def index():
    plain = {"Content-Type": "text/plain; charset=utf-8"}
    try:
        found = socket.getaddrinfo(WORKER, WORKER_PORT, type=socket.SOCK_STREAM)
    except OSError as e:
        return f"resolve {WORKER}: {e}\n", 502, plain
    address = random.choice(found)[4][0]
    try:
        message = request_work(address)
    except (requests.RequestException, KeyError, TypeError) as e:
        return f"request work from {WORKER} at {address}: {e!r}\n", 502, plain
    return f"Worker Message: {message} From: {address}\n", plain


@app.get("/health")
def health():
    return "ok\n"


if __name__ == "__main__":
    server = make_server(ADDRESS, PORT, app, threaded=True)
    # SIGTERM: accept no more connections, finish the requests in flight, exit with status 0.
    server.daemon_threads = False
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    print(f"flask-backend listens on http://{bracketed(ADDRESS)}:{server.port}", flush=True)
    server.serve_forever()
