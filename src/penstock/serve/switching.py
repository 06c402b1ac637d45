"""A running server takes another plan: what ``penstock switch`` does before and around it.

The command prepares the plan with the options of the server, which is work of seconds, and leaves the spec in the run
folder. Then it asks the supervisor, which starts the new workers beside the old ones.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from penstock.errors import BadInputError, PenstockError
from penstock.plan.documents.plan import Plan
from penstock.profile.table import Profile
from penstock.serve.control import Drained, Problem, Progress, Switch, SwitchTo
from penstock.serve.engine.control_socket import connected
from penstock.serve.engine.run_folder import is_left_behind, run_folders
from penstock.serve.listeners import read_listeners
from penstock.serve.prepare import ServeOptions, prepare
from penstock.serve.spec import ServerSpec, last_epoch, read_spec, write_spec

_OPTIONS = "options.msgpack"


def write_options(options: ServeOptions, folder: Path) -> None:
    """Leave what the server was started with in its run folder."""

    def plain(value: Any) -> Any:
        if isinstance(value, Path):
            return str(value.absolute())
        raise TypeError(f"{type(value).__name__} is no option")

    (folder / _OPTIONS).write_bytes(msgspec.msgpack.encode(options, enc_hook=plain))


def read_options(folder: Path) -> ServeOptions:
    """The options from a run folder."""
    return msgspec.msgpack.decode(
        (folder / _OPTIONS).read_bytes(), type=ServeOptions, dec_hook=lambda kind, value: kind(value)
    )


def run_at(url: str) -> Path:
    """The run folder of this user's server that listens at ``url``; :class:`BadInputError` if there is none."""
    parts = urlsplit(url if "//" in url else f"http://{url}")
    found = []
    for folder in run_folders():
        try:
            address = read_listeners(folder).http
        except OSError:
            continue  # just being made or removed
        if is_left_behind(folder):
            continue
        found.append(address.url)
        if address.port == parts.port:
            return folder
    running = ", ".join(found) or "none"
    raise BadInputError(
        f"no server of this user listens at {url} (there is {running}). Name its run folder with --run."
    )


def switch(
    plan: Plan, profiles: Mapping[str, Profile], path: Path, folder: Path, progress: Callable[[str], None]
) -> None:
    """Let the server of the run folder ``folder`` serve ``plan``; return when the old plan is drained.

    Raises :class:`PenstockError` if the plan cannot be prepared or loaded; the server then goes on with its own.
    """
    try:
        line = connected(folder)
    except OSError as error:
        raise BadInputError(f"{folder}: no server runs there ({error.strerror}).") from None
    spec = _prepared(plan, profiles, path, folder)
    line.send(SwitchTo(spec.epoch))
    while (messages := line.receive()) is not None:
        for message in messages:
            if isinstance(message, Progress):
                progress(message.text)
            elif isinstance(message, Problem):
                raise PenstockError(message.message)
            elif isinstance(message, Switch):
                progress("the workers of the plan before end when their requests are answered")
            elif isinstance(message, Drained) and message.epoch != spec.epoch:
                return
    raise PenstockError("the server ended before it had switched.")


def _prepared(plan: Plan, profiles: Mapping[str, Profile], path: Path, folder: Path) -> ServerSpec:
    """The spec of the next epoch, in the run folder."""
    before = read_spec(folder, last_epoch(folder))
    epoch = before.epoch + 1
    models = folder / f"epoch-{epoch}"
    try:
        models.mkdir()
    except FileExistsError:
        raise BadInputError(f"{folder}: another plan is being prepared. Switch when that is done.") from None
    try:
        spec = prepare(plan, profiles, read_options(folder), models)
    except BaseException:
        shutil.rmtree(models)
        raise
    spec = msgspec.structs.replace(
        spec, epoch=epoch, first_worker=before.workers.stop, plan=str(path), listen=before.listen
    )
    write_spec(spec, folder)
    return spec
