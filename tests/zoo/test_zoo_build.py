"""The zoo's front door: seeds, sizes, and refusals."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import numpy_helper

from penstock import zoo
from penstock.errors import BadInputError


def weights(seed: int) -> dict[str, np.ndarray]:
    model = zoo.build("squeezenet1_1", seed=seed, image_size=32)
    return {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}


@pytest.mark.parametrize("name", ["squeezenet1_1", "mobilenet_v2", "googlenet"])
def test_one_seed_gives_equal_bytes(name: str) -> None:
    assert zoo.build(name, seed=3).SerializeToString() == zoo.build(name, seed=3).SerializeToString()


def test_another_seed_changes_every_weight_tensor() -> None:
    one, other = weights(0), weights(1)
    assert one.keys() == other.keys()
    assert not any(np.array_equal(one[key], other[key]) for key in one)


def test_the_image_size_does_not_change_the_weights() -> None:
    small, usual = (zoo.build("squeezenet1_1", image_size=size) for size in (32, 224))
    assert list(small.graph.initializer) == list(usual.graph.initializer)


def test_weights_have_the_variance_of_he_initialisation() -> None:
    # Before a rectifier: 2 / fan-in, here of a 3x3 convolution over 64 channels (256 x 576 values).
    expanded = weights(0)["features.11.expand3x3.weight"]
    fan_in = np.prod(expanded.shape[1:])
    assert expanded.var() == pytest.approx(2 / fan_in, rel=0.02)
    assert abs(expanded.mean()) < 5 * np.sqrt(2 / fan_in / expanded.size)


@pytest.mark.parametrize("name", zoo.NAMES)
def test_sizes_out_of_range_are_refused(name: str) -> None:
    entry = zoo.CATALOGUE[name]
    for size in (-1, 0, entry.smallest_image_size - 1, 4097):
        with pytest.raises(BadInputError, match=rf"image size \(={size}\) of {name} must be from"):
            zoo.build(name, image_size=size)


@pytest.mark.parametrize("name", ["squeezenet1_1", "mobilenet_v2", "densenet121"])
def test_the_smallest_size_builds(name: str) -> None:
    entry = zoo.CATALOGUE[name]
    model = zoo.build(name, image_size=entry.smallest_image_size)
    shapes = [
        [axis.dim_value for axis in each.type.tensor_type.shape.dim][1:] for each in model.graph.value_info
    ]
    assert all(extent >= 1 for shape in shapes for extent in shape)


@given(size=st.integers(64, 4096).filter(lambda size: size % 32))
def test_detector_takes_multiples_of_32_only_and_says_which(size: int) -> None:
    with pytest.raises(BadInputError, match=f"multiple of 32.*try {size // 32 * 32}"):
        zoo.build("retinanet_resnet50_fpn", image_size=size)


def test_classes_set_the_width_of_the_output() -> None:
    (logits,) = zoo.build("squeezenet1_1", classes=7).graph.output
    assert [axis.dim_param or axis.dim_value for axis in logits.type.tensor_type.shape.dim] == ["batch", 7]


@pytest.mark.parametrize("classes", [0, -5, 100_001])
def test_classes_out_of_range_are_refused(classes: int) -> None:
    with pytest.raises(BadInputError, match=rf"classes \(={classes}\)"):
        zoo.build("squeezenet1_1", classes=classes)


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(BadInputError, match=r"seed \(=-1\) must be >= 0"):
        zoo.build("squeezenet1_1", seed=-1)


def test_an_unknown_name_is_refused_with_the_names() -> None:
    with pytest.raises(BadInputError, match="model 'vgg16' is unknown: it is not in the zoo") as refusal:
        zoo.build("vgg16")
    assert all(name in str(refusal.value) for name in zoo.NAMES)


def test_importing_the_zoo_and_its_verb_imports_nothing_heavy() -> None:
    code = "import sys, penstock.zoo, penstock.cli.model.zoo; print({'onnx', 'numpy', 'rich'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
