"""How the load generator paces and what it sends: deadlines, fresh frames, concurrency, mixes, gRPC, video."""

from __future__ import annotations

import asyncio
import json

import av
import grpc
import numpy as np
import pytest
from aiohttp import web
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from test_serve_load import CONFIG, METADATA, arrivals, rng, with_server
from tritonclient.grpc import service_pb2

from penstock.cli.running.load import command
from penstock.errors import BadInputError
from penstock.record import Outcome, load_record
from penstock.serve.load import grpc_wire
from penstock.serve.load.grpc_client import GrpcLoadClient
from penstock.serve.load.openloop import Concurrency, LoadSettings, run_load
from penstock.serve.load.pace import Pace
from penstock.serve.load.sample_request import Body, Input, Subject, describe
from penstock.serve.load.video import as_input, frames, image_input, video_samples
from penstock.serve.protocol.infer import HEADER_LENGTH, Tensor, decode_request
from penstock.traffic.arrivals import Arrivals

BOUND_S = 30.0


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, BOUND_S))


# --- deadlines -----------------------------------------------------------------------------------


def test_a_request_carries_the_time_that_is_left_to_its_deadline():
    (body, *_) = describe(METADATA, CONFIG, None, rng()).bodies
    plain = decode_request(body.data, int(body.headers[HEADER_LENGTH]))
    for timeout_us in (1, 50_000):
        timed = body.due_in(timeout_us)
        request = decode_request(timed.data, int(timed.headers[HEADER_LENGTH]))
        assert request.timeout_us == timeout_us
        for mine, theirs in zip(request.inputs, plain.inputs, strict=True):
            np.testing.assert_array_equal(mine.array, theirs.array)
    assert plain.timeout_us is None


class SetClock:
    """A clock that stays at the time that it was set to."""

    us = 0

    def now_us(self):
        return self.us


class Gated:
    """A client whose answers come when a test says so; ``sent`` notes (number in the stream, timeout)."""

    def __init__(self):
        self.sent = []
        self.answers = []

    async def infer(self, model, body):
        answer = asyncio.get_running_loop().create_future()
        self.sent.append(body.data)
        self.answers.append(answer)
        return await answer


def subject(slo_us=50_000, bodies=100):
    made = [Body(n, {}, lambda timeout_us, n=n: Body((n, timeout_us), {})) for n in range(bodies)]
    return Subject("m", slo_us, tuple(made))


async def turns(count=20):
    for _ in range(count):
        await asyncio.sleep(0)


def camera_frames(*times_us, camera=None):
    camera = np.zeros(len(times_us), np.int64) if camera is None else np.array(camera)
    return Arrivals(np.array(times_us), np.zeros(len(times_us), np.int64), stream=camera)


def paced(act, *, deadlines=False, slo_us=50_000):
    """The rows after ``act(pace, client, clock)``, whose time only moves when it says so."""

    async def test():
        client, clock = Gated(), SetClock()
        pace = Pace(client, [subject(slo_us)], deadlines=deadlines, clock=clock)
        waiting = asyncio.Event()

        async def until(due_us):
            while pace._now_us() < due_us:
                waiting.clear()
                await waiting.wait()
            await asyncio.sleep(0)

        pace._until = until

        async def at(now_us):
            clock.us = pace._origin_us + now_us
            waiting.set()
            await turns()

        await act(pace, client, at)
        return pace.sent, client.sent

    return run(test())


def test_of_the_frames_that_wait_only_the_newest_is_sent():
    """Frames at 0, 10, 20, 30 ms; the first answer comes at 25 ms. Frame 10 was replaced by 20, which goes at 25."""

    async def act(pace, client, at):
        task = asyncio.ensure_future(pace.fresh(camera_frames(0, 10_000, 20_000, 30_000)))
        await turns()
        for now_us in (0, 10_000, 20_000, 25_000):
            await at(now_us)
        assert client.sent == [0]
        client.answers[0].set_result(200)
        await turns()
        assert client.sent == [0, 2]
        await at(28_000)
        client.answers[1].set_result(200)
        await turns()
        await at(30_000)
        client.answers[2].set_result(200)
        await task

    rows, sent = paced(act)
    assert sent == [0, 2, 3]
    assert list(rows.status) == [200, -1, 200, 200]
    # The frame of 20 ms is answered at 28: its latency is 8 ms, of which it waited 5 for its camera.
    assert list(rows.finish_us) == [25_000, 0, 28_000, 30_000]
    assert list(rows.lag_us) == [0, 0, 5_000, 0]


