"""What commands print: all of it passes here, so that nothing of it can act on the terminal."""

from __future__ import annotations

import json
from typing import Any

import click

from logweir.terminal import visible_lines


def say(text: object, *, err: bool = False) -> None:
    """Print lines for a person."""
    click.echo(visible_lines(str(text)), err=err)


def say_json(value: Any) -> None:
    """Print JSON for a program: every character that is no ASCII is escaped in it."""
    click.echo(json.dumps(value, indent=2))
