"""The command line: plan with known dynamics, learn unknown ones, see what happened.

Bad input ends in one line on stderr and exit code 2.
"""

import signal
import sys
from typing import NoReturn

from forethought.cli.commands import COMMANDS
from forethought.cli.parse import (
    BAD_INPUT,
    FAILED,
    INTERRUPTED,
    BadInput,
    Failed,
    bad_input,
)
from forethought.core.words import unknown

OVERVIEW = """forethought: acting by thinking ahead

  forethought tasks                 what can be controlled
  forethought planners [NAME]       who can plan, and what can be set
  forethought plan TASK             act on a task by planning, and write a report
  forethought plan ROBOT.xml --objective MODULE:NAME
                                    the same for a MuJoCo model of yours
  forethought compare TASK ...      several planners on tasks: how good, how fast
  forethought compare --gallery     the same on problems with known optimum
  forethought report DIR            write the report of a run folder again

  forethought agents [NAME]         who can learn, and what can be set
  forethought models                what can be planned in
  forethought train TASK_OR_GYM_ID  learn to act where the dynamics are unknown
  forethought resume DIR            go on with a training run
  forethought evaluate DIR          let act what a training run has learned
  forethought reproduce NAME        put a published claim to the test (--list: all)

Every command answers to --help. Try: forethought plan pendulum --planner cem"""


def main(argv: list[str] | None = None) -> NoReturn:
    """Run one command and exit with its code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGINT))
    try:
        code = dispatch(arguments)
    except BadInput as error:
        print(f"forethought: {error}", file=sys.stderr)
        code = BAD_INPUT
    except Failed as error:
        print(f"forethought: {error}", file=sys.stderr)
        code = FAILED
    except KeyboardInterrupt:
        print("forethought: interrupted before anything was run.", file=sys.stderr)
        code = INTERRUPTED
    raise SystemExit(code)


def dispatch(arguments: list[str]) -> int:
    """Run the command that the first argument names."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(OVERVIEW)
        return 0
    name, rest = arguments[0], arguments[1:]
    if name == "--version":
        from importlib.metadata import version

        print(f"forethought {version('forethought')}")
        return 0
    if name not in COMMANDS:
        with bad_input():
            raise unknown("command", name, COMMANDS)
    return COMMANDS[name](rest)
