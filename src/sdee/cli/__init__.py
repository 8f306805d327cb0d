"""The command line. Sub-commands are imported only when called: each lives in the module named in COMMANDS."""

from __future__ import annotations

import errno
import os
import signal
import sys
from importlib import import_module
from typing import Any, NoReturn

import click

import sdee
from sdee.base.errors import InputError, InternalError, OutputError, ResourceError, SdeeError, UsageError
from sdee.base.text import safe

# section of --help → command → module of sdee.cli that holds it under the same name, and its one-line help (so that
# --help imports nothing)
SECTIONS = {
    "Jobs you trace": {
        "trace": ("trace", "Run a command once and record every file it uses."),
        "bundle": ("bundle", "Pack what a traced command needs into one executable file."),
        "exec": ("execute", "Run a bundle."),
        "verify": ("verify", "Run a bundle here as on a bare node; list what is missing."),
        "status": ("status", "Show what changed since trace and bundle, and what to repeat."),
    },
    "On the cluster": {
        "submit": ("submit", "Run a command as a batch job: trace, bundle, sbatch."),
        "wrap": ("wrap", "Rewrite a batch script so that its steps run in a bundle."),
        "deploy": ("deploy", "Unpack a bundle on this node for later runs."),
        "undeploy": ("execute", "Remove a deployed bundle from this node."),
    },
    "Bundles": {
        "info": ("inspect", "Show what a bundle is."),
        "ls": ("inspect", "List what a bundle holds, or what makes it large."),
        "check": ("inspect", "Check every byte of a bundle."),
        "why": ("inspect", "Show why a path travels, or does not."),
        "cat": ("inspect", "Print a file of a bundle."),
        "extract": ("inspect", "Unpack a bundle into a directory."),
        "diff": ("diff", "Show what differs between two traces, or two bundles."),
    },
    "Private environments": {
        "env": ("env", "Make and use private environments, in which you are root."),
        "shell": ("env", "Open a shell in a private environment, as env enter does."),
    },
    "This machine": {
        "doctor": ("doctor", "Check what this machine can do, and how to fix the rest."),
        "config": ("config", "Show the settings of sdee.toml, and where each comes from."),
        "clean": ("clean", "List what sdee left behind, and remove it."),
    },
}
COMMANDS = {name: found for commands in SECTIONS.values() for name, found in commands.items()}


# What other programs call it: docker, apt, strace, sbatch
_LIKE = {"run": "exec", "pack": "bundle", "build": "bundle", "record": "trace", "sbatch": "submit", "list": "ls"}
_A_LITTLE = 1 << 16  # bytes
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)  # without a file's name: standard output


