"""
Fill a migrated database with users to measure with: `python -m benchmarks.dataset --users 1000000 --seed 1 DSN`.

The same seed, number and day give the same rows. Every account has the same password; the first ones may do everything.
"""

from __future__ import annotations

from datetime import UTC, datetime

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from benchmarks.dataset.loading import NotEmptyError, load
from benchmarks.dataset.people import PASSWORD, People


@click.command(help=__doc__)
@click.option("--users", type=click.IntRange(min=1), default=100_000, show_default=True, help="How many.")
@click.option("--seed", type=int, default=1, show_default=True, help="Another one gives others.")
@click.option(
    "--until",
    type=click.DateTime(["%Y-%m-%d"]),
    default=lambda: f"{datetime.now(UTC):%Y-%m-%d}",
    show_default="today",
    help="The day on which the newest of them came.",
)
@click.argument("dsn")
def main(users: int, seed: int, until: datetime, dsn: str) -> None:
    """Fill the database, and show how far it is."""
    people = People(users=users, seed=seed, until=until.replace(tzinfo=UTC))
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=Console(stderr=True)) as progress:
        task = progress.add_task("users", total=users)
        try:
            load(people, dsn, on_progress=lambda step, done: progress.update(task, description=step, completed=done))
        except NotEmptyError:
            raise click.ClickException("There are users in this database already.") from None
    click.echo(f"{users} users; the password of each is: {PASSWORD}")


if __name__ == "__main__":
    main()
