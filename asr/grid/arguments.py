"""Checks of what users give to constructors: every error names the value and its limit."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from numbers import Real
from typing import Literal

from asr.grid.options import Direction, GridOptions, MultidimensionalOptions, Options


def at_least(name: str, value: int, minimum: int) -> int:
    """An integer option with a lower limit.

    Raises:
        ValueError: it is no integer or below the limit.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
        raise ValueError(f"{name} must be an integer of at least {minimum}, got {value!r}")
    return value


def one_of(name: str, value: str, choices: Sequence[str]) -> None:
    """An option that is one of several words.

    Raises:
        ValueError: it is none of them.
    """
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}")


def yes_or_no(**options: bool) -> None:
    """Options that are on or off.

    Raises:
        ValueError: one of them is no bool.
    """
    for name, value in options.items():
        if not isinstance(value, bool):
            raise ValueError(f"{name} must be True or False, got {value!r}")


def probability(name: str, value: float) -> float:
    """A dropout probability, as a float.

    Raises:
        ValueError: it is no number in [0, 1).
    """
    number = _finite(value)
    if number is None or not 0 <= number < 1:
        raise ValueError(f"{name} must be at least 0 and below 1, got {value!r}")
    return number


def _finite(value: object) -> float | None:
    """A real number of any type, a fraction for one, as a float; None if it is none, or not finite."""
    if not isinstance(value, Real) or isinstance(value, bool):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def dimensions(priority: Sequence[int | Literal["depth"]]) -> tuple[int | Literal["depth"], ...]:
    """The priority dimensions, which `grid_options` compares with those that there are.

    Raises:
        ValueError: it is no list.
    """
    if not isinstance(priority, (list, tuple)):
        raise ValueError(f"priority must be a list of axis numbers and 'depth', got {priority!r}")
    return tuple(priority)


def layer_options(
    *, tied: bool, merge: str, bias: bool, forget_bias: float | None, layer_norm: bool, dropout: float
) -> tuple[float, float | None]:
    """Options that the Grid LSTM and the multidimensional LSTM share, besides their sizes.

    Returns:
        dropout and forget_bias as floats.

    Raises:
        ValueError: one of them is of a wrong type or value, or `forget_bias` is given without `bias`.
    """
    yes_or_no(tied=tied, bias=bias, layer_norm=layer_norm)
    one_of("merge", merge, ("concat", "sum"))
    dropout = probability("dropout", dropout)
    bias_of_forgetting = None if forget_bias is None else _finite(forget_bias)
    if forget_bias is not None and bias_of_forgetting is None:
        raise ValueError(f"forget_bias must be a finite number or None, got {forget_bias!r}")
    if forget_bias is not None and not bias:
        raise ValueError(f"forget_bias={forget_bias!r} needs bias, got bias=False")
    return dropout, bias_of_forgetting


def grid_options(options: GridOptions) -> GridOptions:
    """The options of a Grid LSTM's layers, their numbers as floats.

    Raises:
        ValueError: a value is wrong, or some of them exclude each other; the message names them.
    """
    at_least("axes", options.axes, 0)
    at_least("hidden_size", options.hidden_size, 1)
    at_least("bands", options.bands, 1)
    one_of("cell", options.cell, ("lstm", "gru", "rnn"))
    one_of("depth", options.depth, ("none", "lstm", "gru", "relu", "tanh", "identity"))
    yes_or_no(shared=options.shared)
    dropout, clip = _check_cell(options)
    _check_bands(options)
    if options.recurrent_depth and options.depth != options.cell:
        raise ValueError(f"depth {options.depth!r} needs cell {options.depth!r}, got cell {options.cell!r}")
    if options.axes == 0:
        _check_without_axes(options)
    _check_priority(options)
    _check_lstm_alone(options)
    return replace(options, recurrent_dropout=dropout, cell_clip=clip)


def multidimensional_options(options: MultidimensionalOptions) -> MultidimensionalOptions:
    """The options of a multidimensional LSTM's layers, their numbers as floats.

    Raises:
        ValueError: a value is wrong, or some of them exclude each other; the message names them.
    """
    at_least("axes", options.axes, 1)
    at_least("hidden_size", options.hidden_size, 1)
    at_least("bands", options.bands, 1)
    one_of("cell", options.cell, ("stable", "sum"))
    dropout, clip = _check_cell(options)
    _check_bands(options)
    if options.coupled and options.forget_gates > 1:
        cause = f"cell 'sum' with axes={options.axes} has {options.forget_gates}"
        raise ValueError(f"coupled=True needs one forget gate, whose complement is the input gate, but {cause}")
    return replace(options, recurrent_dropout=dropout, cell_clip=clip)


