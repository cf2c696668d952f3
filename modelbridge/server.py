"""`python app.py`: one process that serves with waitress until it is told to stop, then drains."""

import gc
import logging
import os
import resource
import signal
import socket
import sqlite3
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from flask import Flask
from waitress.channel import HTTPChannel
from waitress.server import BaseWSGIServer, create_server

from modelbridge import clock, config
from modelbridge.catalog import prices
from modelbridge.config import Settings, SettingsError
from modelbridge.errors import BridgeError
from modelbridge.factory import Bridge, create_app
from modelbridge.first_start import greeting
from modelbridge.identity.callers import find_caller
from modelbridge.listener import Channel, Sockets
from modelbridge.operations import logs
from modelbridge.store.lock import LockFile
from modelbridge.store.migrate import SchemaError
from modelbridge.workers import Workers

STACK_BYTES = 2**20
CUT_SECONDS = 3.0  # for calls that are cut at the end to be settled and told
_log = logging.getLogger("modelbridge")


def main() -> int:
    """Serve until SIGTERM or SIGINT; returns the exit status."""
    logs.set_up("text")  # until the settings say otherwise
    logs.catch_all()
    try:
        settings = config.load()
        logs.set_up(settings.log_format)
        return _serve_alone(settings)
    except (SettingsError, SchemaError, OSError) as error:
        print(f"ModelBridge cannot start: {error}", file=sys.stderr)
        return 1


def _serve_alone(settings: Settings) -> int:
    """One server per data directory: a second one would take the first one's calls for dead."""
    lock = LockFile(settings.data_dir / "server.lock")
    if not lock.acquire(blocking=False):
        raise SettingsError(f"another ModelBridge already serves {settings.data_dir}")
    with lock.held():
        app = create_app(settings)
        bridge: Bridge = app.extensions["modelbridge"]
        _check_port(settings)
        try:
            return _serve(app, bridge, settings)
        finally:
            bridge.close()


def _serve(app: Flask, bridge: Bridge, settings: Settings) -> int:
    if settings.one_core:
        bridge.spare_cores = keep_to_one_core()
        let_who_runs_run_on()
    threading.stack_size(STACK_BYTES)
    _raise_file_limit(settings.threads)
    for line in greeting(bridge):
        print(line)
    sys.stdout.flush()
    bridge.start()
    warm_up()
    sockets = Sockets()
    server = make_server(app, settings, sockets, partial(is_alive, bridge))
    print(f"ModelBridge serves on {settings.public_url}", flush=True)
    stopping = _on_signals(bridge)
    while not stopping.is_set():
        sockets.turn(1.0)
    _give_notice(sockets, bridge, settings.drain_notice_seconds)
    _drain(server, sockets, bridge, settings.drain_seconds)
    return 0


def warm_up() -> None:
    """The price package is read in the background, so that no call pays for its import.

    What the start has made stays until the end: the garbage collector looks at it no more, which
    takes tens of milliseconds each time, in the middle of somebody's stream.
    """
    gc.collect()
    gc.freeze()
    threading.Thread(target=_load_prices, name="prices", daemon=True).start()


def _load_prices() -> None:
    prices.load_package()
    gc.freeze()


def make_server(
    app: Flask, settings: Settings, sockets: Sockets, key_is_alive: Callable[[str], bool]
) -> Any:
    """A waitress server that listens; `sockets.turn` makes it serve what happens on its sockets.

    `key_is_alive`: whether a long body is taken from whoever shows this key.

    docs/decisions/0004-waitress.md says why each of these settings is what it is.
    """
    server = create_server(
        app,
        map=sockets,
        _dispatcher=Workers(settings.threads),
        host=settings.host,
        port=settings.port,
        ident=None,
        backlog=2048,
        connection_limit=max(4096, 2 * settings.threads),
        channel_request_lookahead=1,
        channel_timeout=120,
        outbuf_high_watermark=2**20,
        max_request_body_size=4 * settings.max_body_bytes,
        clear_untrusted_proxy_headers=not settings.trusted_proxies,  # else proxies.py does it
    )
    server.adj.is_alive = key_is_alive
    for listener in list(sockets.values()):
        if isinstance(listener, BaseWSGIServer):
            listener.channel_class = Channel
            sockets.wake_through(listener.trigger)
            listener.pull_trigger = _leave_asleep
    return server


