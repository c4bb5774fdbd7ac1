"""Errors are shown as one message."""

from pathlib import Path

import pytest
import typer
from calling import call

from morex.cli.main import with_plain_errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "digist"], "did you mean 'digits'"),
        (["run", "digits", "training.epoch=3"], "training.epoch: unknown key"),
        (["plan", "digits", "seed"], "expected KEY.KEY=VALUE"),
        (["plan", "digits", "--data", "here"], "remove the option(s) folder"),
        (["table", "nowhere"], "no run directory"),
        (["report", "nowhere"], "no run directory"),
        (["gate", "nowhere"], "no run directory"),
        (["extend", "nowhere", "--with", "rain"], "no run in 'nowhere'"),
        (["compare", "a.npz", "b.npz"], "error: a.npz: no such file or folder\n"),
        (["compare", ".", "b.npz"], "error: .: this is a folder, expected a file\n"),
        (["compare", "here.yaml/a", "b"], "here.yaml/a: a part of this path is a file"),
        (["table", "there"], "no run directory 'there'; did you mean 'their'?"),
        (["extend", "there", "--with", "rain"], "no run in 'there'; did you mean 'their'?"),
        (["run", "hare.yaml"], "; did you mean 'here.yaml'?"),
        (["run", "digits", "--out", "here.yaml"], "this is a file, expected a folder"),
        (["evaluate", "nowhere"], "no model in"),
        (["evaluate", "nowhere", "--mean", "0.5;0.5"], "--mean '0.5;0.5': expected numbers"),
        (["evaluate", "nowhere", "--out", "x.json"], "--out x.json: expected the name of an .npz"),
        (["evaluate", "nowhere", "--out", "x"], "--out x: expected the name of an .npz file"),
        (["audit", "nowhere", "--out", "."], "--out . is a folder"),
        (["predict", "--model", "nowhere", "x.png"], "no model in"),
        (["run", "digits", "--device", "abacus"], "--device abacus"),
        (["run", "digits", "--device", "cuda:99"], "--device cuda:99"),
        (["run", "digits", "--device", "meta"], "--device meta: expected a device of this machine"),
        (["evaluate", "net.py"], "named by its function, net.py:FUNCTION; "),
        (["run", "digits", "--device", ""], "--device : expected a device of this machine"),
        (["run", "digits", "--suite-examples", "3"], "give --suite as well"),
        (["evaluate", "cifar10-small", "--severity", "3"], "give --corrupted as well"),
        (["evaluate", "cifar10-small", "--mean", "0.5"], "cifar10-small is a saved model"),
        (["evaluate", "cifar10-small", "--input-range", "0..255"], "is a saved model"),
        (["evaluate", "cifar10-small", "--suite", ""], "no suite ''"),
        (["evaluate", "cifar10-small", "--recipe", ""], "no recipe ''"),
        (["table", "their", "--suite", ""], "--suite '': expected the name of a suite"),
        (["compare", "/dev/zero", "/dev/zero"], "/dev/zero: this is no regular file"),
        (["run", "/dev/zero"], "neither a file nor one of the shipped recipes"),
        (["plan", "digits", "threads=1000000"], "threads: "),
        (["plan", "digits", "network.width=100000"], "network.width: "),
        (["plan", "digits", "training.batch_size=" + "9" * 400], "training.batch_size: "),
        (["plan", "digits", "seed=99999999999999999999"], "seed: "),
    ],
)
def test_mistakes_get_one_message_and_exit_code_2(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("here.yaml").touch()
    Path("their").mkdir()
    code, out, err = call(*arguments)
    assert code == 2
    assert message in err
    assert err.startswith("error: ")
    assert "Traceback" not in err
    assert out == ""


class _MendableError(RuntimeError):
    """An error that a user can mend, such as a RunError."""


def _raising(error: BaseException) -> typer.Typer:
    def command() -> None:
        raise error

    made = typer.Typer()
    made.command()(with_plain_errors(command))
    return made


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (ValueError("wrong value"), 2, "error: wrong value\n"),
        (FileNotFoundError("no file"), 2, "error: no file\n"),
        (
            PermissionError(13, "Permission denied", "there"),
            2,
            "error: there: permission denied; let this user read or write it\n",
        ),
        (
            OSError(28, "No space left on device", "there"),
            2,
            "error: there: no space left on device\n",
        ),
        (ImportError("not installed"), 2, "error: not installed\n"),
        (_MendableError("run in use"), 2, "error: run in use\n"),
        (KeyboardInterrupt(), 130, "\ninterrupted; run the same command to continue\n"),
        (typer.Exit(3), 3, ""),
    ],
)
def test_errors_end_in_one_message(
    error: BaseException, code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        _raising(error)([])
    assert ended.value.code == code
    assert capsys.readouterr().err == message


@pytest.mark.parametrize("error", [RuntimeError("in torch"), ValueError(), TypeError("a bug")])
def test_bugs_keep_their_traceback(error: Exception) -> None:
    with pytest.raises(type(error)):
        _raising(error)([], standalone_mode=False)
