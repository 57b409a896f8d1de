"""Parent: starts, links, restarts and ends the HTTP processes and the workers of a service.

It keeps promises 9 and 11 of ../engine/README.md. It imports no FastAPI, uvicorn, torch, numpy
or prometheus_client, so that it takes little memory beside its children.
"""

import asyncio
import contextlib
import logging
import signal
import socket
from pathlib import Path
from types import FrameType

from app.engine import control
from app.engine.queue_table import QueueTable, make_table
from app.processes import signals
from app.processes.banner import log_serving
from app.processes.child_process import ChildProcess
from app.processes.children import http_processes, start_of_worker
from app.processes.metrics_folder import keep_in_use, metrics_folder, remove_gauges
from app.settings import PREFIX, Settings
from app.sockets.address import address_of
from model.config import EncoderConfig
from model.spaces import Fingerprint

log = logging.getLogger("quintet")

# What an HTTP process may take to end after the longest request.
_LAST_REQUEST_S = 60.0
# After workers are killed: time to answer that they were.
_LAST_RESPONSES_S = 2.0


class Parent:
    """Supervises the children of one service, from its start to its exit."""

    def __init__(
        self, settings: Settings, folder: Path, config: EncoderConfig, listener: socket.socket
    ) -> None:
        """`folder` has the checkpoint, whose configuration is `config`."""
        self._settings, self._folder, self._config = settings, folder, config
        self._listener = listener
        self._http_count = http_processes(settings)
        table = make_table(self._http_count, len(settings.devices))
        self._queues = QueueTable(table, len(settings.devices))
        self._descriptors = listener.fileno(), table
        names = [f"HTTP process {number}" for number in range(self._http_count)]
        self._http_processes = [
            ChildProcess(name, name, ("app.processes.http_process", str(number)), self)
            for number, name in enumerate(names)
        ]
        self._workers = [
            ChildProcess(f"the worker on {device}", "a worker", ("app.engine.worker",), self)
            for device in settings.devices
        ]
        self._fingerprint: Fingerprint | None = None  # of the first worker that was ready
        self._readers: str | None = None  # digest of what the first HTTP process read
        self._started: dict[ChildProcess, control.WorkerStarted] = {}  # the workers that are ready
        self._linked: set[tuple[ChildProcess, int]] = set()  # HTTP process, worker's process id
        self._announced: set[int | None] = set()  # process ids of workers that run
        self._has_served = False
        self._uncounted_restarts = 0
        self._draining = False
        self._closing = asyncio.Event()
        self._exit_code = 0

    async def run(self) -> int:
        """Serve until a signal or a failed start; the exit code."""
        self._loop = asyncio.get_running_loop()
        signals.handle(self._on_signal)
        with metrics_folder(self._http_count) as self._metrics_folder:
            async with asyncio.TaskGroup() as group:
                keeping = group.create_task(keep_in_use(self._metrics_folder))
                http_processes, workers = (
                    [group.create_task(child.supervise()) for child in children]
                    for children in (self._http_processes, self._workers)
                )
                await self._closing.wait()
                for child in self._http_processes:
                    child.finish(self._settings.request_timeout_s + _LAST_REQUEST_S)
                await asyncio.wait(http_processes)
                with contextlib.suppress(OSError):  # they have shut it down already
                    self._listener.shutdown(socket.SHUT_RDWR)
                for child in self._workers:  # what they held is answered
                    child.finish(self._settings.batch_timeout_s)
                await asyncio.wait(workers)
                keeping.cancel()
        signals.ignore()
        return self._exit_code

    def begun(self, child: ChildProcess, number: int) -> None:
        """Send a child what to do."""
        if child in self._http_processes:
            start = control.StartHttpProcess(str(self._folder), bool(number), self._readers)
            child.send(start, *self._descriptors)
        else:
            self._uncounted_restarts += bool(number)
            self._report_restarts()
            device = self._settings.devices[self._workers.index(child)]
            child.send(start_of_worker(self._settings, self._folder, device, self._fingerprint))

    def received(self, child: ChildProcess, message: control.FromChild) -> None:
        """Link a worker that has started to all HTTP processes, and one of those to all workers."""
        if isinstance(message, control.WorkerStarted):
            self._fingerprint = self._fingerprint or message.fingerprint
            if message.fingerprint != self._fingerprint:
                self.cannot_start(child, self._changed())
                return
            child.accepted_start = True
            self._started[child] = message
            for each in self._http_processes:
                if each.accepted_start:
                    self._link(each, child)
        elif isinstance(message, control.ApplicationBuilt):
            self._readers = self._readers or message.readers
            if message.readers != self._readers:
                self.cannot_start(child, self._changed())
                return
            child.accepted_start = True
            for worker in self._started:
                self._link(child, worker)
            child.send(control.Serve())
            if self._draining:
                child.send(control.Drain())
            self._report_restarts()
        elif isinstance(message, control.WorkerLinked):
            self._linked.add((child, message.process))
            self._announce()

    def ended(self, child: ChildProcess, code: int) -> None:
        """Forget what a child had."""
        self._started.pop(child, None)
        self._announced.discard(child.process_id)
        self._linked = {
            (linked, worker)
            for linked, worker in self._linked
            if linked is not child and worker != child.process_id
        }
        if child in self._http_processes:
            remove_gauges(self._metrics_folder, child.process_id)
            self._queues.clear(self._http_processes.index(child))
            if self._closing.is_set() and code > 0:
                self._exit_code = 1
            self._announce()

    def cannot_start(self, child: ChildProcess, reason: str) -> None:
        """End with the reason, if it is not the end already."""
        if not self._draining and not self._closing.is_set():
            if child in self._workers:
                device = self._settings.devices[self._workers.index(child)]
                if device != "auto" and device in reason:
                    reason = f"{reason} ({PREFIX}DEVICES)"
            log.error("cannot start: %s", reason)
            self._exit_code = 1
        self._closing.set()

    def _changed(self) -> str:
        return f"{self._folder} has changed while the service was starting; start it again."

    def _link(self, http_process: ChildProcess, worker: ChildProcess) -> None:
        """Give each of them one end of a new connection."""
        one, other = socket.socketpair()
        with one, other:
            worker.send(control.AddLink(), one.fileno())
            link = control.LinkWorker(self._workers.index(worker), self._started[worker])
            http_process.send(link, other.fileno())

    def _announce(self) -> None:
        """Log the address for each worker to which all HTTP processes that accept connections are
        linked, so that none of them refuses whoever reads the line."""
        for started in self._started.values():
            linked = [
                (child, started.process) in self._linked
                for child in self._http_processes
                if child.accepted_start or not child.starts
            ]
            if started.process in self._announced or not linked or not all(linked):
                continue
            self._announced.add(started.process)
            self._has_served = True
            if not self._draining:
                log_serving(self._settings, self._config, started, address_of(self._listener))

    def _report_restarts(self) -> None:
        """Have restarts of workers counted by an HTTP process, as soon as there is one."""
        counting = next((child for child in self._http_processes if child.accepted_start), None)
        while counting and self._uncounted_restarts and counting.send(control.CountRestart()):
            self._uncounted_restarts -= 1

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self._loop.call_soon_threadsafe(self._signalled, number)

    def _signalled(self, number: int) -> None:
        """The first signal drains, the next one skips the delay, one after that kills."""
        if self._closing.is_set() and self._draining:
            self._kill()
            return
        skips_delay = self._draining or number == signal.SIGINT or not self._has_served
        self._draining = True
        for child in self._http_processes:
            child.send(control.Drain())
        if skips_delay:
            self._closing.set()
        else:
            delay_s = self._settings.drain_delay_s
            log.info("draining: not ready; the port closes in %g s", delay_s)
            self._loop.call_later(delay_s, self._closing.set)

    def _kill(self) -> None:
        for child in self._workers:
            child.kill()
        for child in self._http_processes:
            self._loop.call_later(_LAST_RESPONSES_S, child.kill)
