"""The zoo's graphs against what is published about the architectures, and against onnx's own checks."""

import math

import numpy as np
import onnx
import pytest

from penstock import zoo
from penstock.zoo.parameters import parameter_count

# Learned values, from `num_params` in the metadata of torchvision 0.21's weights (pytorch.org/vision,
# "Models and pre-trained weights"). Two entries are adjusted, because torchvision counts otherwise:
# - inception_v3: 27,161,264 with the auxiliary head, which has 3,326,696 (conv 128x768 and 768x128x5x5, two
#   batch norms, fc 768x1000 + 1000) and which an inference graph does not hold;
# - retinanet: 34,014,999 as published; torchvision freezes the backbone's 53,120 batch-norm values and so
#   leaves them out, 0.16 %.
PUBLISHED_PARAMETERS = {
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "mobilenet_v2": 3_504_872,
    "squeezenet1_1": 1_235_496,
    "densenet121": 7_978_856,
    "googlenet": 6_624_904,
    "inception_v3": 27_161_264 - 3_326_696,
    "retinanet_resnet50_fpn": 34_014_999,
}
FROZEN_BATCH_NORM = {"retinanet_resnet50_fpn": 53_120}

# Multiply-accumulates in 1e9 at the usual image size, from `_ops` of the same metadata. They hold only if
# every stride and padding is right, which the counts of parameters do not see.
PUBLISHED_GMACS = {
    "resnet18": 1.814,
    "resnet34": 3.664,
    "resnet50": 4.089,
    "mobilenet_v2": 0.301,
    "squeezenet1_1": 0.349,
    "densenet121": 2.834,
    "googlenet": 1.498,
    "inception_v3": 5.713,
}

# Convolutions, by hand. A network named after its depth counts convolutions plus one fully connected layer,
# without projections on shortcuts: ResNet-18: 17 + 3 projections; 34: 33 + 3; 50: 49 + 4; DenseNet-121: 120.
# MobileNetV2: stem, 16 blocks of 3, one of 2, last. SqueezeNet: stem, 8 fires of 3, classifier.
# GoogLeNet: 3 + 9 modules of 6. Inception v3: stem 5; A 7 x3; B 4; C 10 x4; D 6; E 9 x2.
# RetinaNet: ResNet-50's 53, 3 lateral, 3 smoothing, P6 and P7, and two heads of 5 on 5 levels.
CONVOLUTIONS = {
    "resnet18": 20,
    "resnet34": 36,
    "resnet50": 53,
    "mobilenet_v2": 1 + 16 * 3 + 2 + 1,
    "squeezenet1_1": 1 + 8 * 3 + 1,
    "densenet121": 120,
    "googlenet": 3 + 9 * 6,
    "inception_v3": 5 + 3 * 7 + 4 + 4 * 10 + 6 + 2 * 9,
    "retinanet_resnet50_fpn": 53 + 3 + 3 + 2 + 2 * 5 * 5,
}


@pytest.fixture(scope="module", params=zoo.NAMES)
def model(request: pytest.FixtureRequest) -> onnx.ModelProto:
    return zoo.build(request.param)


def shapes(graph: onnx.GraphProto) -> dict[str, tuple[int | str, ...]]:
    """Every recorded shape by tensor."""
    return {
        each.name: tuple(axis.dim_param or axis.dim_value for axis in each.type.tensor_type.shape.dim)
        for each in (*graph.input, *graph.value_info, *graph.output)
    }


def gmacs(model: onnx.ModelProto) -> float:
    """Multiply-accumulates of one sample in 1e9: each weight is used once at each position of the output."""
    made = shapes(model.graph)
    sizes = {each.name: math.prod(each.dims) for each in model.graph.initializer}
    return sum(
        sizes[node.input[1]] * math.prod(made[node.output[0]][2:]) / 1e9
        for node in model.graph.node
        if node.op_type in {"Conv", "Gemm"}
    )


def test_every_name_is_in_the_tables() -> None:
    assert set(zoo.NAMES) == set(PUBLISHED_PARAMETERS) == set(CONVOLUTIONS)


def test_parameter_count_is_the_published_one(model: onnx.ModelProto) -> None:
    published = PUBLISHED_PARAMETERS[model.graph.name]
    assert parameter_count(model) == published + FROZEN_BATCH_NORM.get(model.graph.name, 0)
    assert parameter_count(model) == pytest.approx(published, rel=0.01)
    assert zoo.CATALOGUE[model.graph.name].parameters == published


