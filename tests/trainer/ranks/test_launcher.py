"""Who started a training, how it is launched, and the command with which it goes on."""

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from trainer.ranks import launcher, preemption
from trainer.ranks.launcher import Launcher

ROOT = Path(__file__).parents[3]


def test_a_shell_is_no_launcher_and_may_end_before_its_training() -> None:
    found = "from trainer.ranks import launcher; print(launcher.find())"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop(launcher.ELASTIC, None)
    said = subprocess.check_output([sys.executable, "-c", found], env=environment, text=True)
    assert said == "None\n"


@pytest.mark.parametrize(
    ("command", "on"),
    [
        ("python trainer/run.py --config a.yaml", "python trainer/run.py --config a.yaml"),
        ("python trainer/run.py --resume runs/x/checkpoint-0000000008 --seed 1", "python trainer/run.py --seed 1"),
        ("accelerate launch run.py --resume=latest --run 'my run'", "accelerate launch run.py --run 'my run'"),
    ],
)
def test_the_command_that_goes_on(command: str, on: str, monkeypatch: pytest.MonkeyPatch) -> None:
    on += " --resume latest"
    monkeypatch.delenv(launcher.LAUNCHED_AS, raising=False)
    assert launcher.going_on(Launcher(1, tuple(shlex.split(command)))) == on
    monkeypatch.setenv(launcher.LAUNCHED_AS, command)
    assert launcher.going_on(None) == on


# A stand-in for a training: it hears requests to stop, says so, and saves for a second.
TRAINING = """
import sys, time
from trainer.ranks.preemption import StopRequests
with StopRequests() as requests:
    print("ready", flush=True)
    while not requests.stop:
        time.sleep(0.01)
    time.sleep(float(sys.argv[1]))
print("saved", requests.interrupted, flush=True)
sys.exit(130 if requests.interrupted else 75)
"""


@pytest.fixture
def training(tmp_path: Path) -> Path:
    file = tmp_path / "training.py"
    file.write_text(TRAINING)
    return file


def start(command: list[str], **more: object) -> "subprocess.Popen[str]":
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env=environment, **pipes, **more)  # type: ignore[call-overload, no-any-return]


def test_stopping_by_signal_and_by_a_second_ctrl_c(training: Path) -> None:
    for number, code in ((signal.SIGHUP, 75), (signal.SIGINT, 130)):
        process = start([sys.executable, str(training), "0"])
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        process.send_signal(number)
        said, told = process.communicate(timeout=20)
        assert process.returncode == code and said == f"saved {number == signal.SIGINT}\n"
        assert ("Ctrl-C again ends at once" in told) == (number == signal.SIGINT)
    process = start([sys.executable, str(training), "60"])
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)
    time.sleep(preemption.SAME_S + 0.3)
    assert process.poll() is None, "terminal and launcher have both sent the first one"
    process.send_signal(signal.SIGINT)
    said, told = process.communicate(timeout=20)
    assert process.returncode == 130 and said == "" and "stopped at once" in told


def test_what_is_ignored_at_the_start_stays_ignored(training: Path) -> None:
    """As SIGHUP under nohup."""
    process = start(
        [sys.executable, str(training), "0"], preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)
    )
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGHUP)
    time.sleep(0.3)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == 75
    process.communicate()


def test_a_training_whose_launcher_is_killed_saves_and_ends(training: Path, tmp_path: Path) -> None:
    # Named as accelerate's command is, which waits as this does.
    accelerate = tmp_path / "accelerate"
    accelerate.write_text("import subprocess, sys; subprocess.run([sys.executable, *sys.argv[1:]])")
    process = start([sys.executable, str(accelerate), str(training), "0"])
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    process.kill()
    said, told = process.communicate(timeout=30)
    assert said == "saved False\n" and "the launcher of rank 0 is gone" in told


def test_a_single_process_is_launched_with_its_own_exit_code_and_signals(training: Path) -> None:
    options = ["--cpu", "--num_processes=1", "--num_machines=1", "--mixed_precision=no", "--dynamo_backend=no"]
    process = start([sys.executable, "-m", "trainer.launch", *options, str(training), "0"], cwd=ROOT)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    said, told = process.communicate(timeout=20)
    assert process.returncode == 75 and said == "saved False\n" and "Traceback" not in told
