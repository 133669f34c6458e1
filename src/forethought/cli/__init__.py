"""The command line: plan with known dynamics, learn unknown ones, see what happened.

Bad input ends in one line on stderr and exit code 2.
"""

import sys
import warnings
from typing import NoReturn

# All else is imported where signals are heeded already: that takes a while.
from forethought.cli.output import outputs
from forethought.core.words import visible
from forethought.training import stop

NOTICE = "forethought: stops at the next step; once more, and it ends at once.\n"
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
  forethought models [NAME]         what can be planned in, and what can be set
  forethought fit DATA              fit models to logged episodes, and judge them
  forethought train TASK_OR_GYM_ID  learn to act where the dynamics are unknown
  forethought resume DIR            go on with a training run
  forethought evaluate DIR          let act what a training run has learned
  forethought collect TASK_OR_GYM_ID --out FILE
                                    act, at random or as learned, and keep the data
  forethought distill RUN ...       planners and agents, in one network
  forethought reproduce NAME        put a published claim to the test (--list: all)

Every command answers to --help. Try: forethought plan pendulum --planner cem"""


def main(argv: list[str] | None = None) -> NoReturn:
    """Run one command and exit with its code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    with stop.heeded(NOTICE), outputs() as out:
        from forethought.cli.parse import FAILED, reason

        code, told = outcome(arguments)
        out.flush()
        if out.error is not None and not code:
            # Who reads a pipe may have read enough.
            broken = isinstance(out.error, BrokenPipeError)
            code = FAILED
            told = "" if broken else f"standard output: {reason(out.error)}"
        if told:
            print(f"forethought: {visible(told)}", file=sys.stderr, flush=True)
    raise SystemExit(code)


def outcome(arguments: list[str]) -> tuple[int, str]:
    """Run one command; its exit code, and a sentence where it did not end well."""
    from forethought.cli.parse import BAD_INPUT, FAILED, BadInput, Failed, reason

    try:
        with warnings.catch_warnings():
            warnings.showwarning = _warn
            return dispatch(arguments), ""
    except SystemExit as ended:  # of --help
        return int(ended.code or 0), ""
    except BadInput as error:
        return BAD_INPUT, str(error)
    except Failed as error:
        return FAILED, str(error)
    except KeyboardInterrupt:
        return stop.INTERRUPTED, "interrupted before anything was run."
    except OSError as error:  # of a disk
        return FAILED, reason(error)


def _warn(message: Warning | str, *_: object) -> None:
    """Show a warning as a line, without its place in the program."""
    print(f"forethought: {' '.join(str(message).split())}", file=sys.stderr)


def dispatch(arguments: list[str]) -> int:
    """Run the command that the first argument names."""
    from forethought.cli.commands import COMMANDS
    from forethought.cli.parse import bad_input
    from forethought.core.words import unknown

    stop.look()
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