def test_parameter_count_is_all_initializers_but_statistics_and_constants(model: onnx.ModelProto) -> None:
    others = ("running_mean", "running_var", "relu6.min", "relu6.max", "double.scales")
    learned = [each for each in model.graph.initializer if not each.name.endswith(others)]
    assert parameter_count(model) == sum(math.prod(each.dims) for each in learned)


@pytest.mark.parametrize("model", PUBLISHED_GMACS, indirect=True)
def test_multiply_accumulates_are_the_published_ones(model: onnx.ModelProto) -> None:
    assert gmacs(model) == pytest.approx(PUBLISHED_GMACS[model.graph.name], rel=0.01)


def test_multiply_accumulates_of_the_detector_are_those_of_detectron2() -> None:
    """Its tests/test_model_analysis.py holds 146e9 (rounded down) at 800 pixels and 80 classes.

    Two differences, by hand: its P6 reads the 2048 channels of C5, ours the 256 of P5, on a map of 13 by 13;
    and its bottlenecks halve the map in their first 1x1 (so at a quarter of the positions), ours one later.
    """
    model = zoo.build("retinanet_resnet50_fpn", image_size=800, classes=80)
    wider_p6 = (2048 - 256) * 256 * 3 * 3 * 13**2 / 1e9
    later_halving = sum(
        inputs * (inputs // 2) * (side**2 - (side // 2) ** 2) / 1e9
        for inputs, side in ((256, 200), (512, 100), (1024, 50))
    )
    assert math.floor(gmacs(model) + wider_p6 - later_halving) == 146


def test_convolutions_are_as_many_as_the_paper_has(model: onnx.ModelProto) -> None:
    found = sum(node.op_type == "Conv" for node in model.graph.node)
    assert found == CONVOLUTIONS[model.graph.name]


def test_graph_passes_the_checker_and_recorded_shapes_agree_with_inference(model: onnx.ModelProto) -> None:
    onnx.checker.check_model(model, full_check=True)
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    del bare.graph.value_info[:]
    inferred = onnx.shape_inference.infer_shapes(bare, strict_mode=True, data_prop=True)
    recorded = shapes(model.graph)
    assert {name: shape[1:] for name, shape in shapes(inferred.graph).items()} == {
        name: shape[1:] for name, shape in recorded.items()
    }
    # Inference loses the batch at a Resize with factors (a float times a symbol); the record keeps it.
    assert {shape[0] for shape in recorded.values()} == {"batch"}
    assert recorded.keys() == {"input"} | {name for node in model.graph.node for name in node.output}


def test_input_is_a_float_image_with_symbolic_batch(model: onnx.ModelProto) -> None:
    (image,) = model.graph.input
    size = zoo.CATALOGUE[model.graph.name].image_size
    assert image.name == "input"
    assert image.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    assert shapes(model.graph)["input"] == ("batch", 3, size, size)


def test_batch_normalisation_stays_a_separate_operator_with_sane_statistics(model: onnx.ModelProto) -> None:
    values = {each.name: each for each in model.graph.initializer}
    norms = [node for node in model.graph.node if node.op_type == "BatchNormalization"]
    assert bool(norms) != (model.graph.name == "squeezenet1_1")
    for node in norms:
        mean, variance = (onnx.numpy_helper.to_array(values[name]) for name in node.input[3:])
        assert np.abs(mean).max() < 1
        assert variance.min() > 0.5
        assert variance.max() < 2


def test_detector_levels_share_the_heads_weights() -> None:
    graph = zoo.build("retinanet_resnet50_fpn", image_size=64).graph
    for head in ("classification", "regression"):
        for part in (*(f"conv.{index}" for index in range(4)), None):
            last = {"classification": "class_logits", "regression": "box_deltas"}[head]
            weight = f"head.{head}.{part or last}.weight"
            readers = [node for node in graph.node if weight in node.input]
            assert len(readers) == 5
            assert len({tuple(node.input[1:]) for node in readers}) == 1


def test_detector_has_long_skips() -> None:
    """C3 is made in the first third of the graph and read by the pyramid after the backbone's end."""
    nodes = list(zoo.build("retinanet_resnet50_fpn", image_size=64).graph.node)
    lateral = next(index for index, node in enumerate(nodes) if node.name == "backbone.fpn.inner_block3")
    c3 = nodes[lateral].input[0]
    made = next(index for index, node in enumerate(nodes) if c3 in node.output)
    backbone_end = max(index for index, node in enumerate(nodes) if node.name.startswith("backbone.body."))
    assert made < backbone_end / 2 < backbone_end < lateral
