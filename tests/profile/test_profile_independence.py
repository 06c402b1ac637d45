"""Models whose samples influence each other are found by running them together and alone; fixed batches."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import numpy_helper

pytest.importorskip("onnxruntime")

from penstock.errors import BadInputError
from penstock.graph.reading.onnx_reader import OnnxModel, read_onnx
from penstock.graph.reading.options import parse_read_options
from penstock.graph.split import save_submodel, submodel
from penstock.profile.measuring.independence import check_independence
from penstock.profile.measuring.inputs import model_inputs, read_samples
from penstock.profile.measuring.measure import measure
from penstock.profile.measuring.pieces import prepare_pieces
from penstock.profile.measuring.timing import Effort


def model(text: str, folder: Path, *dims: str, free: bool = False, **weights: np.ndarray) -> OnnxModel:
    proto = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17, "com.microsoft" : 1]>\n{text}')
    proto.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in weights.items())
    path = folder / "m.onnx"
    path.write_bytes(proto.SerializeToString())
    return read_onnx(path, parse_read_options(dims, free_batch=free))


def numbers(*shape: int) -> np.ndarray:
    return np.random.default_rng(3).standard_normal(shape, dtype=np.float32)


COUPLED = """g (float[N, 8] x) => (float[N, 8] y) {
    m = ReduceMean<axes = [0], keepdims = 1>(x)
    y = Sub(x, m) }"""
SOFTMAX = "g (float[N, 8] x) => (float[N, 8] y) { y = Softmax<axis = 0>(x) }"
TIME = """g (float[time, 4] x) => (float[time, 2] y) {
    u = Unsqueeze(x, one)
    a = GRU<hidden_size = 2>(u, w, r)
    y = Squeeze(a, both) }"""


@pytest.mark.parametrize(
    ("text", "weights", "key"),
    [
        (COUPLED, {}, "x:0"),
        (SOFTMAX, {}, "x:0"),
        (
            TIME,
            {"one": np.array([1]), "both": np.array([1, 2]), "w": numbers(1, 6, 4), "r": numbers(1, 6, 2)},
            "x:0",
        ),
    ],
    ids=["mean", "softmax", "time"],
)
def test_a_batch_that_is_none_is_refused_with_the_option(
    text: str, weights: dict[str, np.ndarray], key: str, tmp_path: Path
) -> None:
    with pytest.raises(BadInputError, match=rf"influence each other.*--dim {key}=LENGTH"):
        check_independence(model(text, tmp_path, **weights))
    fixed = model(text, tmp_path, f"{key}=5", **weights)
    assert not fixed.graph.is_batched
    assert check_independence(fixed) is None


def test_dynamic_quantisation_is_a_warning_with_the_size(tmp_path: Path) -> None:
    text = """g (float[N, 8] x) => (float[N, 8] y) {
        q, scale, zero = DynamicQuantizeLinear(x)
        y = DequantizeLinear(q, scale, zero) }"""
    warning = check_independence(model(text, tmp_path))
    assert warning is not None
    assert "a little: output 'y' of a sample changes by 0.0" in warning


def test_rounding_that_a_model_amplifies_is_no_influence(tmp_path: Path) -> None:
    """A variance as the difference of two sums: the order of summing, which the batch decides, is amplified."""
    text = """g (float[N, 8] x) => (float[N, 8] y) {
        a = Mul(x, tiny)
        b = Add(a, big)
        c = MatMul(b, w)
        d = Sub(c, e)
        y = Mul(d, huge) }"""
    weights = {"tiny": 1e-3, "big": 1e3, "e": 8e3, "huge": 1e4}
    arrays = {name: np.array(value, np.float32) for name, value in weights.items()}
    assert check_independence(model(text, tmp_path, w=np.ones((8, 8), np.float32), **arrays)) is None


def test_what_depends_on_the_number_of_samples_is_refused(tmp_path: Path) -> None:
    """x / N: neighbours change nothing, but three samples together give a third."""
    text = """g (float[N, 8] x) => (float[N, 8] y) {
        s = Shape(x)
        n = Gather(s, zero)
        f = Cast<to = 1>(n)
        y = Div(x, f) }"""
    with pytest.raises(BadInputError, match="influence each other"):
        check_independence(model(text, tmp_path, zero=np.array(0)))


def test_random_outputs_are_not_taken_for_influence(tmp_path: Path) -> None:
    text = "g (float[N, 8] x) => (float[N, 8] y) { r = RandomNormalLike(x) \n y = Add(x, r) }"
    warning = check_independence(model(text, tmp_path))
    assert warning is not None
    assert "random" in warning


def test_an_output_of_another_shape_than_inferred_is_refused(tmp_path: Path) -> None:
    """The exporter of a damaged graph: an output that is declared with a batch, and has none when it runs."""
    one = model("g (float[N, 2] x) => (float[N, 2] y) { y = Relu(x) }", tmp_path)
    wrong = replace(one.graph.tensors["y"], shape=(-1, 3))
    with pytest.raises(BadInputError, match=r"output 'y' has shape \[3, 2\] for a batch of 3"):
        check_independence(replace(one, graph=replace(one.graph, tensors={**one.graph.tensors, "y": wrong})))


def test_a_remade_batch_is_compared_with_the_file(tmp_path: Path) -> None:
    same = "g (float[1, 6] x) => (float[1, 2, 3] y) { y = Reshape(x, shape) }"
    assert check_independence(model(same, tmp_path, free=True, shape=np.array([1, 2, 3]))) is None
    # With a batch of its own the mean over axis 0 is another function.
    with pytest.raises(BadInputError, match="influence each other"):
        check_independence(model(COUPLED.replace("N", "1"), tmp_path, free=True))


def test_samples_are_repeated_to_the_batch(tmp_path: Path) -> None:
    graph = model("g (float[N, 2] x, float s) => (float[N, 2] y) { y = Mul(x, s) }", tmp_path).graph
    given = {"x": np.array([[1.0, 2.0], [3.0, 4.0]]), "s": np.array(5)}
    made = model_inputs(graph, 3, 0, given)
    np.testing.assert_array_equal(made["x"], [[1, 2], [3, 4], [1, 2]])
    assert (made["x"].dtype, made["s"].dtype, made["s"].shape) == (np.float32, np.float32, ())


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ({"z": np.zeros((1, 2))}, "'z' is no input of the model .it has x, s"),
        ({"x": np.zeros((1, 3))}, r"has shape \[1, 3\], but the input has \[-1, 2\]"),
        ({"x": np.array([["a", "b"]])}, "holds <U1, not float32"),
    ],
)
def test_samples_that_do_not_fit_are_refused(
    samples: dict[str, np.ndarray], message: str, tmp_path: Path
) -> None:
    graph = model("g (float[N, 2] x, float s) => (float[N, 2] y) { y = Mul(x, s) }", tmp_path).graph
    with pytest.raises(BadInputError, match=message):
        model_inputs(graph, 2, 0, samples)


def strings(folder: Path) -> OnnxModel:
    return model("g (string[N] x) => (string[N] y) { a = Identity(x) \n y = Identity(a) }", folder)


def test_strings_are_measured_with_given_samples(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"input 'x' holds strings.*--sample FILE.npz"):
        check_independence(strings(tmp_path))
    np.savez(tmp_path / "s.npz", x=np.array(["one", "two words"]))
    samples = read_samples(tmp_path / "s.npz")
    assert check_independence(strings(tmp_path), samples=samples) is None
    pieces = prepare_pieces(strings(tmp_path), (0, 1, 2), (1, 3), tmp_path, samples=samples)
    with np.load(pieces[1].inputs[1]) as arrays:
        assert arrays["arr_0"].tolist() == ["one", "two words", "one"]


def test_a_file_that_is_no_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "s.npz").write_bytes(b"no")
    with pytest.raises(BadInputError, match="is not a file of arrays"):
        read_samples(tmp_path / "s.npz")


@pytest.mark.slow
def test_a_fixed_batch_is_measured_at_batch_1_only(tmp_path: Path) -> None:
    fixed = model("g (float[1, 4] x) => (float[1, 4] y) { y = MatMul(x, w) }", tmp_path, w=numbers(4, 4))
    found = measure(fixed, (0, 1), max_batch=4, effort=Effort(seconds=0.05))
    assert found.tables[1].max_batch == 1


def test_large_weights_lie_beside_the_piece(tmp_path: Path) -> None:
    """1.5 MB of weights: the file of the piece holds less than a tenth of it, and gives the same."""
    import onnxruntime

    w = numbers(612, 612)
    one = model("g (float[N, 612] x) => (float[N, 612] y) { a = MatMul(x, w) \n y = Relu(a) }", tmp_path, w=w)
    save_submodel(submodel(one, 0, 2), tmp_path / "piece.onnx")
    assert (tmp_path / "piece.onnx").stat().st_size < 150_000
    assert (tmp_path / "piece.onnx.weights").stat().st_size >= w.nbytes
    x = numbers(2, 612)
    made = onnxruntime.InferenceSession(tmp_path / "piece.onnx").run(None, {"x": x})[0]
    np.testing.assert_allclose(made, np.maximum(x @ w, 0), rtol=1e-3, atol=1e-3)
