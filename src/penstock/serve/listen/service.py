"""What the two protocols share: find a model, bound a request, run it, and count its answer.

Every request that a client began is counted once, under the status of its answer, whatever became of it: in
:attr:`InferenceService.answers`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import final

from penstock.serve.gateway.backend import Backend, model_index
from penstock.serve.gateway.waiting import Outputs
from penstock.serve.protocol.datatypes import BYTES, RAW_ONLY
from penstock.serve.protocol.errors import ProtocolError, malformed
from penstock.serve.protocol.infer import InferRequest
from penstock.serve.protocol.regions import Regions
from penstock.serve.spec import ModelSpec

RETRY_AFTER_S = 1


@final
class InferenceService:
    """The models of a backend, for clients of any protocol. ``regions``: shared memory, if clients may use it."""

    def __init__(self, backend: Backend, regions: Regions | None = None) -> None:
        self.backend = backend
        self.regions = regions
        self.answers: Counter[tuple[str, str, int]] = Counter()
        """Answers by protocol (``http``, ``grpc``), model (empty: none was named) and HTTP status."""
        self._known: Sequence[ModelSpec] = ()
        self._index: dict[str, dict[str, int]] = {}

    @property
    def models(self) -> Sequence[ModelSpec]:
        """What is served."""
        return self.backend.models

    def index_of(self, model: str, version: str = "") -> int:
        """The index of a model, of its highest version if none is named.

        Raises :class:`ProtocolError` 404 if it is not here, or not in this version.
        """
        versions = self.versions_of(model)
        if not version:
            return list(versions.values())[-1]
        if version not in versions:
            has = f"version {', '.join(versions)} only"
            raise ProtocolError(404, f"model {model[:200]!r} has {has}, not {version[:40]!r}.")
        return versions[version]

    def versions_of(self, model: str) -> Mapping[str, int]:
        """The index of each version of a model, the highest last; :class:`ProtocolError` 404 if it is not here."""
        models = self.backend.models
        if models is not self._known:  # another plan is served now
            self._known, self._index = models, model_index(models)
        if model not in self._index:
            raise ProtocolError(404, f"no model {model[:200]!r} here; there is {', '.join(self._index)}.")
        return self._index[model]

    def known_regions(self) -> Regions:
        """The regions; :class:`ProtocolError` 404 if clients may not use shared memory."""
        if self.regions is None:
            raise ProtocolError(404, "this server was started without --system-shared-memory.")
        return self.regions

    def is_ready(self) -> bool:
        """Whether requests for every model are admitted."""
        return all(self.backend.is_ready(index) for index in range(len(self.models)))

    def shed(self, index: int, arrival_us: int) -> None:
        """:class:`ProtocolError` 503 if this process is so far behind that the request's time is over, or nearly so.

        Later the policy drops what cannot make it. This is for what it never sees: a gateway that reads more than
        it can decode must not decode what is lost anyway.
        """
        spec = self.models[index]
        waited_us = self.backend.now_us() - arrival_us
        if waited_us + spec.least_us > spec.slo_us:
            raise ProtocolError(
                503,
                f"the request waited {waited_us} us to be read, and the SLO of {spec.name!r} is {spec.slo_us} us: "
                "the server is behind, or the request came slowly.",
                retry_after_s=RETRY_AFTER_S,
            )

    def answered(
        self, protocol: str, model: str, status: int, *, is_counted: bool, version: str = ""
    ) -> None:
        """A call was answered. An inference that never came to :meth:`infer` is not ``is_counted`` yet."""
        self.answers[protocol, model, status] += 1
        metrics = self.backend.metrics
        metrics.answered(protocol, status)
        if not is_counted:
            try:
                metrics.turned_away(self.index_of(model, version), status)
            except ProtocolError:
                metrics.turned_away(None, status)

    async def infer(
        self, model: str, request: InferRequest, arrival_us: int, version: str = ""
    ) -> tuple[Outputs, str]:
        """The outputs that ``request`` asks for, in its order, and the version that ran; or :class:`ProtocolError`.

        Whatever becomes of it is counted in the backend's metrics, here or there.
        """
        index = None
        try:
            index = self.index_of(model, version)
            spec = self.models[index]
            self._refuse_too_many(request)
            _refuse_forms(spec, request)
            _refuse_what_is_no_text(request)
        except ProtocolError as error:
            self.backend.metrics.turned_away(index, error.http_status)
            raise
        if request.timeout_us is not None and request.timeout_us > spec.slo_us:
            # A client may ask for less time than the model has, never for more: others wait behind it.
            request = replace(request, timeout_us=spec.slo_us)
        return request.chosen(await self.backend.infer(index, request, arrival_us)), str(spec.version)

    def _refuse_too_many(self, request: InferRequest) -> None:
        limits = self.backend.limits
        most = min(limits.samples, limits.in_flight)
        samples = max((tensor.array.shape[0] for tensor in request.inputs if tensor.array.ndim), default=0)
        if samples > most:
            raise ProtocolError(
                413, f"{samples} samples in one request; at most {most} may be. Send them in several."
            )


def _refuse_what_is_no_text(request: InferRequest) -> None:
    """400 for strings that are not UTF-8: ONNX models read text, and one such string would fail a whole batch."""
    for tensor in request.inputs:
        if tensor.datatype == BYTES:
            try:
                for item in tensor.array.ravel().tolist():
                    item.decode()
            except UnicodeDecodeError as error:
                raise malformed(
                    f"input {tensor.name!r} holds bytes that are not UTF-8 text: {error}."
                ) from None


def _refuse_forms(model: ModelSpec, request: InferRequest) -> None:
    """400 before anything runs if an output that is asked for as JSON has no JSON form."""
    wanted = None if request.outputs is None else {output.name for output in request.outputs}
    for spec in model.outputs:
        is_wanted = wanted is None or spec.name in wanted
        if is_wanted and spec.datatype in RAW_ONLY and not request.wants_binary(spec.name):
            raise malformed(
                f"output {spec.name!r} is {spec.datatype}, which has no JSON form: ask for binary_data."
            )
