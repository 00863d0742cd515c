"""The report's plots; each returns an <svg> element."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from entrypoints.metrics import Reliability
from scripts.reporting.parts import (
    Counts,
    Floats,
    Losses,
    Missing,
    Rule,
    System,
    Thresholds,
    Training,
    Trial,
)
from scripts.reporting.svg import MUTED, SERIES, WARNING, inline, printable, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

SIZE_IN = (4.8, 2.75)
POINTS = 500  # points of a curve; more are averaged
CORES = 8  # more curves than this are drawn as a band
CELLS = 300  # cells of a side of the confusion matrix; more are added up


def objective(trials: Sequence[Trial], hyperparameter: str, choice: bool, label: str, name: str) -> Markup:
    """All trials' objectives against one hyperparameter, the best one filled.

    Args:
        choice: its values are a list of names, even if they look like numbers.
        label: of the objective.
        name: as in `inline`.
    """
    found = [
        (trial.hyperparameters[hyperparameter].strip('"'), trial.objective)
        for trial in trials
        if trial.objective is not None and hyperparameter in trial.hyperparameters
    ]
    values = [value for _, value in found]
    with style():
        figure, axes = _axes()
        if choice:
            choices = sorted({text for text, _ in found}, key=lambda text: (len(text), text))
            places = [float(choices.index(text)) for text, _ in found]
            axes.set_xticks(range(len(choices)), [printable(text, 14) for text in choices])
            axes.set_xlim(-0.5, len(choices) - 0.5)
        else:
            places = [float(text) for text, _ in found]
        axes.scatter(places, values, s=34, facecolors="none", edgecolors=SERIES[0], linewidths=1.4)
        axes.scatter(places[:1], values[:1], s=46, color=SERIES[1], zorder=3)
        if not choice and min(places) > 0 and max(places) / min(places) > 10:
            axes.set_xscale("log")
            _plain_ticks(axes.xaxis)
        if len(set(values)) == 1:
            axes.set_yticks(values[:1])
        axes.set_xlabel(printable(hyperparameter, 40))
        axes.set_ylabel(label)
        return inline(figure, name, f"{label} of {len(found)} trials against {hyperparameter}")


def loss(training: Training) -> Markup:
    """The training loss by step, the validation loss at each epoch's end, and the steps where rules fired.

    Debugger records some steps; the curve of all steps, from the training's own file, is behind it.
    """
    steps, epochs, losses = training.steps, training.epochs, training.losses
    with style():
        figure, axes = _axes()
        if not isinstance(steps, Missing):
            behind = isinstance(losses, Losses)
            axes.plot(
                *_thinned(steps["step"], steps["loss"]),
                color=MUTED if behind else SERIES[0], linewidth=0.9 if behind else None, label="training",
            )  # fmt: skip
        if isinstance(losses, Losses):
            axes.plot(losses.steps, losses.values, color=SERIES[0], label="training (Debugger)")
        if not isinstance(steps, Missing) and not isinstance(epochs, Missing):
            ends = _epoch_ends(steps, epochs["epoch"])
            axes.plot(ends, epochs["validation_loss"], "o-", ms=4, color=SERIES[1], label="validation")
        curves = axes.get_lines()
        if not isinstance(training.rules, Missing):
            _mark(axes, [rule for rule in training.rules if rule.fired and rule.step is not None])
        _by_step(axes)
        axes.set_ylabel("loss")
        drawn = np.concatenate([np.asarray(line.get_ydata(), np.float64) for line in curves])
        drawn = drawn[np.isfinite(drawn) & (drawn > 0)]
        if len(drawn) and drawn.max() > 10 * np.median(drawn):
            axes.set_yscale("log")
            _plain_ticks(axes.yaxis)
        else:
            axes.set_ylim(bottom=0)
        _legend(axes)
        return inline(figure, "loss", "Training loss by step and validation loss by epoch")


def accuracy(epochs: Mapping[str, Floats], best: int | None) -> Markup:
    """The validation accuracy by epoch; the kept epoch is marked."""
    with style():
        figure, axes = _axes()
        axes.plot(epochs["epoch"], epochs["validation_accuracy"], "o-", ms=4, color=SERIES[1])
        kept = epochs["epoch"] == best
        if kept.any():
            axes.plot(
                epochs["epoch"][kept], epochs["validation_accuracy"][kept], "o", ms=9, color=SERIES[0],
                label=f"epoch {best}, which the model is",
            )  # fmt: skip
            _legend(axes)
        axes.set_xlabel("epoch")
        axes.set_ylabel("validation accuracy")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        _percents(axes.yaxis)
        return inline(figure, "accuracy", "Validation accuracy by epoch")


def learning_rate(steps: Mapping[str, Floats]) -> Markup:
    """The learning rate by step."""
    with style():
        figure, axes = _axes()
        axes.plot(*_thinned(steps["step"], steps["learning_rate"]), color=SERIES[2])
        _by_step(axes)
        axes.set_ylabel("learning rate")
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        return inline(figure, "rate", "Learning rate by step")


def cpu(system: System) -> Markup:
    """Utilisation of each core over time; with many cores, the mean and the band from least to most."""
    with style(), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # an interval in which nothing was measured
        figure, axes = _axes()
        time = _percents_over_time(axes, system)
        cores = len(system.cores)
        if cores <= CORES:
            axes.plot(time, system.cpu.T, color=SERIES[0], linewidth=0.9, alpha=0.45)
        else:
            low, high = np.nanmin(system.cpu, axis=0), np.nanmax(system.cpu, axis=0)
            axes.fill_between(time, low, high, color=SERIES[0], alpha=0.2, linewidth=0, label="least to most")
        axes.plot(time, np.nanmean(system.cpu, axis=0), color=SERIES[0], label=f"mean of {cores} cores")
        for name, values in system.gpu.items():
            axes.plot(time, values, color=SERIES[1], label=printable(name))
        _legend(axes)
        return inline(figure, "cpu", f"CPU utilisation over time, {cores} cores")


def memory(system: System) -> Markup:
    """The instance's memory in use over time."""
    with style():
        figure, axes = _axes()
        time = _percents_over_time(axes, system)
        axes.plot(time, system.memory, color=SERIES[2])
        axes.fill_between(time, 0, system.memory, color=SERIES[2], alpha=0.15, linewidth=0)
        return inline(figure, "memory", "Memory in use over time")