def _check_cell(options: Options) -> tuple[float, float | None]:
    """The values of options that both kinds of layers have for cells -> recurrent_dropout, cell_clip as floats."""
    one_of("output_gate", options.output_gate, ("outside", "inside"))
    yes_or_no(peepholes=options.peepholes, coupled=options.coupled)
    dropout = probability("recurrent_dropout", options.recurrent_dropout)
    clip = None if options.cell_clip is None else _finite(options.cell_clip)
    if options.cell_clip is not None and (clip is None or clip <= 0):
        raise ValueError(f"cell_clip must be a positive number or None, got {options.cell_clip!r}")
    at_least("proj_size", options.proj_size, 0)
    if options.proj_size >= options.hidden_size:
        limit = f"hidden_size {options.hidden_size}"
        raise ValueError(f"proj_size must be smaller than {limit}, or 0 for none, got {options.proj_size}")
    return dropout, clip


def _check_bands(options: Options) -> None:
    if options.bands > 1 and options.axes < 2:
        cause = f"got bands={options.bands} with axes={options.axes}"
        raise ValueError(f"bands divide the last of two axes or more, not the one that inputs are fed along, {cause}")


def _check_without_axes(options: GridOptions) -> None:
    if options.depth == "none":
        raise ValueError("axes=0 needs a depth: with depth 'none' there is no dimension at all")
    if options.recurrent_dropout:
        raise ValueError(f"recurrent_dropout needs an axis, got {options.recurrent_dropout} with axes=0")


def _check_priority(options: GridOptions) -> None:
    names = [*map(str, range(options.axes)), *(["'depth'"] if options.depth != "none" else [])]
    unknown = [
        dimension for dimension in options.priority if isinstance(dimension, bool) or repr(dimension) not in names
    ]
    if unknown:
        limit = f"axes={options.axes} and depth={options.depth!r} have the dimensions {', '.join(names)}"
        raise ValueError(f"priority {options.priority!r} names {unknown[0]!r}, but {limit}")
    if len(set(options.priority)) < len(options.priority):
        raise ValueError(f"priority {options.priority!r} names a dimension twice")


def _check_lstm_alone(options: GridOptions) -> None:
    for name in ("output_gate", "peepholes", "coupled", "cell_clip", "proj_size"):
        value = getattr(options, name)
        if value not in ("outside", False, None, 0):
            has_lstm_cells(f"{name}={value!r}", options)


def has_lstm_cells(what: str, options: GridOptions) -> None:
    """Whether there are cells for an option that LSTMs alone have.

    Raises:
        ValueError: there are none.
    """
    if options.cell != "lstm" or not options.transforms:
        given = f"cell {options.cell!r}, axes={options.axes} and depth {options.depth!r}"
        raise ValueError(f"{what} needs LSTM cells, got {given}")


def equal_if_tied(sizes: Sequence[int], tied: bool) -> None:
    """Whether the inputs of all layers are of one size, if their weights are the same.

    Raises:
        ValueError: they are not.
    """
    if tied and len(set(sizes)) > 1:
        cause = f"the first layer's input has {sizes[0]} features and the second's {sizes[1]}"
        raise ValueError(f"tied layers must have inputs of equal size, but {cause}")


def input_sizes_fit(sizes: Sequence[int], tied: bool, options: GridOptions) -> None:
    """Whether weights fit the inputs of all layers, whose sizes are given.

    Raises:
        ValueError: tied layers have inputs of different sizes, or the depth hidden, which takes the place of the input
            for dimensions that are computed after it, is of another size than the input.
    """
    equal_if_tied(sizes, tied)
    wrong = [size for size in sizes if size != options.output_size]
    if wrong and options.depth != "none" and options.axes not in options.order[-1]:
        cause = f"it has {options.output_size} features and the input {wrong[0]}"
        raise ValueError(
            f"priority {options.priority!r} computes axis {options.order[-1][0]} after the depth, whose hidden vector "
            f"then takes the place of the layer's input, but {cause}; merge 'sum' or a single direction helps"
        )


def directions(bidirectional: bool | Sequence[bool], axes: int) -> tuple[Direction, ...]:
    """The scans of a layer: both ways along each bidirectional axis, in all combinations.

    >>> directions((False, True), 2)
    ((False, False), (False, True))

    Raises:
        ValueError: `bidirectional` is neither one bool nor one an axis.
    """
    if axes == 0 and bidirectional is True:
        raise ValueError("bidirectional needs an axis, got bidirectional=True with axes=0")
    per_axis = [bidirectional] * axes if isinstance(bidirectional, bool) else bidirectional
    of_bools = isinstance(per_axis, (list, tuple)) and all(isinstance(both, bool) for both in per_axis)
    if not of_bools or len(per_axis) != axes:
        raise ValueError(f"bidirectional must be a bool or a list of {axes} bools, one an axis, got {bidirectional!r}")
    return tuple(itertools.product(*((False, True) if both else (False,) for both in per_axis)))
