"""The commands. Each says what is wrong in words and ends with the exit code that design and README promise."""

import asyncio
import sys
from collections.abc import Callable, Coroutine, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich.console import Console

from agent import __version__, expiry, machine
from agent.address import Address, parse
from agent.config import Configuration, ConfigurationError, Secrets, load
from agent.config.reload import Reloader
from agent.daemon import Daemon, Options, StartError
from agent.job import Job
from agent.litter import ONCE, Sweeper, clear_now
from agent.logs import logging_to
from agent.origins import origins
from agent.permissions.shell import Shell
from agent.runner import of_this_machine, run_once
from agent.state import State, StateError
from probes import REGISTRY
from probes.core.context import Shared
from probes.core.contract import Run, Stopped
from probes.core.ledger import Ledger

if TYPE_CHECKING:
    from agent.demo import Show
    from agent.permissions.demand import Demand

app = typer.Typer(
    name="fogbell",
    help="Synthetic monitoring agent for Microsoft 365: says what is broken, how slow it is, and whose fault it is.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

EXIT_OK, EXIT_FAILED, EXIT_CONFIGURATION, EXIT_INCONCLUSIVE = range(4)

_PIPE_COLUMNS = 140

T = TypeVar("T")


class Level(StrEnum):
    """Log levels."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Form(StrEnum):
    """Log forms."""

    HUMAN = "human"
    JSON = "json"


class MetricLevel(StrEnum):
    """How many series a probe has."""

    FULL = "full"
    BASIC = "basic"


ConfigPath = Annotated[
    Path, typer.Option("--config", "-c", envvar="FOGBELL_CONFIG", help="Configuration file, or a folder whose *.yml files are merged.")
]
Listen = Annotated[list[str], typer.Option("--listen", help="Address to serve on, HOST:PORT. May be given several times.")]
LogLevel = Annotated[Level, typer.Option("--log-level", help="Least severe lines to log; debug shows every run.")]
OutageOption = Annotated[str, typer.Option("--outage", help="Play an outage: its id or the beginning of it, such as R01, or a YAML file.")]
SpeedOption = Annotated[
    float | None, typer.Option("--speed", min=0.001, help="How many times as fast as it was; without it the outage takes three minutes.")
]
ForOption = Annotated[str, typer.Option("--for", help="How long, such as 60s or 5m; without it until Ctrl-C.")]
LogForm = Annotated[Form, typer.Option("--log-format", help="Lines for people, or one JSON object a line.")]


def _say(message: str) -> None:
    print(message, file=sys.stderr)  # noqa: T201 - the command line speaks here


def _console() -> Console:
    """Return where results are drawn; a pipe or file gets a width in which nothing is cut."""
    return Console() if sys.stdout is not None and sys.stdout.isatty() else Console(width=_PIPE_COLUMNS)


def _stop(message: str, code: int) -> typer.Exit:
    _say(message)
    return typer.Exit(code)


def _on_loop(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on uvloop, or on Python's own selector loop where there is none (Windows: c-ares needs the selector)."""
    try:
        import uvloop  # noqa: PLC0415 - not on Windows
    except ImportError:
        factory: Callable[[], asyncio.AbstractEventLoop] = asyncio.SelectorEventLoop
    else:
        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(work)


def _address(text: str) -> Address:
    try:
        return parse(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def _load(path: Path, *, secrets: bool = True, code: int = EXIT_CONFIGURATION) -> Configuration:
    try:
        return load(path, secrets=secrets)
    except ConfigurationError as error:
        raise _stop(str(error), code) from None


async def _serve(reloader: Reloader, options: Options) -> None:
    await Daemon(reloader, options).run()


def _shared(configuration: Configuration, ledger: Ledger | None = None) -> Shared:
    return of_this_machine(Secrets(configuration.secrets), configuration.tenants, configuration.state_dir, ledger)


async def _once(job: Job, configuration: Configuration) -> Run:
    """Run the job; what it creates is on a ledger of its own, beside that of an agent that may be running.

    What is left there then, also of earlier runs and of probes that are gone, is cleared away.
    """
    if configuration.state_dir is None or not job.probe.remembers(job.settings):
        return await run_once(job, _shared(configuration))
    state = State(Path(configuration.state_dir) / ONCE)
    await state.open()
    shared = _shared(configuration, state)
    for name, origin in origins(configuration).items():
        state.serve(name, origin)
    try:
        run = await run_once(job, shared)
        await clear_now(Sweeper(shared, state, REGISTRY, {one.name: one for one in configuration.jobs}))
        return run
    finally:
        await state.close()


@app.command()
def run(
    config: ConfigPath,
    listen: Listen = ["127.0.0.1:9655"],  # noqa: B006 - typer reads the default and never changes it
    *,
    log_level: LogLevel = Level.INFO,
    log_format: LogForm = Form.HUMAN,
    metrics_level: Annotated[MetricLevel, typer.Option(help="basic leaves out the latency histogram.")] = MetricLevel.FULL,
    web_config_file: Annotated[
        Path | None, typer.Option("--web.config.file", help="TLS and passwords of the agent's own pages (web.yml of Prometheus).")
    ] = None,
    web_enable_reload: Annotated[bool, typer.Option("--web.enable-reload", help="Allow POST /-/reload.")] = False,
) -> None:
    """Run the agent until it is told to stop."""
    machine.outlive_early_hangups()
    machine.prepare()
    options = Options(
        listen=tuple(map(_address, listen)),
        enable_reload=web_enable_reload,
        histograms=metrics_level is MetricLevel.FULL,
        web_config=web_config_file,
    )
    with logging_to(level=log_level, form=log_format):
        reloader = Reloader(config, _load(config))
        try:
            _on_loop(_serve(reloader, options))
        except StartError as error:
            raise _stop(f"fogbell: {error}", EXIT_FAILED) from None


@app.command()
def check(
    config: ConfigPath,
    *,
    no_secrets: Annotated[bool, typer.Option("--no-secrets", help="Do not read the secrets the configuration names.")] = False,
) -> None:
    """Say every mistake of the configuration, then what it will do. Exit: 0 right, 1 with mistakes."""
    from agent.config.plan import plan, table  # noqa: PLC0415

    configuration = _load(config, secrets=not no_secrets, code=EXIT_FAILED)
    read = None if no_secrets else Secrets(configuration.secrets)
    ending = expiry.ending(expiry.known(configuration.tenants, read))
    useless = (*expiry.unusable(configuration.tenants, read), *(one for one in ending if one.seconds <= 0))
    for warning in (*configuration.warnings, *(one for one in ending if one.seconds > 0)):
        _say(f"warning: {warning}")
    _console().print(table(plan(configuration)))
    for credential in useless:
        _say(f"mistake: {credential}; no probe of this tenant can sign in")
    if useless:
        raise typer.Exit(EXIT_FAILED)


@app.command()
def once(
    name: Annotated[str, typer.Argument(help="Name of the probe.")],
    config: ConfigPath,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print the run as JSON.")] = False,
) -> None:
    """Run one probe now and show its steps, phases and evidence. Exit: 0 ok, 1 failed, 2 configuration, 3 inconclusive."""
    from agent.record import encode  # noqa: PLC0415
    from agent.waterfall import draw  # noqa: PLC0415

    configuration = _load(config)
    job = next((job for job in configuration.jobs if job.name == name), None)
    if job is None:
        names = ", ".join(job.name for job in configuration.jobs[:20])
        raise _stop(f"fogbell: no probe is called {name!r}; there are: {names}", EXIT_CONFIGURATION)
    machine.prepare()
    with logging_to(level="warning"):
        try:
            result = _on_loop(_once(job, configuration))
        except StateError as error:
            raise _stop(f"fogbell: {error}", EXIT_INCONCLUSIVE) from None
    if as_json:
        typer.echo(encode(result))
    else:
        _console().print(draw(result))
    raise typer.Exit({"ok": EXIT_OK, "failed": EXIT_FAILED, "inconclusive": EXIT_INCONCLUSIVE}[result.outcome])


def _show(outage: str, speed: float | None, seconds: str) -> "Show":
    """Read what a demo shall show."""
    from agent.demo import Show  # noqa: PLC0415
    from agent.drill.outage import OutageError, find  # noqa: PLC0415
    from probes.lib.durations import seconds as parse_seconds  # noqa: PLC0415

    try:
        return Show(find(outage) if outage else None, speed, parse_seconds(seconds) if seconds else None)
    except (OutageError, ValueError) as error:
        raise _stop(f"fogbell: {error}", EXIT_FAILED) from None


@app.command()
def demo(
    outage: OutageOption = "",
    speed: SpeedOption = None,
    seconds: ForOption = "",
    listen: Annotated[str, typer.Option("--listen", help="Address of the page, HOST:PORT.")] = "127.0.0.1:9655",
) -> None:
    """Watch a simulated tenant on this machine, and an outage of it. Needs no tenant of your own and no network."""
    from agent import demo as stage  # noqa: PLC0415

    show, code = _show(outage, speed, seconds), EXIT_OK
    try:
        code = _on_loop(stage.demo(show, _address(listen)))
    except stage.DemoError as error:
        raise _stop(f"fogbell: {error}", EXIT_FAILED) from None
    except KeyboardInterrupt:
        pass
    raise typer.Exit(code)


@app.command()
def tenant(
    folder: Annotated[
        Path | None, typer.Option("--folder", help="Where its files go, written anew at each start; without it they go with the tenant.")
    ] = None,
    outage: OutageOption = "",
    speed: SpeedOption = None,
    seconds: ForOption = "",
) -> None:
    """Run a simulated tenant alone, so that any client can be tried against it. Prints its addresses and a ready configuration."""
    from agent import demo as stage  # noqa: PLC0415

    show = _show(outage, speed, seconds)
    try:
        _on_loop(stage.alone(show, folder.resolve() if folder else None))
    except stage.DemoError as error:
        raise _stop(f"fogbell: {error}", EXIT_FAILED) from None
    except KeyboardInterrupt:
        raise typer.Exit(EXIT_OK) from None


@app.command()
def permissions(
    config: ConfigPath,
    *,
    shell: Annotated[Shell, typer.Option("--shell", help="Tool that the commands are for.")] = Shell.BOTH,
    only: Annotated[str, typer.Option("--tenant", metavar="NAME", help="Leave out all tenants but this one.")] = "",
    no_secrets: Annotated[
        bool, typer.Option("--no-secrets/--secrets", help="Whether to do without secrets, unless --check is given.")
    ] = True,
    compare: Annotated[bool, typer.Option("--check", help="Get tokens and compare what is granted with what is needed.")] = False,
) -> None:
    """Say the least permissions that probes need in each tenant, and the commands that grant and narrow them.

    With --check it says instead what is missing and what is granted beyond need. Exit: 0 right, 1 not (only with --check), 2 configuration.
    """
    from agent.permissions import demand, page  # noqa: PLC0415

    configuration = _load(config, secrets=compare or not no_secrets)
    wanted = [one for one in demand.demands(configuration.jobs, configuration.tenants) if only in {"", one.name}]
    if not wanted:
        names = ", ".join(configuration.tenants) or "none"
        raise _stop(
            f"fogbell: there is no tenant {only!r}; there are: {names}" if only else "fogbell: no tenant is configured", EXIT_CONFIGURATION
        )
    if compare:
        with logging_to(level="warning"):
            raise typer.Exit(_on_loop(_compare(wanted, configuration)))
    for one in wanted:
        console = _console()
        console.print(page.table(one, console.width))
        typer.echo("\n" + page.commands(one, shell))


async def _compare(wanted: "Sequence[Demand]", configuration: Configuration) -> int:
    """Say what each tenant grants otherwise than needed; return the exit code."""
    from agent.permissions import check, page  # noqa: PLC0415

    shared, right = _shared(configuration), True
    for one in wanted:
        found = await check.comparisons(one, shared)
        right = right and all(comparison.is_right for comparison in found)
        lines = (*(line for comparison in found for line in page.told(comparison)), *page.unseen(one))
        typer.echo("\n  ".join((page.title(one), *lines)))
    return EXIT_OK if right else EXIT_FAILED


@app.command()
def login(name: Annotated[str, typer.Argument(metavar="TENANT", help="Name of the tenant.")], config: ConfigPath) -> None:
    """Sign the probe user of a tenant in, for probes that act for a person. Exit: 0 signed in, 1 not, 2 configuration."""
    from agent.login import login as sign_in  # noqa: PLC0415
    from agent.login import scopes_for  # noqa: PLC0415

    configuration = _load(config, secrets=False)
    tenant = configuration.tenants.get(name)
    if tenant is None:
        names = ", ".join(configuration.tenants) or "none"
        raise _stop(f"fogbell: no tenant is called {name!r}; there are: {names}", EXIT_CONFIGURATION)
    if configuration.state_dir is None:
        raise _stop("fogbell: a sign-in needs state_dir in the configuration, to keep its refresh token", EXIT_CONFIGURATION)
    machine.prepare()
    try:
        with logging_to(level="warning"):
            _on_loop(sign_in(name, tenant, scopes_for(tenant, name, configuration.jobs), _shared(configuration), typer.echo))
    except Stopped as stopped:
        raise _stop(f"fogbell: nobody is signed in: {stopped.message}", EXIT_FAILED) from None
    except TimeoutError:
        raise _stop("fogbell: nobody is signed in: the identity provider does not answer", EXIT_FAILED) from None
    except KeyboardInterrupt:
        raise _stop("fogbell: given up; nothing was stored", EXIT_FAILED) from None


@app.command()
def docs(*, check_only: Annotated[bool, typer.Option("--check", help="Only say whether the pages are current.")] = False) -> None:
    """Write the generated pages: config/reference.md and config/schema.json."""
    from agent.docs import generate  # noqa: PLC0415

    pages = generate()
    if missing := [str(path.parent) for path in pages if not path.parent.is_dir()]:
        raise _stop(f"fogbell: there is no folder {missing[0]!r} here; run this in the root of the repository", EXIT_FAILED)
    stale = [path for path, text in pages.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    if check_only and stale:
        raise _stop("stale, run `fogbell docs`: " + ", ".join(map(str, stale)), EXIT_FAILED)
    for path in stale:
        path.write_text(pages[path], encoding="utf-8")
        typer.echo(f"wrote {path}")


@app.callback(invoke_without_command=True)
def _version(*, version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        typer.echo(f"fogbell {__version__}")
        raise typer.Exit


def main() -> None:
    """Run the command line."""
    machine.fill_standard_streams()
    try:
        try:
            app()
        finally:
            sys.stdout.flush()
    except OSError as error:
        if error.filename is not None:
            raise
        machine.drop_standard_output()
        _say(f"fogbell: the output cannot be written: {error.strerror}")
        sys.exit(EXIT_FAILED)


if __name__ == "__main__":
    main()