def confusion(matrix: Counts, classes: Sequence[str]) -> Markup:
    """The confusion matrix of many classes as a heat map, each row scaled to its number of pictures."""
    size = -(-len(classes) // CELLS)
    sums = np.add.reduceat(np.add.reduceat(matrix, np.arange(0, len(classes), size), 0),
                           np.arange(0, len(classes), size), 1)  # fmt: skip
    shares = sums / np.maximum(1, sums.sum(axis=1, keepdims=True))
    # The square root makes rare confusions visible next to the diagonal.
    pixels = np.zeros((*shares.shape, 4))
    with style():
        figure, axes = _axes((4.8, 4.6))
        axes.grid(False)
        side = len(shares)
        wrong = ~np.eye(side, dtype=bool)
        pixels[..., :3] = (0.17, 0.42, 0.70)
        pixels[wrong, :3] = (0.85, 0.40, 0.13)
        pixels[..., 3] = np.sqrt(shares)
        axes.imshow(pixels, interpolation="none", extent=(0, len(classes), len(classes), 0), aspect="auto")
        places = np.unique(np.linspace(0, len(classes) - 1, min(len(classes), 20)).astype(int))
        labels = [printable(classes[place], 12) for place in places]
        axes.set_xticks(places + 0.5, labels, rotation=90)
        axes.set_yticks(places + 0.5, labels)
        axes.tick_params(labelsize=7, length=0)
        axes.set_xlabel("predicted")
        axes.set_ylabel("actual")
        return inline(figure, "confusion", f"Confusion matrix of {len(classes)} classes as a heat map")


def reliability(calibration: Reliability) -> Markup:
    """Share of right predictions by their probability; a perfectly calibrated model is on the diagonal."""
    width = calibration.edges[1]
    middles = calibration.edges[:-1] + width / 2
    with style():
        figure, axes = _axes((4.8, 3.3))
        axes.plot([0, 1], [0, 1], "--", color=MUTED, linewidth=1, label="as sure as right")
        bars = np.nan_to_num(calibration.accuracy)
        axes.bar(middles, bars, width * 0.9, color=SERIES[0], alpha=0.75, label="right")
        for middle, count, bar in zip(middles, calibration.counts, bars, strict=True):
            if count:
                axes.annotate(f"{count:,}", (middle, bar), (0, 4), textcoords="offset points",
                              ha="center", fontsize=7.5, color=MUTED)  # fmt: skip
        axes.set(
            xlim=(0, 1), ylim=(0, 1.08), xlabel="probability of the predicted class", ylabel="share right"
        )
        _percents(axes.xaxis)
        _percents(axes.yaxis)
        axes.set_yticks(np.linspace(0, 1, 6))
        _legend(axes)
        return inline(figure, "reliability", "Share of right predictions by the model's own probability")


def thresholds(found: Thresholds) -> Markup:
    """By threshold of confidence: accuracy of the answers that reach it, and their share of the pictures."""
    with style():
        figure, axes = _axes((4.8, 3.3))
        axes.plot(found.thresholds, found.accuracies, color=SERIES[0], label="right of the answers")
        axes.plot(found.thresholds, found.shares, color=SERIES[1], label="pictures with an answer")
        axes.set(xlim=(0, 1), ylim=(0, 1.04), xlabel="least probability of an answer", ylabel="share")
        _percents(axes.xaxis)
        _percents(axes.yaxis)
        axes.set_yticks(np.linspace(0, 1, 6))
        _legend(axes)
        return inline(figure, "thresholds", "Accuracy and share of the answers by a threshold of confidence")


def _axes(size_in: tuple[float, float] = SIZE_IN) -> tuple[Figure, Axes]:
    figure = Figure(figsize=size_in, layout="constrained")
    return figure, figure.add_subplot()


def _legend(axes: Axes) -> None:
    """A legend above the axes, where it hides no curve and no finding."""
    labels = axes.get_legend_handles_labels()[1]
    if labels:
        axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1), ncols=min(3, len(labels)), columnspacing=1.2)