def test_a_frame_whose_deadline_passes_while_it_waits_is_skipped():
    async def act(pace, client, at):
        task = asyncio.ensure_future(pace.fresh(camera_frames(0, 10_000)))
        await turns()
        for now_us in (0, 10_000, 61_000):
            await at(now_us)
        client.answers[0].set_result(504)
        await task

    rows, sent = paced(act)
    assert sent == [0]
    result = rows.result([subject()], {})
    assert result.record.requests.outcome.tolist() == [Outcome.DROPPED_DEADLINE, Outcome.DROPPED_EARLY]
    assert len(result.lag_us) == 1
    assert result.statuses == {504: 1, -1: 1}


def test_cameras_do_not_wait_for_each_other_and_begin_at_frames_of_their_own():
    async def act(pace, client, at):
        task = asyncio.ensure_future(pace.fresh(camera_frames(0, 0, 5_000, camera=[0, 1, 1])))
        await turns()
        await at(0)
        assert client.sent == [0, 7]
        client.answers[1].set_result(200)
        await turns()
        await at(5_000)
        for answer in client.answers[0], client.answers[2]:
            answer.set_result(200)
        await task

    _, sent = paced(act)
    assert sent == [0, 7, 8]


def test_a_late_client_shortens_the_timeout():
    """Due at 10 ms with an SLO of 50, sent at 25: 35 ms are left. One that is late beyond its deadline says 1 us."""

    async def act(pace, client, at):
        task = asyncio.ensure_future(pace.open(camera_frames(10_000, 10_000, 10_000)))
        await turns()
        await at(25_000)
        for answer in client.answers:
            answer.set_result(200)
        await task

    assert [timeout for _, timeout in paced(act, deadlines=True)[1]] == [35_000] * 3
    assert [timeout for _, timeout in paced(act, deadlines=True, slo_us=1_000)[1]] == [1] * 3


def test_a_concurrent_load_has_so_many_requests_on_their_way():
    async def act(pace, client, at):
        task = asyncio.ensure_future(pace.concurrent(3, 10_000, [1.0], rng()))
        await turns()
        await at(0)
        assert len(client.sent) == 3
        await at(4_000)
        client.answers[1].set_result(200)
        await turns()
        assert len(client.sent) == 4  # one answer, one more request
        await at(10_000)
        for answer in client.answers:
            if not answer.done():
                answer.set_result(200)
        await task
        assert len(client.sent) == 4  # the time is over

    rows, _ = paced(act)
    assert list(rows.due_us) == [0, 0, 0, 4_000]
    assert sorted(rows.finish_us) == [4_000, 10_000, 10_000, 10_000]


def test_models_are_drawn_by_their_shares():
    """The server never fails, so the shares of 400 requests are those asked for: a quarter, within four deviations."""

    async def infer(request):
        await request.read()
        return web.json_response({})

    async def act(url):
        load = Concurrency(4, 600_000, [3.0, 1.0])
        return await run_load(url, ["toy", "toy"], load, slo_us=60_000_000, rng=rng())

    models = run(with_server(infer, act)).record.requests.model
    assert len(models) > 50
    assert np.mean(models) == pytest.approx(0.25, abs=4 * np.sqrt(0.25 * 0.75 / len(models)))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--rate", "1", "--rate", "2"], "one --rate for each"),
        ([], "no rate: give one of"),
        (["--rate", "1", "--concurrency", "2"], "--rate and --concurrency"),
        (["--rate", "1", "--mix", "1/2"], "must be 1 numbers"),
        (["--rate", "1", "--mix", "-1"], "must be 1 numbers"),
        (["--cameras", "2"], "go together"),
        (["--concurrency", "2", "--closed"], "a closed loop of its own"),
        (["--cameras", "2", "--fps", "5", "--closed", "--fresh"], "two rules"),
        (["--cameras", "2", "--fps", "5", "--video", "/nowhere.mp4"], "no such file"),
        (["--rate", "1", "--fresh"], "and so does --fresh"),
    ],
)
def test_options_that_contradict_each_other_are_refused(arguments, words):
    result = CliRunner().invoke(command, ["http://127.0.0.1:1", "--model", "toy", *arguments])
    assert isinstance(result.exception, BadInputError)
    assert words in str(result.exception)


# --- gRPC ----------------------------------------------------------------------------------------

TENSORS = (
    Tensor("x", "FP32", np.arange(6, dtype=np.float32).reshape(1, 6)),
    Tensor("w", "BYTES", np.array([[b"ab", b""]], dtype=object)),
)


