"""The command line starts light, explains itself, and turns errors into exit statuses."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from penstock.cli import main
from penstock.cli.common import output

ROOT = Path(__file__).parents[2]
spec = importlib.util.spec_from_file_location("write_cli", ROOT / "docs" / "write_cli.py")
assert spec is not None
assert spec.loader is not None
write_cli = importlib.util.module_from_spec(spec)
spec.loader.exec_module(write_cli)

COMMANDS = dict(write_cli.commands())
HEAVY = (
    "numpy",
    "numba",
    "onnx",
    "onnxruntime",
    "pyarrow",
    "pydantic",
    "aiohttp",
    "matplotlib",
    "rich",
    "zmq",
    "highspy",
    "yaml",
    "torch",
)


def penstock(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from penstock.cli.main import main; main()", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.parametrize("verb", ["", *main.VERBS])
def test_help_imports_nothing_heavy(verb: str) -> None:
    # Start-up time is not asserted on shared machines; what it is made of can be. benchmarks/startup.py measures it.
    code = (
        f"import sys\nsys.argv = {['penstock', *verb.split(), '--help']!r}\n"
        "from penstock.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        f"print([m for m in {HEAVY!r} if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip().endswith("[]")
    assert "Usage:" in out


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_shows_an_example(name: str) -> None:
    help_text = COMMANDS[name].help or ""
    assert "Example:" in help_text
    assert name in help_text


def test_the_cli_page_is_current() -> None:
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    # In a process of its own: click keeps the help option of whoever used a command first.
    code = "import write_cli; print(write_cli.page(), end='')"
    made = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT / "docs", capture_output=True, text=True, check=True
    ).stdout
    assert page == made, "run: python docs/write_cli.py"


def test_unknown_verb_and_option_exit_2() -> None:
    assert penstock("frobnicate").returncode == 2
    assert penstock("plan", "--frobnicate").returncode == 2


def test_bad_input_exits_2_with_one_clear_line(tmp_path: Path) -> None:
    result = penstock("plan", str(tmp_path / "missing.yaml"), "-o", str(tmp_path / "plan.json"))
    assert result.returncode == 2
    assert result.stderr.startswith("penstock: ")
    assert "missing.yaml: no such file" in result.stderr
    assert "Traceback" not in result.stderr


def test_json_errors_are_json_too(tmp_path: Path) -> None:
    result = penstock("plan", str(tmp_path / "missing.yaml"), "--json")
    assert result.returncode == 2
    document = json.loads(result.stdout)
    assert document["exit_status"] == 2
    assert "no such file" in document["error"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("plan", "gone.yaml", "-o"),
        ("replan", "gone.json", "-o"),
        ("report", "gone.json", "--figures"),
        ("import", "ppipe", "gone", "-o"),
    ],
)
def test_an_output_that_exists_is_refused_before_anything_is_read(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    out = tmp_path / "out"
    out.write_text("kept")
    result = penstock(*arguments, str(out))
    assert result.returncode == 2
    assert "out: exists already" in result.stderr
    assert out.read_text() == "kept"


@pytest.mark.parametrize(
    "arguments",
    [("plan", "s.yaml", "--gap", "3"), ("plan",), ("simulate", "p.json", "--mode", "x"), ("frobnicate",)],
)
def test_usage_errors_are_json_too(arguments: tuple[str, ...]) -> None:
    result = penstock(*arguments, "--json")
    assert result.returncode == 2
    document = json.loads(result.stdout)
    assert document["exit_status"] == 2
    assert document["error"] in result.stderr


def test_an_internal_fault_is_a_traceback_and_a_document(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fault(**_: object) -> None:
        raise ZeroDivisionError("of nothing")

    monkeypatch.setattr(main, "cli", fault)
    monkeypatch.setattr(sys, "argv", ["penstock", "plan", "s.yaml", "--json"])
    with pytest.raises(SystemExit) as stopped:
        main.main()
    printed = capfd.readouterr()
    assert stopped.value.code == 1
    assert json.loads(printed.out) == {
        "error": "internal fault: ZeroDivisionError: of nothing",
        "exit_status": 1,
    }
    assert "Traceback" in printed.err


@pytest.mark.parametrize(("package", "extra"), [("onnx", "onnx"), ("pyarrow", "record")])
def test_a_package_of_an_extra_that_is_missing_is_named_with_its_extra(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], package: str, extra: str
) -> None:
    def missing(**_: object) -> None:
        raise ModuleNotFoundError(f"No module named {package!r}", name=f"{package}.parquet")

    monkeypatch.setattr(main, "cli", missing)
    monkeypatch.setattr(sys, "argv", ["penstock", "zoo"])
    with pytest.raises(SystemExit) as stopped:
        main.main()
    assert stopped.value.code == 2
    assert f"pip install 'penstock-serving[{extra}]'" in capfd.readouterr().err


def test_the_core_needs_neither_onnx_nor_pyarrow() -> None:
    # Planning from a profile and simulating: what the core is for.
    code = (
        "import sys\n"
        "sys.modules['onnx'] = sys.modules['pyarrow'] = None\n"
        "import penstock.cli.warm_up.small_runs as runs\n"
        "runs._whole_batches()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_a_library_prints_goes_to_standard_error_under_json(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def noisy(**_: object) -> None:
        os.write(1, b"from C\n")
        subprocess.run([sys.executable, "-c", "print('from a child')"], check=True)
        output.print_json({"a": 1})

    monkeypatch.setattr(main, "cli", noisy)
    monkeypatch.setattr(sys, "argv", ["penstock", "plan", "--json"])
    with pytest.raises(SystemExit):
        main.main()
    printed = capfd.readouterr()
    assert json.loads(printed.out) == {"a": 1}
    assert "from C" in printed.err
    assert "from a child" in printed.err


@pytest.mark.parametrize("number", ["nan", "inf"])
@pytest.mark.parametrize(("verb", "option"), [("plan", "--gap"), ("capacity", "--time-limit")])
def test_numbers_are_finite(verb: str, option: str, number: str) -> None:
    result = penstock(verb, "s.yaml", option, number)
    assert result.returncode == 2
    assert option in result.stderr
    assert "s.yaml: no such file" not in result.stderr


def test_the_module_runs_as_the_command() -> None:
    command = [sys.executable, "-m", "penstock.cli.main", "--version"]
    assert "penstock" in subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_json_goes_to_standard_output_alone(tmp_path: Path) -> None:
    result = penstock("zoo", "squeezenet1_1", "-o", str(tmp_path / "m.onnx"), "--json")
    assert result.returncode == 0
    assert json.loads(result.stdout)
