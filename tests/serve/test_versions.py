"""Versions of a model: who gets which, what clients are told, and a new one that is loaded while the server runs."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from pydantic import ValidationError
from serve_cases import WIDTH, skip_profile, write_plan, write_skip_model
from test_serve_live import ALLOWANCE, ask, figure

from penstock.plan.documents.scenario import Scenario
from penstock.plan.documents.store import load_plan
from penstock.serve.gateway.backend import index_in_other_plan
from penstock.serve.listen.service import InferenceService
from penstock.serve.local_server import LocalServer
from penstock.serve.protocol.documents import model_config, model_metadata, repository_index
from penstock.serve.protocol.errors import ProtocolError
from penstock.serve.spec import ModelSpec
from penstock.serve.switching import run_at, switch


def spec(name, version=1, serve_as=""):
    return ModelSpec(name, 9, 1.0, 1, (), (), (), serve_as=serve_as, version=version)


MODELS = (spec("new", 10, "a"), spec("b", 3), spec("a", 2), spec("old", 1, "a"))


class TestService:
    """By hand: the highest version is a number, not a text."""

    @pytest.fixture
    def service(self):
        return InferenceService(SimpleNamespace(models=MODELS))

    @pytest.mark.parametrize(
        ("model", "version", "index"),
        [("a", "", 0), ("a", "10", 0), ("a", "2", 2), ("a", "1", 3), ("b", "", 1), ("b", "3", 1)],
    )
    def test_finds_the_version_that_is_asked_for_or_the_highest(self, service, model, version, index):
        assert service.index_of(model, version) == index

    @pytest.mark.parametrize(
        ("model", "version", "text"),
        [
            ("a", "3", "model 'a' has version 1, 2, 10 only, not '3'"),
            ("b", "1", "model 'b' has version 3 only"),
            ("new", "", "no model 'new' here; there is a, b"),
        ],
    )
    def test_says_which_there_are(self, service, model, version, text):
        with pytest.raises(ProtocolError) as refused:
            service.index_of(model, version)
        assert refused.value.http_status == 404
        assert text in str(refused.value)

    def test_another_plan_has_other_versions(self, service):
        service.backend.models = (spec("a", 11),)
        assert service.index_of("a") == 0
        with pytest.raises(ProtocolError):
            service.index_of("a", "1")

    def test_a_model_of_another_plan_is_the_one_of_the_same_public_name_and_version(self):
        """By hand: its name in the plan may differ; another version is another model."""
        other = (spec("b", 1), spec("a", 10), spec("b", 3))
        assert [index_in_other_plan(model, other) for model in MODELS[:2]] == [1, 2]


def test_documents_have_the_names_and_versions_of_clients():
    assert model_metadata(MODELS[0], ("1", "2", "10"))["versions"] == ["1", "2", "10"]
    assert model_config(MODELS[0], ("1", "10"))["version_policy"] == {"specific": {"versions": [1, 10]}}
    entries = repository_index(MODELS, [True] * 4)
    assert [(entry["name"], entry["version"]) for entry in entries] == [
        ("a", "10"),
        ("b", "3"),
        ("a", "2"),
        ("a", "1"),
    ]


def test_two_models_that_clients_could_not_tell_apart_are_refused(tmp_path):
    path = write_plan(tmp_path, skip_profile(write_skip_model(tmp_path / "skip.onnx")), (0, 4))
    document = load_plan(path).plan.scenario.model_dump()
    twin = {**document["models"][0], "name": "twin", "serve_as": "skip"}
    with pytest.raises(ValidationError, match=r"skip and twin are both version 1 of skip to clients"):
        Scenario.model_validate({**document, "models": [document["models"][0], twin]})
    fine = Scenario.model_validate({**document, "models": [document["models"][0], {**twin, "version": 2}]})
    written = fine.model_dump()["models"]
    assert [(one.get("serve_as"), one.get("version")) for one in written] == [(None, None), ("skip", 2)]


@pytest.mark.slow
def test_a_new_version_is_loaded_beside_the_old_one(tmp_path):
    folders = [tmp_path / "one", tmp_path / "both"]
    for folder in folders:
        folder.mkdir()
    old = skip_profile(write_skip_model(tmp_path / "old.onnx"))
    new = replace(skip_profile(write_skip_model(tmp_path / "new.onnx", seed=8)), model="skip-new")
    first = write_plan(folders[0], old, (0, 4), batch=1, slo_us=30_000_000)
    both = write_plan(folders[1], old, (0, 4), batch=1, slo_us=30_000_000, beside=[new])
    document = json.loads(both.read_text())
    document["scenario"]["models"][1] |= {"serve_as": "skip", "version": 2}
    both.write_text(json.dumps(document))
    x = np.linspace(-1, 1, WIDTH).astype(np.float32)
    values = {"name": "x", "shape": [1, WIDTH], "datatype": "FP32", "data": x.tolist()}
    body = json.dumps({"inputs": [values]}).encode()

    def asked(server, path):
        status, _, text = ask(f"{server.url}/v2/models/skip{path}/infer", body)
        answer = json.loads(text)
        return (
            (status, answer["error"])
            if status != 200
            else (answer["model_version"], answer["outputs"][0]["data"])
        )

    with LocalServer(first, ALLOWANCE) as server:
        one = asked(server, "")
        assert one[0] == "1"
        assert asked(server, "/versions/2") == (404, "model 'skip' has version 1 only, not '2'.")
        loaded = load_plan(both)
        switch(loaded.plan, loaded.profiles, both, run_at(server.url), lambda text: None)
        two = asked(server, "")
        assert two[0] == "2"
        assert not np.allclose(one[1], two[1])
        assert asked(server, "/versions/1") == one
        assert asked(server, "/versions/2") == two
        assert json.loads(ask(f"{server.url}/v2/models/skip")[2])["versions"] == ["1", "2"]
        counts = [
            figure(server, "penstock_requests_total", model=name, outcome="met")
            for name in ("skip", "skip-new")
        ]
        assert counts == [2, 2]
