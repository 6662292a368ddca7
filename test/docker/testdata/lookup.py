"""Looks names up as a Python program does, by the C library. For each it prints "MILLISECONDS NAME ADDRESS…", or the
error in the place of the addresses."""
import socket
import sys
import time

for name in sys.argv[1:]:
    began = time.monotonic()
    try:
        found = [info[4][0] for info in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)]
    except OSError as e:
        found = [str(e)]
    print(int((time.monotonic() - began) * 1000), name, *found)