def test_a_request_is_what_another_implementation_reads():
    message = service_pb2.ModelInferRequest()
    message.ParseFromString(grpc_wire.infer_request("a model", TENSORS) + grpc_wire.timeout_parameter(70_000))
    assert message.model_name == "a model"
    assert message.parameters["timeout"].int64_param == 70_000
    assert [(i.name, i.datatype, list(i.shape)) for i in message.inputs] == [
        ("x", "FP32", [1, 6]),
        ("w", "BYTES", [1, 2]),
    ]
    assert message.raw_input_contents[0] == TENSORS[0].array.tobytes()
    assert message.raw_input_contents[1] == b"\x02\0\0\0ab\0\0\0\0"


def test_answers_that_another_implementation_wrote_are_read():
    metadata = service_pb2.ModelMetadataResponse(
        name="m",
        versions=["1"],
        inputs=[service_pb2.ModelMetadataResponse.TensorMetadata(name="x", datatype="FP32", shape=[-1, 300])],
    )
    assert grpc_wire.model_metadata(metadata.SerializeToString())["inputs"] == [
        {"name": "x", "datatype": "FP32", "shape": [-1, 300]}
    ]
    config = service_pb2.ModelConfigResponse()
    config.config.parameters["slo_us"].string_value = "50000"
    assert grpc_wire.model_config(config.SerializeToString()) == CONFIG
    server = service_pb2.ServerMetadataResponse(name="s", version="1", extensions=["a", "b"])
    assert grpc_wire.server_metadata(server.SerializeToString()) == {
        "name": "s",
        "version": "1",
        "extensions": ["a", "b"],
    }


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(message):
    for read in (grpc_wire.server_metadata, grpc_wire.model_metadata):
        try:
            read(message)
        except BadInputError:
            continue


async def with_grpc_server(infer, act):
    """``act(url)`` against a gRPC server of the other implementation's messages."""
    metadata = service_pb2.ModelMetadataResponse(
        name="toy",
        inputs=[service_pb2.ModelMetadataResponse.TensorMetadata(name="x", datatype="FP32", shape=[-1, 3])],
    )
    config = service_pb2.ModelConfigResponse()
    config.config.parameters["slo_us"].string_value = "50000"
    answers = {
        "ServerMetadata": (
            service_pb2.ServerMetadataRequest,
            lambda r, c: service_pb2.ServerMetadataResponse(name="s"),
        ),
        "ModelMetadata": (service_pb2.ModelMetadataRequest, lambda r, c: metadata),
        "ModelConfig": (service_pb2.ModelConfigRequest, lambda r, c: config),
        "ModelInfer": (service_pb2.ModelInferRequest, infer),
    }

    def handler(kind, answer):
        async def behave(request, context):
            made = answer(request, context)
            return await made if asyncio.iscoroutine(made) else made

        return grpc.unary_unary_rpc_method_handler(
            behave,
            request_deserializer=kind.FromString,
            response_serializer=lambda message: message.SerializeToString(),
        )

    server = grpc.aio.server()
    handlers = {name: handler(*one) for name, one in answers.items()}
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("inference.GRPCInferenceService", handlers),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        return await act(f"grpc://127.0.0.1:{port}")
    finally:
        await server.stop(None)


def test_over_grpc_statuses_are_those_of_http():
    codes = iter([None, "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED", "INVALID_ARGUMENT", "INTERNAL"])
    timeouts = []

    async def infer(request, context):
        timeouts.append(request.parameters["timeout"].int64_param)
        code = next(codes)
        if code is not None:
            await context.abort(getattr(grpc.StatusCode, code), "no")
        return service_pb2.ModelInferResponse(model_name="toy")

    async def act(url):
        load = arrivals(0, 30_000, 60_000, 90_000, 120_000)
        return await run_load(
            url, ["toy"], load, slo_us=None, rng=rng(), settings=LoadSettings(deadlines=True)
        )

    result = run(with_grpc_server(infer, act))
    assert result.statuses == {200: 1, 503: 1, 504: 1, 400: 1, 500: 1}
    assert all(0 < timeout <= 50_000 for timeout in timeouts)
    assert (result.record.requests.deadline_us - result.record.requests.arrival_us).tolist() == [50_000] * 5


def test_an_unreachable_grpc_server_is_bad_input():
    async def ask():
        async with GrpcLoadClient("grpc://127.0.0.1:1", 5.0) as client:
            await client.server()

    with pytest.raises(BadInputError, match="UNAVAILABLE"):
        run(ask())


# --- video ---------------------------------------------------------------------------------------

