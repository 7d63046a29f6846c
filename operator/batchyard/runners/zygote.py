"""The zygote: a process that has imported everything a worker needs and forks workers on request.

A fresh Python with langgraph takes over a second to start, a fork a few milliseconds: after a kill the slot has its
next worker at once. The zygote never imports or runs the user's code and has one thread only, so that forking is safe.

Run as ``python -m batchyard.runners.zygote FD MODULE:CLASS``, where the class makes a worker's ``Parts``. A request is
one message with three descriptors (the worker's socket, the keeper's socket, the shared page); the answer is the
keeper's pid.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import select
import signal
import socket
import sys
import traceback
from typing import NoReturn

from batchyard.linux import adopt_orphans, children, die_with_parent
from batchyard.runners.keeper import Keeper
from batchyard.runners.slot import Slot
from batchyard.runners.worker import Parts, serve


def main(arguments: list[str]) -> NoReturn:
    """Serve fork requests on the socket whose descriptor is the first argument, until the runner closes it."""
    control = socket.socket(fileno=int(arguments[0]))
    gc.disable()  # importing makes nothing that is garbage; looking for some takes a tenth of the start
    module, _, name = arguments[1].partition(":")
    parts: Parts = getattr(importlib.import_module(module), name)()
    adopt_orphans()
    parts.warm_up()
    # Whatever is imported by now is shared with every worker; keep the collector from touching and so copying it.
    gc.collect()
    gc.freeze()
    gc.enable()
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    try:
        control.sendall(b"ready\n")
        _Zygote(control, parts).serve()
    except ConnectionError:
        # The runner closed its end with an answer unread, or before it came: its end all the same.
        os._exit(0)


class _Zygote:
    def __init__(self, control: socket.socket, parts: Parts) -> None:
        self._control = control
        self._parts = parts
        self._keepers: set[int] = set()

    def serve(self) -> NoReturn:
        reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        watched = select.poll()
        watched.register(self._control.fileno(), select.POLLIN)
        watched.register(reading, select.POLLIN)
        while True:
            for fd, _ in watched.poll():
                if fd == reading:
                    os.read(reading, 4096)
                    self._reap()
                    continue
                data, fds, _flags, _address = socket.recv_fds(self._control, 1024, 3)
                if not data:
                    os._exit(0)  # keepers see the runner's end by themselves and clean up
                self._control.sendall(f"{self._spawn(*fds)}\n".encode())

    def _spawn(self, worker_fd: int, keeper_fd: int, slot_fd: int) -> int:
        pid = os.fork()
        if pid == 0:
            self._control.close()
            _become_keeper(worker_fd, keeper_fd, slot_fd, self._parts)
        for fd in (worker_fd, keeper_fd, slot_fd):
            os.close(fd)
        self._keepers.add(pid)
        return pid

    def _reap(self) -> None:
        violent = False
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            if pid in self._keepers:
                self._keepers.discard(pid)
                violent = violent or status != 0
        if violent:
            self._kill_orphans()

    def _kill_orphans(self) -> None:
        """Kill what a keeper that was itself killed left to us; their children come to us in turn."""
        while orphans := set(children(os.getpid())) - self._keepers:
            for pid in orphans:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    os.waitpid(pid, 0)


def _become_keeper(worker_fd: int, keeper_fd: int, slot_fd: int, parts: Parts) -> NoReturn:
    """Fork the worker and watch over it. Runs in the child of the zygote."""
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        reading, writing = os.pipe2(os.O_CLOEXEC)
        keeper = os.getpid()
        pid = os.fork()
        if pid == 0:
            os.close(keeper_fd)
            os.close(reading)
            _become_worker(worker_fd, slot_fd, writing, keeper, parts)
        for fd in (worker_fd, slot_fd, writing):
            os.close(fd)
        Keeper(pid, socket.socket(fileno=keeper_fd), reading).run()
    finally:
        os._exit(4)  # reached only through an error in the keeper itself


def _become_worker(worker_fd: int, slot_fd: int, output_fd: int, keeper: int, parts: Parts) -> NoReturn:
    """Turn this process into a worker of its own session and group."""
    try:
        os.setsid()
        die_with_parent(keeper)
        # A worker adopts what its trial detaches, so that it can tell whether a trial left processes behind.
        adopt_orphans()
        for restored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(restored, signal.SIG_DFL)
        # Whatever started the runner may have blocked some: Ray does.
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.dup2(output_fd, 1)
        os.dup2(output_fd, 2)
        for fd in (null, output_fd):
            if fd > 2:
                os.close(fd)
        _be_first_to_go()
        slot = Slot(slot_fd)
        os.close(slot_fd)
        serve(socket.socket(fileno=worker_fd), slot, parts)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(70)
    os._exit(0)


def _be_first_to_go() -> None:
    """Tell the kernel to take this process, not the runner, when memory runs out."""
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:  # noqa: PTH123
        file.write("800")


if __name__ == "__main__":
    main(sys.argv[1:])
