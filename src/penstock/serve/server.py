"""``penstock serve`` as a function: run a server until it is told to stop."""

from __future__ import annotations

import logging
import shutil
import socket
from pathlib import Path

from penstock.clock import MonotonicClock
from penstock.errors import BadInputError
from penstock.serve.engine.live_scaling import LadderToFollow, LiveScaling
from penstock.serve.engine.local_engine import LocalEngine
from penstock.serve.hosts.many_hosts import HostsChoice, ManyHosts
from penstock.serve.listeners import Address, Listeners, address_of, write_listeners
from penstock.serve.live_record import note_epoch
from penstock.serve.observe.counter_file import read_counters
from penstock.serve.observe.log_lines import READY
from penstock.serve.spec import ServerSpec, write_spec
from penstock.units import NEVER_US, us_from_seconds

_log = logging.getLogger("penstock.serve")


def listening_socket(address: Address) -> socket.socket:
    """A TCP socket bound to ``address`` and listening; :class:`BadInputError` if it is taken or not ours."""
    try:
        family = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((address.host, address.port), family=family, backlog=1024)
    except OSError as error:
        raise BadInputError(
            f"cannot listen on {address.host}:{address.port} ({error.strerror or error}). "
            f"Stop what uses that port, or choose another with --http (port 0 takes a free one)."
        ) from None


def url_of(listener: socket.socket, *, is_tls: bool = False) -> str:
    """The URL of a server that listens on ``listener``."""
    url = address_of(listener).url
    return url.replace("http://", "https://", 1) if is_tls else url


def serve(
    spec: ServerSpec,
    folder: Path,
    reserved: socket.socket,
    *,
    seconds: float | None = None,
    gateways: int = 1,
    standby: bool = False,
    replan_after_us: int | None = None,
    follow: LadderToFollow | None = None,
    grpc: socket.socket | None = None,
    hosts: HostsChoice | None = None,
) -> None:
    """Serve until SIGINT, SIGTERM or SIGHUP, or for ``seconds``; then drain and end every process.

    ``reserved`` is bound to the address (:func:`penstock.serve.listeners.reserved`), ``grpc`` to that of gRPC.
    ``hosts``: where the plan's hosts come from; without it, all workers are on this host.
    ``standby``: keep a second dispatcher ready. ``replan_after_us``: if devices or hosts are lost for so long, switch
    to a plan without them. ``follow``: a ladder of plans to follow the load with; ``spec`` is of one of them. The log
    says the URL once all workers are up. ``folder``, the run's, is removed. Raises :class:`PenstockError` if a process
    cannot start.
    """
    try:
        write_spec(spec, folder)
        write_listeners(Listeners(address_of(reserved), None if grpc is None else address_of(grpc)), folder)
        if spec.rows is not None:
            note_epoch(spec, Path(spec.rows))
        rows = None if spec.rows is None else Path(spec.rows)
        many = None if hosts is None else ManyHosts(folder, hosts, _log.warning, rows)
        keeper = None if many is None else many.keeper
        try:
            engine = LocalEngine(
                spec,
                folder,
                gateways=gateways,
                gateways_on=() if hosts is None or hosts.gateways is None else hosts.gateways.hosts,
                standby=standby,
                replan_after_us=replan_after_us,
                scaling=None if follow is None else _scaling(follow, spec, folder),
                keeper=keeper,
            )
        except BaseException:
            if many is not None:
                many.close()
            raise
        try:
            if engine.start():
                if grpc is not None:
                    _log.info("grpc: %s", address_of(grpc).text)
                _log.info("%s%s", READY, url_of(reserved, is_tls=spec.listen.tls_certificate is not None))
                until_us = NEVER_US
                if seconds is not None:
                    until_us = MonotonicClock().now_us() + us_from_seconds(seconds)
                engine.run(until_us)
        finally:
            engine.stop()
    finally:
        reserved.close()
        shutil.rmtree(folder, ignore_errors=True)


def _scaling(follow: LadderToFollow, spec: ServerSpec, folder: Path) -> LiveScaling:
    return LiveScaling(follow, follow.rung_of(spec.plan), folder, lambda: read_counters(folder), _log.warning)