FRAMES = 12
VIDEO_FPS = 6


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """Two seconds at 6 frames a second; frame n has the grey level 20 n, so that a picture says which it is."""
    path = tmp_path_factory.mktemp("video") / "steps.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=VIDEO_FPS)  # lossless, so that levels stay
        stream.width, stream.height, stream.pix_fmt = 64, 48, "bgr0"
        for number in range(FRAMES):
            picture = np.full((48, 64, 3), 20 * number, np.uint8)
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def levels(pictures):
    return [round(float(picture.mean()) / 20) for picture in pictures]


def test_frames_are_taken_at_the_rate_of_the_camera(video):
    assert levels(frames(video, VIDEO_FPS, 10, 14)) == list(range(FRAMES))
    assert levels(frames(video, VIDEO_FPS / 2, 10, 14)) == list(range(0, FRAMES, 2))
    # A camera that is faster than the file sends each of its frames once: there are no others.
    assert levels(frames(video, 4 * VIDEO_FPS, 10, 14)) == list(range(FRAMES))
    assert frames(video, VIDEO_FPS, 10, 14)[0].shape == (10, 14, 3)


def test_a_frame_becomes_the_models_input():
    picture = np.zeros((2, 3, 3), np.uint8)
    picture[0, 1] = [255, 51, 0]  # a red pixel in the first row, second column
    first = image_input("m", [Input("x", "FP32", (1, 3, 2, 3))])
    assert first.height_width == (2, 3)
    made = as_input(picture, first, "imagenet")
    assert (made.shape, made.dtype, made.flags.c_contiguous) == ((1, 3, 2, 3), np.float32, True)
    # (value / 255 - mean) / deviation, by hand.
    assert made[0, :, 0, 1].tolist() == pytest.approx(
        [(1 - 0.485) / 0.229, (0.2 - 0.456) / 0.224, -0.406 / 0.225], rel=1e-5
    )
    assert as_input(picture, first, "unit")[0, :, 0, 1].tolist() == pytest.approx([1, 0.2, 0])
    assert as_input(picture, first, "none")[0, :, 0, 1].tolist() == pytest.approx([255, 51, 0])
    last = image_input("m", [Input("x", "UINT8", (1, 2, 3, 3))])
    np.testing.assert_array_equal(as_input(picture, last, "imagenet"), picture[None])
    half = image_input("m", [Input("x", "FP16", (3, 2, 4))])
    assert (half.height_width, half.channels_first) == ((2, 4), True)


@pytest.mark.parametrize(
    "inputs",
    [
        [],
        [Input("x", "FP32", (1, 8))],
        [Input("x", "FP32", (1, 3, 1, 1))],  # open lengths become 1
        [Input("x", "INT64", (1, 3, 4, 4))],
        [Input("x", "FP32", (1, 3, 4, 4)), Input("y", "FP32", (1, 1))],
    ],
)
def test_a_model_that_takes_no_image_is_refused(inputs):
    with pytest.raises(BadInputError, match="--video needs one input"):
        image_input("m", inputs)


def test_a_file_that_is_no_video_is_refused(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("not a video")
    with pytest.raises(BadInputError, match="cannot be read as a video"):
        frames(path, 5, 4, 4)
    with pytest.raises(BadInputError, match="no such file"):
        video_samples(tmp_path / "none.mp4", 5, "unit")


def test_cameras_send_frames_with_deadlines_and_the_record_is_the_clients(video, tmp_path):
    """Two cameras of 5 frames a second for a second: ten requests, which hold pictures of the file."""
    image = {"name": "toy", "inputs": [{"name": "x", "datatype": "UINT8", "shape": [-1, 6, 8, 3]}]}
    seen, timeouts = [], []

    async def infer(request):
        decoded = decode_request(await request.read(), int(request.headers[HEADER_LENGTH]))
        seen.extend(levels(decoded.inputs[0].array))
        timeouts.append(decoded.timeout_us)
        return web.json_response({})

    async def act(url):
        arguments = [
            "--model",
            "toy",
            "--video",
            str(video),
            "--cameras",
            "2",
            "--fps",
            "5",
            "--seconds",
            "1",
            "--json",
        ]
        record = ["--record", str(tmp_path / "run"), "--slo-ms", "20000"]
        return await asyncio.to_thread(CliRunner().invoke, command, [url, *arguments, *record])

    result = run(with_server(infer, act, metadata=image))
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert (document["requests"], document["statuses"]) == (10, {"200": 10})
    assert len(seen) == 10
    assert set(seen) <= set(range(FRAMES))
    assert len(set(seen)) > 4
    assert all(0 < timeout <= 20_000_000 for timeout in timeouts)
    record = load_record(tmp_path / "run")
    assert (record.source, len(record.requests.request)) == ("measured", 10)
    assert set(record.requests.outcome.tolist()) == {Outcome.MET}
