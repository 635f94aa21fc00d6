"""`python -m trainer.launch`: what `accelerate launch` does, with the exit codes and signals of what it launches.

accelerate's own command waits beside a single training and turns each of its exit codes into 1 and a traceback; SIGTERM
ends it alone, and as process 1 of a container it is deaf to it. So a single process is not waited for here: this one
becomes it. Several are waited for by torch's launcher, whose errors are turned back into the exit codes behind them.
"""

import os
import shlex
import sys
from collections.abc import Sequence
from typing import Any

from likeness.command import BAD_INPUT, DONE, INTERRUPTED, PREEMPTED, BadInput, run_command
from likeness.shipped import shipped
from trainer.ranks.launcher import LAUNCHED_AS

PASSED_ON = (BAD_INPUT, PREEMPTED, INTERRUPTED)
"""Exit codes of ranks that are the whole launch's; every other one than 0 becomes 1."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Launches what the arguments say, as `accelerate launch` would. Returns the exit code, if it comes back at all."""
    from accelerate.commands import launch  # slow, like all that follows
    from accelerate.utils.launch import prepare_simple_launcher_cmd_env
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    words = [*(sys.argv[1:] if arguments is None else arguments)]

    def become(options: Any) -> None:
        command, environment = prepare_simple_launcher_cmd_env(options)
        sys.stdout.flush()
        sys.stderr.flush()
        os.execvpe(command[0], command, environment)

    os.environ[LAUNCHED_AS] = shlex.join([sys.executable, "-m", "trainer.launch", *words])
    # It decides by options and config file which of its launchers is meant; this one is for a single process.
    assert callable(launch.simple_launcher)
    launch.simple_launcher = become
    options = launch.launch_command_parser().parse_args(words)
    if not options.module and not options.no_python:
        options.training_script = str(shipped(options.training_script))
    if options.config_file is not None:
        options.config_file = str(shipped(options.config_file))
    try:
        launch.launch_command(options)
    except ValueError as error:
        raise BadInput(f"accelerate refuses these options or this config file: {error}") from error
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode in PASSED_ON:
            return failure.exitcode
        print(f"error: rank {rank} ended with exit code {failure.exitcode}; its reason stands above", file=sys.stderr)
        return 1
    except SignalException as stop:
        return INTERRUPTED if stop.sigval.name == "SIGINT" else PREEMPTED
    return DONE


if __name__ == "__main__":
    sys.exit(run_command(main, hears_sigterm=True))
