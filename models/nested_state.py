"""States of the parts of a statistic, side by side in one flat state."""

from collections.abc import Mapping
from typing import Any

from models.contract import State


def nested(**parts: State) -> State:
    """Put the states of parts beside each other, each under its name.

    Examples
    --------
    >>> nested(block={"version": 1}, account={"version": 2})
    {'block_version': 1, 'account_version': 2}
    """
    return {
        f"{part}_{name}": value
        for part, state in parts.items()
        for name, value in state.items()
    }


def within(state: Mapping[str, Any], part: str) -> State:
    """Give the state of one part.

    Examples
    --------
    >>> within({"version": 1, "block_version": 2}, "block")
    {'version': 2}
    """
    prefix = f"{part}_"
    names = (name for name in state if name.startswith(prefix))
    return {name.removeprefix(prefix): state[name] for name in names}