class LazyGroup(click.Group):
    """Imports a command's module when it is called (click docs: lazily loading sub-commands)."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return the commands in the order in which a user meets them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import only the requested command."""
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"sdee.cli.{COMMANDS[cmd_name][0]}")
        command = getattr(module, "execute" if COMMANDS[cmd_name][0] == "execute" else cmd_name)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; `help` is --help. Raises UsageError with a suggestion."""
        if args[0] == "help":
            args = [*args[1:2], "--help"]
            if args[0] == "--help":
                click.echo(ctx.get_help())
                ctx.exit()
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            raise UsageError(f"there is no command {args[0]!a}", hint=_meant(args[0]))
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; Ctrl-C ends sdee as it ends other programs, for click with status 1."""
        try:
            return super().invoke(ctx)
        except EOFError as error:  # of an import; click would say "Aborted!"
            where = os.path.dirname(sdee.__file__)
            hint = f"a full disk may have cut off compiled files: remove the directories __pycache__ below {where}"
            raise InternalError(f"EOFError: {error}", hint=hint) from error
        except KeyboardInterrupt:
            from sdee.cli import output  # noqa: PLC0415 - seldom needed

            output.say("interrupted")
            output.die_by(signal.SIGINT)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the commands without importing them."""
        widest = max(map(len, COMMANDS))
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(widest), text) for name, (_, text) in commands.items()])


def _meant(name: str) -> str:
    """Return the hint for an unknown command: a bundle, a program, a command with another name."""
    import difflib  # noqa: PLC0415 - only for what went wrong
    import shutil  # noqa: PLC0415

    if os.path.isfile(name) and name.endswith((".sdee", ".trace")):
        return f"sdee {'exec' if name.endswith('.sdee') else 'bundle'} {safe(name)}"
    near = _LIKE.get(name) or next(iter(difflib.get_close_matches(name, COMMANDS, 1)), "")
    if near:
        return f"did you mean `sdee {near}`? sdee --help lists all commands"
    return (
        f"sdee trace -- {safe(name)} … runs a command under trace"
        if shutil.which(name)
        else "sdee --help lists all commands"
    )


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(sdee.__version__, prog_name="sdee")
@click.option("--debug", is_flag=True, help="Show each step, and the traceback of an error.")
@click.pass_context
def cli(ctx: click.Context, *, debug: bool) -> None:
    """Run a job on a compute node exactly as it ran here: trace it, bundle it, execute it.

    \b
      sdee trace -- ./app input.dat      record what the job uses   → sdee.trace
      sdee bundle                        pack it into one file      → bundle.sdee
      sdee exec bundle.sdee              run it, anywhere
    """  # noqa: D301 - click wants the backspace character itself
    ctx.obj = {"debug": debug}


def fail(error: SdeeError) -> NoReturn:
    """Print an error as errors.py renders it and exit with its code."""
    click.echo(error.render(), err=True)
    sys.exit(error.exit_code)


def _not_written(error: OSError) -> OutputError:
    """Tell where there was no room: in the directory of temporary files, else where standard output goes to."""
    import shutil  # noqa: PLC0415 - only for what went wrong
    import tempfile  # noqa: PLC0415

    place = os.environ.get("TMPDIR") or tempfile.gettempdir()
    try:
        full = error.errno == errno.ENOSPC and shutil.disk_usage(place).free < _A_LITTLE
    except OSError:
        full = False
    if full:
        return OutputError(f"cannot write below {place!a}: {error.strerror}", hint="TMPDIR names another place")
    return OutputError(f"cannot write to standard output: {error.strerror}")


def _is_nowhere() -> bool:
    """Tell whether the current directory was removed: getcwd(3) fails then, and names no file."""
    try:
        os.getcwd()
    except FileNotFoundError:
        return True
    return False


def wants_debug(arguments: list[str]) -> bool:
    """Tell whether --debug is among sdee's own arguments, those before a `--`."""
    own = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return "--debug" in own


def main(arguments: list[str]) -> None:
    """Run the command line; no traceback reaches the user without --debug."""
    debug = wants_debug(arguments)
    if "_SDEE_COMPLETE" in os.environ:
        import_module("sdee.cli.completion")
    try:
        cli(arguments, prog_name="sdee")
    except SdeeError as error:
        if debug:
            raise
        fail(error)
    except BrokenPipeError:
        sys.stderr.close()  # as other filters do: the reader has gone
        sys.exit(141)
    except MemoryError:
        fail(ResourceError("not enough memory", hint="raise `ulimit -v`, or use a machine with more memory"))
    except Exception as error:
        if debug:
            raise
        if isinstance(error, FileNotFoundError) and error.filename is None and _is_nowhere():
            fail(InputError("the current directory was removed", hint="go to another one"))
        if isinstance(error, OSError) and error.filename is None and error.errno in _NO_ROOM:
            sys.stdout = None  # or Python complains once more at its end
            fail(_not_written(error))
        if isinstance(error, RuntimeError) and "start new thread" in str(error):
            fail(ResourceError("cannot start a thread", hint="raise `ulimit -u`"))
        hint = "this is a bug in sdee: run it again as `sdee --debug …` and report what it prints"
        fail(InternalError(f"{type(error).__name__}: {error}", hint=hint))
