"""The documents about the server and its models as messages of gRPC. They have the fields of the JSON ones."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, final

import msgspec
from google.protobuf import json_format

from penstock.serve.gateway.metrics import statistics
from penstock.serve.listen.service import InferenceService
from penstock.serve.protocol.documents import model_config, model_metadata, repository_index, server_metadata
from penstock.serve.protocol.grpc_interface import SERVICE, methods
from penstock.serve.protocol.regions import cuda_regions, no_cuda_regions
from penstock.serve.spec import ModelSpec

Answer = Callable[[Any], Awaitable[Any]]


@final
class GrpcDocuments:
    """Answers every call but inference."""

    def __init__(self, service: InferenceService) -> None:
        self._service = service
        self._backend = service.backend
        self._kinds = {name: response for name, (_, response) in methods(SERVICE).items()}
        self._answers: dict[str, Answer] = {
            "ServerLive": self._live,
            "ServerReady": self._ready,
            "ModelReady": self._model_ready,
            "ServerMetadata": self._metadata,
            "ModelMetadata": self._model_metadata,
            "ModelConfig": self._config,
            "ModelStatistics": self._statistics,
            "RepositoryIndex": self._index,
            "RepositoryModelLoad": self._load,
            "RepositoryModelUnload": self._unload,
            "SystemSharedMemoryStatus": self._regions,
            "SystemSharedMemoryRegister": self._register,
            "SystemSharedMemoryUnregister": self._unregister,
            "CudaSharedMemoryStatus": self._cuda_regions,
            "CudaSharedMemoryRegister": self._cuda_register,
            "CudaSharedMemoryUnregister": self._cuda_unregister,
        }

    def of(self, method: str) -> Answer:
        """What answers ``method``."""
        return self._answers[method]

    async def _live(self, request: Any) -> Any:
        return self._made("ServerLive", {"live": True})

    async def _ready(self, request: Any) -> Any:
        return self._made("ServerReady", {"ready": self._service.is_ready()})

    async def _model_ready(self, request: Any) -> Any:
        index = self._service.index_of(request.name, request.version)
        return self._made("ModelReady", {"ready": self._backend.is_ready(index)})

    async def _metadata(self, request: Any) -> Any:
        return self._made(
            "ServerMetadata",
            server_metadata(self._service.models, has_regions=self._service.regions is not None),
        )

    async def _model_metadata(self, request: Any) -> Any:
        return self._made("ModelMetadata", model_metadata(*self._model(request)))

    async def _config(self, request: Any) -> Any:
        return self._made("ModelConfig", {"config": model_config(*self._model(request))})

    async def _statistics(self, request: Any) -> Any:
        indices = range(len(self._service.models))
        if request.name:
            indices = range(index := self._service.index_of(request.name, request.version), index + 1)
        totals = self._backend.metrics.totals()
        entries = [statistics(self._service.models[i], totals) for i in indices]
        return self._made(
            "ModelStatistics", {"model_stats": [e for entry in entries for e in entry["model_stats"]]}
        )

    async def _index(self, request: Any) -> Any:
        models = self._service.models
        states = [self._backend.is_ready(index) for index in range(len(models))]
        entries = repository_index(models, states)
        return self._made(
            "RepositoryIndex", {"models": [e for e in entries if e["state"] == "READY" or not request.ready]}
        )

    async def _load(self, request: Any) -> Any:
        await self._backend.set_loaded(self._service.index_of(request.model_name), loaded=True)
        return self._made("RepositoryModelLoad", {})

    async def _unload(self, request: Any) -> Any:
        await self._backend.set_loaded(self._service.index_of(request.model_name), loaded=False)
        return self._made("RepositoryModelUnload", {})

    async def _regions(self, request: Any) -> Any:
        known = self._service.known_regions().status(request.name)
        document = {one.name: msgspec.structs.asdict(one) for one in known}
        return self._made("SystemSharedMemoryStatus", {"regions": document})

    async def _register(self, request: Any) -> Any:
        regions = self._service.known_regions()
        regions.register(request.name, request.key, request.offset, request.byte_size)
        return self._made("SystemSharedMemoryRegister", {})

    async def _unregister(self, request: Any) -> Any:
        self._service.known_regions().unregister(request.name)
        return self._made("SystemSharedMemoryUnregister", {})

    async def _cuda_regions(self, request: Any) -> Any:
        cuda_regions(request.name)
        return self._made("CudaSharedMemoryStatus", {})

    async def _cuda_register(self, request: Any) -> Any:
        raise no_cuda_regions()

    async def _cuda_unregister(self, request: Any) -> Any:
        return self._made("CudaSharedMemoryUnregister", {})

    def _model(self, request: Any) -> tuple[ModelSpec, Iterable[str]]:
        """The model of a version, and the versions that there are."""
        index = self._service.index_of(request.name, request.version)
        return self._service.models[index], self._service.versions_of(request.name)

    def _made(self, method: str, document: dict[str, Any]) -> Any:
        # The JSON documents have fields that the messages do not, such as a model's parameters.
        return json_format.ParseDict(document, self._kinds[method](), ignore_unknown_fields=True)