def is_alive(bridge: Bridge, key: str) -> bool:
    """Whether the key opens anything now; False, too, if the database cannot say."""
    try:
        with bridge.database.cursor() as cursor:
            find_caller(cursor, key)
    except (BridgeError, sqlite3.Error):
        return False
    return True


def _leave_asleep() -> None:
    """waitress would wake its loop after every answer; our channels say when there is a reason."""


def keep_to_one_core() -> frozenset[int]:
    """The process stays on one of its cores: two that fight for one interpreter lock lose by it.

    Returns the others. docs/decisions/0006-one-core.md has the figures.
    """
    with suppress(AttributeError, OSError):  # not Linux, or not allowed
        cores = sorted(os.sched_getaffinity(0))
        if len(cores) > 1:
            own = cores[os.getpid() % len(cores)]
            os.sched_setaffinity(0, {own})
            return frozenset(cores) - {own}
    return frozenset()


def let_who_runs_run_on() -> None:
    """A thread that wakes up waits until the one that runs sleeps, and so lets the lock go.

    The system would rather have it run at once: on one core, only to find the lock taken.
    """
    with suppress(AttributeError, OSError):  # not Linux, or not allowed
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def _give_notice(sockets: Sockets, bridge: Bridge, seconds: float) -> None:
    """/readyz says that it is leaving, and calls are still taken until load balancers know."""
    bridge.gateway.leaving.set()
    until = clock.monotonic() + seconds
    while clock.monotonic() < until:
        sockets.turn(0.1)
    bridge.gateway.draining.set()


def _drain(server: Any, sockets: Sockets, bridge: Bridge, seconds: float) -> None:
    """Calls that are under way may end; new ones are told to come again.

    What has not ended in time is cut while everything still runs: its callers are told, and it is
    charged by what had come, or left to be looked at, like any call that breaks off.
    """
    _log.info("stopping: waiting up to %.0f s for %d calls", seconds, bridge.gateway.slots.in_use)
    deadline = clock.monotonic() + seconds
    while _busy(server, sockets, bridge) and clock.monotonic() < deadline:
        sockets.turn(0.1)
    if left := bridge.gateway.slots.in_use:
        _log.warning("stopping: %d calls have not ended in time, they are cut", left)
    while _busy(server, sockets, bridge) and clock.monotonic() < deadline + CUT_SECONDS:
        bridge.gateway.upstreams.cut_all()  # again and again: a call may go on to another upstream
        sockets.turn(0.1)
    server.close()
    server.task_dispatcher.shutdown(cancel_pending=True, timeout=2)
    _log.info("stopped")


def _busy(server: Any, sockets: Sockets, bridge: Bridge) -> bool:
    if bridge.gateway.slots.in_use or server.task_dispatcher.active_count:
        return True
    channels = [channel for channel in sockets.values() if isinstance(channel, HTTPChannel)]
    return any(channel.total_outbufs_len or channel.requests for channel in channels)


def _on_signals(bridge: Bridge) -> threading.Event:
    """The event that SIGTERM and SIGINT set; a second signal ends the process at once."""
    stopping = threading.Event()

    def stop(number: int, frame: object) -> None:
        if stopping.is_set():
            raise SystemExit(128 + number)
        bridge.gateway.leaving.set()
        stopping.set()

    handler: Callable[[int, object], None] = stop
    signal.signal(signal.SIGTERM, handler)
    signal.signal(signal.SIGINT, handler)
    return stopping


def _check_port(settings: Settings) -> None:
    """Raises SettingsError if the address cannot be bound, before anything is printed or made."""
    family, kind, protocol, _, address = socket.getaddrinfo(
        settings.host, settings.port, type=socket.SOCK_STREAM
    )[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            raise SettingsError(
                f"{settings.host}:{settings.port} cannot be used ({error.strerror}); "
                "set MODELBRIDGE_PORT to another port"
            ) from None


def _raise_file_limit(threads: int) -> None:
    """A stream needs two descriptors: one to the client, one to the upstream."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4 * threads + 1024
    if soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
