"""Command-line options as dataclasses: a command names a dataclass once and gets all its fields as options."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import sys
from collections.abc import Callable
from typing import Any, get_type_hints

from m8d.engines.errors import M8DError

USER_ERROR = 2  # exit status


def command(function: Callable[..., None], mendable: tuple[type[Exception], ...] = ()) -> Callable[..., None]:
    """Makes a function a command: dataclass parameters become their fields' options, and a user's errors one line.

    `mendable` names exceptions besides `M8DError` and `OSError` that are the user's to mend.
    """
    hints = get_type_hints(function, include_extras=True)
    groups = {name: hint for name, hint in hints.items() if dataclasses.is_dataclass(hint)}
    parameters = []
    for name, parameter in inspect.signature(function).parameters.items():
        if name in groups:
            parameters += _fields(groups[name])
        else:
            parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=hints[name]))

    @functools.wraps(function)
    def run(**values: Any) -> None:
        for name, group in groups.items():
            values[name] = group(**{f.name: values.pop(f.name) for f in dataclasses.fields(group)})
        try:
            function(**values)
        except (M8DError, OSError, *mendable) as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(USER_ERROR)

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    return run


def _fields(group: Any) -> list[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    return [
        inspect.Parameter(f.name, inspect.Parameter.KEYWORD_ONLY, default=f.default, annotation=hints[f.name])
        for f in dataclasses.fields(group)
    ]
