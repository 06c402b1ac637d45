"""What the command line says of files and addresses that cannot be used, before anything starts."""

from __future__ import annotations

import pytest
from click.testing import CliRunner
from serve_cases import bytes_profile, write_plan

from penstock.cli.running import serve
from penstock.errors import BadInputError
from penstock.serve.listen.security import Tokens, is_loopback


@pytest.fixture
def plan(tmp_path):
    return str(write_plan(tmp_path, bytes_profile("sizes", (24, 10)), (0, 1)))


@pytest.mark.parametrize(
    ("text", "arguments", "words"),
    [
        ("short\n", ["--token-file", "FILE"], "16 ASCII characters"),
        ("# nothing\n\n", ["--token-file", "FILE"], "at least one token"),
        ("x", ["--tls-cert", "FILE"], "go together"),
        ("x", ["--tls-cert", "FILE", "--tls-key", "FILE"], "PEM"),
        ("", ["--http", "8000"], "HOST:PORT"),
        ("", ["--grpc", "here"], "HOST:PORT"),
    ],
)
def test_refused(plan, tmp_path, text, arguments, words):
    file = tmp_path / "file"
    file.write_text(text)
    given = [str(file) if word == "FILE" else word for word in arguments]
    result = CliRunner().invoke(
        serve.command, [plan, "--executor", "emulated", "--http", "127.0.0.1:0", *given]
    )
    assert isinstance(result.exception, BadInputError)
    assert words in str(result.exception)


def test_a_token_file_that_is_not_there():
    from pathlib import Path

    with pytest.raises(BadInputError, match="No such file"):
        Tokens.read(Path("/nowhere/tokens"))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_loopback(host):
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "gpu1", "10.0.0.1"])
def test_what_others_can_reach(host):
    assert not is_loopback(host)
