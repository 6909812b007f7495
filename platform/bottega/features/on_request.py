"""On-request functions: numeric features that are computed from the request and other columns, at request time.

A function takes the array namespace `xp` first, then its inputs by column name. It runs on numpy in training, and the
same code is traced through torch into the artefact, so it may use what both namespaces share under the array API's
names (`xp.sin`, `xp.where`, `xp.maximum` of two arrays, ...).
"""

import graphlib
import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import ModuleType
from typing import Any, overload

import numpy as np

from bottega.errors import InvalidInput
from bottega.features.checks import check_name, check_unique
from bottega.features.steps import Function


@dataclass(frozen=True)
class OnRequest:
    """A numeric function with named inputs and outputs.

    Calling it runs on numpy: columns (batch,) in, a tuple of columns (batch,) float64 out, as a plan's
    `NumericFunction`. `apply` runs it on another namespace, such as torch while tracing.
    """

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    function: Callable[..., Any]
    unit: str = ""
    description: str = ""

    def __call__(self, *columns: np.ndarray) -> tuple[np.ndarray, ...]:
        given = [np.asarray(column, np.float64) for column in columns]
        results = self.apply(np, *given)
        return tuple(np.broadcast_to(np.asarray(r, np.float64), given[0].shape) for r in results)

    def apply(self, xp: ModuleType, *columns: Any) -> tuple[Any, ...]:
        """Run on arrays of the namespace `xp` (numpy or torch), all (batch,) float64."""
        if len(columns) != len(self.inputs):
            raise InvalidInput(
                f"{self.name} was given {len(columns)} columns.", next_step=f"It takes {', '.join(self.inputs)}."
            )
        results = self.function(xp, *columns)
        results = results if isinstance(results, tuple) else (results,)
        if len(results) != len(self.outputs):
            raise InvalidInput(
                f"{self.name} returned {len(results)} columns, it declares {len(self.outputs)}: "
                f"{', '.join(self.outputs)}.",
                next_step="Return one array for each output.",
            )
        return results


@overload
def on_request(function: Callable[..., Any], /) -> OnRequest: ...
@overload
def on_request(*, outputs: tuple[str, ...] = (), unit: str = "") -> Callable[[Callable[..., Any]], OnRequest]: ...
def on_request(
    function: Callable[..., Any] | None = None, /, *, outputs: tuple[str, ...] = (), unit: str = ""
) -> OnRequest | Callable[[Callable[..., Any]], OnRequest]:
    """Declare an on-request function: argument names are input columns, the function's name is the output column.

    >>> @on_request
    ... def twice(xp, fare_usd):
    ...     return 2 * fare_usd
    >>> twice(np.array([1.5]))
    (array([3.]),)
    """
    if function is None:
        return lambda given: _declare(given, outputs, unit)
    return _declare(function, outputs, unit)


def function_steps(functions: Iterable[OnRequest], given: Iterable[str]) -> tuple[Function, ...]:
    """The functions as plan steps, each after those whose outputs it takes; `given` are the columns there already.

    Raises InvalidInput for an argument that nothing provides, an output that is there already, and a cycle.
    """
    columns = set(given)
    made_by: dict[str, OnRequest] = {}
    for function in functions:
        for output in function.outputs:
            if output in columns or made_by.get(output, function) is not function:
                raise InvalidInput(f"{function.name} gives the column {output!r}, which exists already.")
            made_by[output] = function
    by_name: dict[str, OnRequest] = {}
    for function in made_by.values():
        if by_name.setdefault(function.name, function) is not function:
            raise InvalidInput(
                f"Two on-request functions have the name {function.name!r}.", next_step="Rename one of them."
            )
    graph: dict[str, set[str]] = {}
    for function in by_name.values():
        for name in function.inputs:
            if name not in columns and name not in made_by:
                raise InvalidInput(
                    f"{function.name} takes {name!r}, which nothing provides.",
                    next_step=f"There are: {', '.join(sorted(columns | made_by.keys()))}.",
                )
        graph[function.name] = {made_by[name].name for name in function.inputs if name in made_by}
    try:
        order = list(graphlib.TopologicalSorter(graph).static_order())
    except graphlib.CycleError as error:
        raise InvalidInput(
            f"On-request functions form a cycle: {' -> '.join(error.args[1])}.",
            next_step="Compute one of them from other columns.",
        ) from None
    return tuple(Function(name, by_name[name].inputs, by_name[name].outputs) for name in order)


def _declare(function: Callable[..., Any], outputs: tuple[str, ...], unit: str) -> OnRequest:
    name = function.__name__
    taken = list(inspect.signature(function).parameters.values())
    parameters = taken[1:]
    if not parameters or taken[0].name != "xp":
        raise InvalidInput(
            f"The on-request function {name!r} does not take xp and columns.",
            next_step=f"Write def {name}(xp, column, ...): xp is the array namespace, numpy or torch.",
        )
    for parameter in parameters:
        if parameter.kind is not parameter.POSITIONAL_OR_KEYWORD or parameter.default is not parameter.empty:
            raise InvalidInput(
                f"The argument {str(parameter)!r} of the on-request function {name!r} is not a plain column name.",
                next_step="Use named arguments without default: each one is an input column.",
            )
    for output in outputs:
        check_name(f"An output of {name}:", output)
    check_unique(f"The on-request function {name!r}", outputs, "output")
    description = inspect.cleandoc(function.__doc__ or "").partition("\n")[0]
    return OnRequest(name, tuple(p.name for p in parameters), outputs or (name,), function, unit, description)
