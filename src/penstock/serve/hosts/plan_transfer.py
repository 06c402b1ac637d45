"""How a plan gets to a host: the files that its processes need, and then the spec, which names these files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import msgspec

from penstock.serve.hosts.agent_messages import AddPlan, FilePart
from penstock.serve.spec import ServerSpec

FILE_PART_BYTES = 2**20


def plan_messages(
    spec: ServerSpec, host: str, known: Mapping[str, int], *, has_gateways: bool, is_gentle: bool
) -> Iterator[msgspec.Struct | Iterable[msgspec.Struct]]:
    """What to send to the agent of ``host``; nothing if the plan has nothing there.

    ``known``: the files that the host has, as EPOCH/NAME, with their bytes; they are not sent again. ``is_gentle``:
    start a few workers at a time, because others serve on the same cores.
    """
    workers = spec.workers_on(host)
    if not workers and not has_gateways:
        return
    files: dict[str, Path] = {}
    own = {stage for worker in workers for stage in spec.stages_of(worker)}
    stages = []
    for number, stage in enumerate(spec.stages):
        name = None
        if stage.model_file is not None and number in own:
            path = Path(stage.model_file)
            name = f"{spec.epoch}/{path.name}"
            # Weights lie beside a sub-model, under its name and more.
            files |= {f"{spec.epoch}/{one.name}": one for one in path.parent.glob(f"{path.name}*")}
        stages.append(msgspec.structs.replace(stage, model_file=name))
    listen = {field: f"{spec.epoch}/{field}" for field in spec.listen.files} if has_gateways else {}
    files |= {name: Path(spec.listen.files[field]) for field, name in listen.items()}
    for name, path in files.items():
        if known.get(name) != path.stat().st_size:
            yield _parts(name, path)
    told = msgspec.structs.replace(
        spec,
        stages=tuple(stages),
        journal=None,
        traces=spec.traces if has_gateways else None,
        listen=spec.listen.with_files(listen),
    )
    yield AddPlan(msgspec.msgpack.encode(told), tuple(workers), is_gentle)


def _parts(name: str, path: Path) -> Iterator[FilePart]:
    """The file at ``path``, read as it is sent."""
    left = path.stat().st_size
    with path.open("rb") as file:
        while True:
            data = file.read(FILE_PART_BYTES)
            left -= len(data)
            yield FilePart(name, data, is_last=left <= 0)
            if left <= 0 or not data:
                return
