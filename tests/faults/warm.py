"""Python that has its libraries imported: what a stage starts with `sys.executable -m` forks here.

Importing torch and transformers takes seconds, forking a process that has them takes none. What
stands for `sys.executable` within a stage is a small client, which hands its arguments and its open
files to the server and ends with the code of the process that this forks. Where the client dies, so
does that process.
"""

import ctypes
import json
import os
import runpy
import signal
import socket
import sys
import threading
import traceback
import warnings
from pathlib import Path

PR_SET_PDEATHSIG = 1
CLIENT = """#!{python} -IS
import json, os, socket, sys
server = socket.socket(socket.AF_UNIX)
server.connect({address!r})
request = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
socket.send_fds(server, [len(request).to_bytes(4, "little")], [0, 1, 2])
server.sendall(request)
code = server.recv(1)
sys.exit(code[0] if code else 1)
"""


def die_with_the_parent() -> None:
    """Have the kernel kill this process when the driver ends, however it ends."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def start(folder: Path) -> Path:
    """Fork the server; what stands for `sys.executable`."""
    client, address = folder / "python", str(folder / "warm.socket")
    client.write_text(CLIENT.format(python=sys.executable, address=address))
    client.chmod(0o700)
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(address)
    listening.listen(16)
    if os.fork():
        listening.close()
        return client
    die_with_the_parent()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # so that nobody need collect them
    while True:
        connection, _ = listening.accept()
        if os.fork() == 0:
            listening.close()
            serve(connection)
        connection.close()


def serve(connection: socket.socket) -> None:
    """One request; never returns."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    length, files, _, _ = socket.recv_fds(connection, 4, 3)
    request = b""
    while len(request) < int.from_bytes(length, "little"):
        request += connection.recv(1 << 16)
    arguments, folder, environment = json.loads(request)
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)

    def die_with_the_client() -> None:
        connection.recv(1)
        os._exit(1)

    threading.Thread(target=die_with_the_client, daemon=True).start()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    code = run(arguments)
    connection.send(bytes([code & 255]))
    os._exit(code)


def run(arguments: list[str]) -> int:
    """As the interpreter would: `-m module ...` or `script ...`."""
    # The old ones remember what the driver's own could do, such as seek.
    sys.stdin, sys.stdout = os.fdopen(0, closefd=False), os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
    warnings.simplefilter("ignore", RuntimeWarning)  # the module is there already
    try:
        if arguments[0] == "-m":
            sys.argv = arguments[1:]
            runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
        else:
            sys.argv = arguments
            runpy.run_path(arguments[0], run_name="__main__")
    except SystemExit as exit:
        code = 0 if exit.code is None else exit.code if isinstance(exit.code, int) else 1
    except BaseException:
        traceback.print_exc()
        code = 1
    else:
        code = 0
    sys.stdout.flush()
    sys.stderr.flush()
    return code
