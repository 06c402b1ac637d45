"""A profile from its parts: a model, where it is cut, what was measured and what was predicted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise

from penstock import __version__
from penstock.errors import BadInputError
from penstock.graph.cuts import boundary_bytes
from penstock.graph.memory import parameter_bytes, peak_activation_bytes
from penstock.graph.reading.onnx_reader import OnnxModel
from penstock.profile.cutting import Cut
from penstock.profile.measuring.measure import Measurement
from penstock.profile.measuring.pieces import block_names
from penstock.profile.prediction.device_catalogue import device_spec
from penstock.profile.table import Block, LatencyTable, Profile, Provenance, SharedWeights

Tables = Mapping[tuple[str, int], LatencyTable]
LEAST_SHARED_BYTES = 1024
"""Less is not worth a line in the profile."""

NO_CUTS: Mapping[str, Cut] = {}


def build_profile(
    model: OnnxModel,
    boundaries: Sequence[int],
    *,
    measured: Mapping[str, Measurement],
    predicted: Tables,
    efficiencies: str = "",
    cuts: Mapping[str, Cut] = NO_CUTS,
) -> Profile:
    """The profile of ``model`` cut at ``boundaries``, and for every class a label that says where it comes from.

    ``measured`` and ``cuts`` by device class; ``predicted`` as
    :func:`penstock.profile.prediction.predict.predict` gives it, with ``efficiencies`` of the peaks.
    """
    tables = {(name, share): table for name, one in measured.items() for share, table in one.tables.items()}
    origins = {name: one.provenance for name, one in measured.items()}
    origins |= {name: _predicted(name, efficiencies) for name in sorted({name for name, _ in predicted})}
    main, by_class = _main_origin(origins)
    crossing_bytes = boundary_bytes(model.graph)
    return Profile(
        model=model.path.stem,
        blocks=_blocks(model, boundaries),
        boundary_bytes=tuple(int(crossing_bytes[at]) for at in boundaries),
        tables={**tables, **predicted},
        provenance=main,
        whole_us={name: one.whole_us for name, one in measured.items() if one.whole_us is not None},
        model_file=str(model.path.absolute()),
        model_sha256=model.sha256,
        class_provenance=by_class,
        worker_costs={
            name: one.worker_costs for name, one in measured.items() if one.worker_costs is not None
        },
        block_memory={name: one.block_memory for name, one in measured.items() if one.block_memory},
        links={name: one.links for name, one in measured.items() if one.links},
        cuts=cuts,
        reading=model.options,
        shared_weights=_shared_weights(model, boundaries),
    )


def merge_classes(kept: Profile, added: Profile) -> Profile:
    """``kept`` with the device classes of ``added``, which replace classes of the same name.

    Both must be of the same model file, cut alike: else :class:`BadInputError`.
    """
    if (kept.model_sha256, kept.reading, kept.blocks) != (added.model_sha256, added.reading, added.blocks):
        raise BadInputError(
            f"profile of {kept.model}: made from another file (sha256 {kept.model_sha256}) or cut otherwise "
            f"than that of {added.model} (sha256 {added.model_sha256}). Profile all classes from one file."
        )
    replaced = added.device_classes
    left = [name for name in kept.device_classes if name not in replaced]
    origins = {name: kept.provenance_of(name) for name in left}
    origins |= {name: added.provenance_of(name) for name in replaced}
    main, by_class = _main_origin(origins)
    return replace(
        added,
        tables={**{key: table for key, table in kept.tables.items() if key[0] in left}, **added.tables},
        whole_us={**{name: kept.whole_us[name] for name in left if name in kept.whole_us}, **added.whole_us},
        provenance=main,
        class_provenance=by_class,
        worker_costs={
            **{name: costs for name, costs in kept.worker_costs.items() if name in left},
            **added.worker_costs,
        },
        block_memory={
            **{name: memory for name, memory in kept.block_memory.items() if name in left},
            **added.block_memory,
        },
        links={**{name: kept.links[name] for name in left if name in kept.links}, **added.links},
        cuts={**{name: kept.cuts[name] for name in left if name in kept.cuts}, **added.cuts},
    )


def _main_origin(origins: Mapping[str, Provenance]) -> tuple[Provenance, dict[str, Provenance]]:
    """The origin of the profile, measured if any class was, and those of the classes that differ from it."""
    main = min(origins.values(), key=lambda origin: origin.kind != "measured")
    return main, {name: origin for name, origin in sorted(origins.items()) if origin != main}


def boundaries_of(profile: Profile, n_operators: int) -> tuple[int, ...]:
    """Where ``profile`` cuts its model of ``n_operators``, from the operators of its blocks."""
    boundaries = [0]
    for block in profile.blocks:
        boundaries.append(boundaries[-1] + len(block.operators))
    if boundaries[-1] != n_operators:
        raise BadInputError(
            f"profile of {profile.model}: its blocks hold {boundaries[-1]} operators, but the model has "
            f"{n_operators}. Profile all classes from one file."
        )
    return tuple(boundaries)


def _blocks(model: OnnxModel, boundaries: Sequence[int]) -> tuple[Block, ...]:
    return tuple(
        Block(
            name=name,
            operators=tuple(operator.name for operator in model.graph.operators[start:stop]),
            parameter_bytes=int(parameter_bytes(model.graph, start, stop)),
            peak_activation_bytes=int(peak_activation_bytes(model.graph, start, stop)),
        )
        for name, (start, stop) in zip(block_names(boundaries), pairwise(boundaries), strict=True)
    )


def _shared_weights(model: OnnxModel, boundaries: Sequence[int]) -> tuple[SharedWeights, ...]:
    """Weights that several blocks read; those of the same blocks are added up."""
    readers: dict[str, set[int]] = {}
    for block, (start, stop) in enumerate(pairwise(boundaries)):
        for operator in model.graph.operators[start:stop]:
            for name in operator.parameters:
                readers.setdefault(name, set()).add(block)
    sizes: dict[tuple[int, ...], int] = {}
    for name, blocks in readers.items():
        key = tuple(sorted(blocks))
        sizes[key] = sizes.get(key, 0) + model.graph.parameters[name]
    # Constants of a few bytes would only make the profile long.
    return tuple(
        SharedWeights(size, blocks)
        for blocks, size in sorted(sizes.items())
        if len(blocks) > 1 and size >= LEAST_SHARED_BYTES
    )


def _predicted(name: str, efficiencies: str) -> Provenance:
    return Provenance(
        kind="predicted",
        device=name,
        software=f"penstock {__version__} roofline",
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        note=f"peak rates: {device_spec(name).source}{efficiencies and f'; {efficiencies}'}",
    )
