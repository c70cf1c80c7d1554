"""Python that has its libraries imported: what starts `python -m` forks here instead.

Importing torch and transformers takes seconds, forking a process that has them takes none. What
stands for `python` (and for `dvc`) is a small client, which hands its arguments and its open files
to the server and ends with the code of the process that this forks. Where the client dies, so does
that process.

    python -m tests.warm FOLDER

serves with all libraries imported and none of this project's modules, which a test may edit in its
copy; FOLDER then holds `python` and `dvc`, to be put into PATH.
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
from typing import NoReturn

PR_SET_PDEATHSIG = 1
SOCKET = "warm.socket"
CLIENT = """#!{python} -IS
import json, os, socket, sys
server = socket.socket(socket.AF_UNIX)
server.connect({address!r})
arguments = {first} + sys.argv[1:]
processors = list(os.sched_getaffinity(0))
request = json.dumps([arguments, os.getcwd(), dict(os.environ), processors]).encode()
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
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(folder / SOCKET))
    listening.listen(16)
    client = write_client(folder, "python", [])
    if os.fork():
        listening.close()
        return client
    die_with_the_parent()
    serve_all(listening)


def write_client(folder: Path, name: str, first: list[str]) -> Path:
    """A program that asks the server; `first` go before its own arguments."""
    client, address = folder / name, str(folder / SOCKET)
    client.write_text(CLIENT.format(python=sys.executable, address=address, first=first))
    client.chmod(0o700)
    return client


def serve_all(listening: socket.socket) -> NoReturn:
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
    arguments, folder, environment, processors = json.loads(request)
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)

    def die_with_the_client() -> None:
        connection.recv(1)
        os._exit(1)

    threading.Thread(target=die_with_the_client, daemon=True).start()
    os.sched_setaffinity(0, processors)
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
        sys.dont_write_bytecode = "PYTHONDONTWRITEBYTECODE" in os.environ
        if arguments[0] == "-m":
            sys.path[0] = os.getcwd()
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


def main(folder: str) -> NoReturn:
    """Import what stages and DVC do, then serve until the process that started this one ends."""
    import dvc.cli
    import dvc.commands.repro
    import dvc.repo
    import onnxruntime
    import pandas
    import scipy.stats
    import sklearn.metrics
    import torch.ao.quantization
    import transformers

    preloaded = (dvc, onnxruntime, pandas, scipy, sklearn, torch, transformers)
    for name in ("Trainer", "AutoTokenizer", "BertForSequenceClassification"):  # imported lazily
        getattr(transformers, name)
    assert all(preloaded)
    assert not any(name.split(".")[0] == "stages" for name in sys.modules)
    die_with_the_parent()
    listening = socket.socket(socket.AF_UNIX)
    place = Path(folder)
    listening.bind(str(place / SOCKET))
    listening.listen(16)
    write_client(place, "dvc", ["-m", "dvc"])
    write_client(place, "python", [])  # the last: whoever sees it may call
    serve_all(listening)


if __name__ == "__main__":
    main(*sys.argv[1:])
