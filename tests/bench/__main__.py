"""`make bench`: every figure Fogbell promises, against its peer in the same run. Exit 1 where a goal is missed, 2 where a program is.

python -m tests.bench [--seconds 30] [GOAL ...]      GOAL: truth cost scrape scale curl resolver graph mail
"""

import argparse
import gc
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop
from rich.console import Console
from rich.table import Table

from tests.bench import cost, curl, ews, graph, mail, resolver, scale, scrape, truth
from tests.bench.figures import Figure
from tests.bench.processes import MissingError

GOALS: dict[str, Callable[[Path, float], Awaitable[list[Figure]]]] = {
    "truth": truth.measure,
    "cost": cost.measure,
    "scrape": scrape.measure,
    "scale": scale.measure,
    "curl": curl.measure,
    "resolver": resolver.measure,
    "graph": graph.measure,
    "mail": mail.measure,
    "ews": ews.measure,
}


def main() -> int:
    """Measure, print, and say whether every goal is reached."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("goals", nargs="*", metavar="GOAL", help=f"one or more of: {' '.join(GOALS)} (default: all)")
    parser.add_argument("--seconds", type=float, default=30.0, help="how long each measurement lasts (default 30)")
    asked = parser.parse_args()
    unknown = set(asked.goals) - GOALS.keys()
    if unknown:
        parser.error(f"no goal is called {', '.join(sorted(unknown))}; there are: {', '.join(GOALS)}")
    console, figures = Console(width=140), []
    for goal in asked.goals or GOALS:
        with console.status(f"measuring {goal} …"), tempfile.TemporaryDirectory(prefix="fogbell-bench-") as folder:
            try:
                found = uvloop.run(_measure(goal, Path(folder), asked.seconds))
            except MissingError as error:
                console.print(str(error))
                return 2
        figures += found
        console.print(_table(found))
        gc.unfreeze()
    missed = [figure for figure in figures if not figure.reached]
    console.print(f"{len(figures) - len(missed)} of {len(figures)} figures reach their goal.")
    return 1 if missed else 0


async def _measure(goal: str, folder: Path, seconds: float) -> list[Figure]:
    return await GOALS[goal](folder, seconds)


def _table(figures: list[Figure]) -> Table:
    table = Table("goal", "what", "ours", "peer", "ratio", "limit", "")
    for figure in figures:
        verdict = "[green]reached[/]" if figure.reached else "[bold red]missed[/]"
        unit = f" {figure.unit}" if figure.unit else ""
        table.add_row(
            figure.goal,
            figure.what,
            f"{figure.ours:.3g}{unit}" if figure.ours < 1000 else f"{figure.ours:,.0f}{unit}",
            f"{figure.peer_name} {figure.peer:.4g}{unit}",
            f"{figure.ratio:.4f}",
            f"{figure.limit:.4g}",
            verdict,
        )
    return table


if __name__ == "__main__":
    sys.exit(main())
