"""The backend of the sample social network: finds a worker by its name and has it do the work.

The name is looked up as any program of this host would do it, by the system's resolver, anew for each request;
neither the answer nor the connection is kept, so what it prints is what DNS says at that moment.
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
TIMEOUT = 5  # seconds to connect, and between two parts of the answer

app = Flask("flask-backend")


def bracketed(address):
    """The address as it stands in a URL."""
    return f"[{address}]" if ":" in address else address


def ask(address):
    with requests.Session() as session:
        session.trust_env = False  # a proxy would look the name up itself
        answer = session.get(f"http://{bracketed(address)}:{WORKER_PORT}/work", timeout=TIMEOUT)
        answer.raise_for_status()
        return answer.json()["message"]


@app.get("/")
def index():
    plain = {"Content-Type": "text/plain; charset=utf-8"}
    try:
        found = socket.getaddrinfo(WORKER, WORKER_PORT, type=socket.SOCK_STREAM)
    except OSError as e:
        return f"{WORKER} does not resolve: {e}\n", 502, plain
    address = random.choice(found)[4][0]
    try:
        message = ask(address)
    except (requests.RequestException, KeyError, TypeError) as e:
        return f"{WORKER} is at {address}, which did not do the work: {e!r}\n", 502, plain
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
