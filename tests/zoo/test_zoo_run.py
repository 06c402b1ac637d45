"""The zoo's models run: finite outputs of the right shape that depend on the image."""

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock import zoo

onnxruntime = pytest.importorskip("onnxruntime")

SMALL = {"inception_v3": 75, "retinanet_resnet50_fpn": 64}


def session(model: onnx.ModelProto) -> "onnxruntime.InferenceSession":
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def two_images(size: int) -> np.ndarray:
    return np.random.default_rng(5).standard_normal((2, 3, size, size), dtype=np.float32)


def expected_outputs(name: str) -> dict[str, tuple[int, ...]]:
    """Shapes of one sample at 64 pixels: the detector's levels have strides 8 to 128, rounded up."""
    if name != "retinanet_resnet50_fpn":
        return {"logits": (1000,)}
    sides = {"p3": 8, "p4": 4, "p5": 2, "p6": 1, "p7": 1}
    logits = {f"class_logits_{level}": (9 * 91, side, side) for level, side in sides.items()}
    return logits | {f"box_deltas_{level}": (9 * 4, side, side) for level, side in sides.items()}


@pytest.mark.parametrize("name", zoo.NAMES)
def test_outputs_are_finite_of_order_one_and_depend_on_the_image(name: str) -> None:
    size = SMALL.get(name, 64)
    runner = session(zoo.build(name, image_size=size))
    images = two_images(size)
    both = runner.run(None, {"input": images})
    first = runner.run(None, {"input": images[:1]})
    found = {out.name: value.shape for out, value in zip(runner.get_outputs(), both, strict=True)}
    assert found == {key: (2, *shape) for key, shape in expected_outputs(name).items()}
    for pair, alone in zip(both, first, strict=True):
        scale = float(np.sqrt(np.mean(pair**2)))
        assert 1e-3 < scale < 30  # NaN and infinity fail too
        assert np.isfinite(pair).all()
        # Two images differ by far more than the rounding between batch sizes does.
        assert np.sqrt(np.mean((pair[0] - pair[1]) ** 2)) > 1e-3 * scale
        np.testing.assert_allclose(alone[0], pair[0], atol=1e-4 * scale, rtol=1e-3)


@given(size=st.integers(32, 130))
@settings(max_examples=12, deadline=None)
def test_poolings_that_round_up_have_the_size_the_runtime_gives(size: int) -> None:
    model = zoo.build("squeezenet1_1", image_size=size, classes=2)
    recorded = {
        each.name: [axis.dim_value for axis in each.type.tensor_type.shape.dim][1:]
        for each in model.graph.value_info
        if each.name in {node.output[0] for node in model.graph.node if node.op_type == "MaxPool"}
    }
    model.graph.output.extend(each for each in model.graph.value_info if each.name in recorded)
    made = session(model).run(list(recorded), {"input": two_images(size)})
    assert [list(value.shape[1:]) for value in made] == list(recorded.values())
