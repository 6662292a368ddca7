"""The worker of the sample services: counts primes and returns its address and task.

It listens only on the address of its task. A task that listened on all addresses would respond for the other tasks of
the host.
"""

import os
import signal
import socket
import threading

from flask import Flask, jsonify, request
from werkzeug.serving import make_server

ADDRESS = os.environ.get("ROLLCALL_ADDRESS", "127.0.0.1")
PORT = int(os.environ.get("ROLLCALL_PORT_5000", "5000"))
TASK = os.environ.get("HOSTNAME") or socket.gethostname()
MAX_BOUND = 1_000_000

app = Flask("flask-worker")


def count_primes(n):
    """Counts the primes below n by the sieve of Eratosthenes."""
    prime = bytearray([1]) * n
    prime[:2] = bytes(min(n, 2))
    for i in range(2, int(n**0.5) + 1):
        if prime[i]:
            prime[i * i :: i] = bytes(len(range(i * i, n, i)))
    return sum(prime)


@app.get("/")
@app.get("/work")
def work():
    try:
        n = int(request.args.get("n", 10_000))
    except ValueError:
        n = -1
    if not 0 <= n <= MAX_BOUND:
        return f"n must be a whole number between 0 and {MAX_BOUND}\n", 400
    return jsonify(message=f"{count_primes(n)} primes below {n}", address=ADDRESS, task=TASK)


@app.get("/health")
def health():
    return "ok\n"


if __name__ == "__main__":
    server = make_server(ADDRESS, PORT, app, threaded=True)
    # SIGTERM: accept no more connections, finish the requests in flight, exit with status 0.
    server.daemon_threads = False
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    host = f"[{ADDRESS}]" if ":" in ADDRESS else ADDRESS
    print(f"flask-worker listens on http://{host}:{server.port}", flush=True)
    server.serve_forever()