def _by_step(axes: Axes) -> None:
    axes.set_xlabel("step")
    axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))


def _percents(axis: Axis) -> None:
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.3g} %"))


def _percents_over_time(axes: Axes, system: System) -> Floats:
    """Axes for percents over time; the times in the unit of the horizontal one."""
    axes.set_ylim(0, 105)
    axes.set_yticks(range(0, 101, 25))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} %"))
    last = system.seconds[-1]
    unit_s, unit = (1, "seconds") if last < 300 else (60, "minutes") if last < 3 * 3600 else (3600, "hours")
    axes.set_xlabel(unit)
    return system.seconds / unit_s


def _plain_ticks(axis: Axis) -> None:
    axis.set_minor_locator(NullLocator())
    low, high = axis.get_data_interval()
    axis.set_major_locator(LogLocator(subs=(1, 3) if high > 100 * low else (1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _mark(axes: Axes, rules: Sequence[Rule]) -> None:
    middle = sum(axes.get_xlim()) / 2
    for place, rule in enumerate(rules):
        assert rule.step is not None
        axes.axvline(rule.step, color=WARNING, linewidth=1, linestyle=(0, (3, 2)))
        side, shift = ("left", 4) if rule.step < middle else ("right", -4)
        axes.annotate(printable(rule.name), (rule.step, 0.97 - 0.08 * (place % 6)), (shift, 0),
                      xycoords=("data", "axes fraction"), textcoords="offset points",
                      color=WARNING, fontsize=8.5, va="top", ha=side)  # fmt: skip


def _thinned(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """A curve of at most POINTS points, each a mean of neighbors."""
    if len(x) <= POINTS:
        return x, y
    parts = [(np.mean(a), np.mean(b)) for a, b in
             zip(np.array_split(x, POINTS), np.array_split(y, POINTS), strict=True)]  # fmt: skip
    return np.array([a for a, _ in parts]), np.array([b for _, b in parts])


def _epoch_ends(steps: Mapping[str, Floats], epochs: Floats) -> Floats:
    """The last step of each epoch."""
    return np.array([steps["step"][steps["epoch"] <= epoch].max(initial=0) for epoch in epochs])
