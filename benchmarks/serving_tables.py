"""Tables of serving.py's figures."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.table import Table

NAMES = {
    "uvicorn": "here, uvicorn",
    "ray": "here, Ray Serve",
    "torchserve": "TorchServe, SageMaker's handler",
    "torchserve-tuned": "the same, a worker of 1 thread per core",
    "ray-example": "AWS's example, Ray Serve",
    "ray-example-tuned": "the same, a replica per core",
    "counting": "counts bytes only",
}


def tables(figures: dict[str, Any]) -> Iterator[Table]:
    """The servers, then the figures with their goals."""
    columns = sorted({n for server in figures["servers"].values() for n in server["clients"]})
    servers = Table("server", "healthy", title="requests/s (p50 / p99 ms) by clients")
    for n in columns:
        servers.add_column(str(n), justify="right")
    servers.add_column("503", justify="right")
    servers.add_column("errors", justify="right")
    for name, server in figures["servers"].items():
        loads = server["clients"]
        engine = f" ({server['engine']})" if server["engine"] else ""
        servers.add_row(
            NAMES[name] + engine,
            f"{server['start_s']:.1f} s",
            *(load_cell(loads[n]) if n in loads else "" for n in columns),
            str(sum(load["rejected"] for load in loads.values())),
            str(sum(load["errors"] for load in loads.values())),
        )
    for name, reason in figures["skipped"].items():
        servers.add_row(NAMES[name], f"left out: {reason.splitlines()[0]}")
    yield servers
    yield goals(figures)


def load_cell(load: dict[str, Any]) -> str:
    if load["p50_ms"] is None:
        return "none answered"
    return f"{load['requests_per_s']:.0f} ({load['p50_ms']:.1f} / {load['p99_ms']:.1f})"


def goals(figures: dict[str, Any]) -> Table:
    result = Table("what", "measured", "goal")

    def add(what: str, value: float | None, form: str, goal: str) -> None:
        result.add_row(what, "not measured" if value is None else form.format(value), goal)

    alone = figures["alone"]
    add("over tuned TorchServe, 16 clients", figures["ratio_vs_torchserve_16"], "{:.2f}", "5")
    add("p99 at 16 clients", figures.get("p99_ms_16"), "{:.1f} ms", "under 100 ms")
    add("p99 at 1 client", figures.get("p99_ms_1"), "{:.1f} ms", "under 11 ms")
    add("errors and 503", figures.get("errors"), "{}", "0")
    add("first healthy ping", figures.get("start_s"), "{:.1f} s", "under 5 s")
    allowed = f"share of decoding and model alone, {alone['images_per_s']:.0f} images/s"
    add(allowed, figures["fraction_of_limit"], "{:.0%}", "85 %")
    floor_ms = f"{alone['floor_ms']:.2f} ms" if "floor_ms" in alone else "unknown without VNNI"
    floor = f"model, {alone['model_ms']:.2f} ms, of the int8 floor, {floor_ms}"
    add(floor, figures["fraction_of_floor"], "{:.0%}", "80 %")
    add("under Ray Serve, over AWS's example", figures["ratio_ray_vs_example_16"], "{:.2f}", "3")
    add("the same, a replica per core", figures["ratio_ray_vs_tuned_example_16"], "{:.2f}", "")
    if overload := figures.get("overload"):
        what = f"{overload['sent_per_s']:.0f} requests/s sent"
        add(f"{what}: answered", overload["requests_per_s"], "{:.0f}/s", "")
        add(
            f"{what}: p99 of the answered",
            overload["p99_ms"],
            "{:.1f} ms",
            "that of a full queue: as at 64 clients",
        )
        add(f"{what}: 503", overload["rejected"], "{}", "the rest")
        add(f"{what}: errors", overload["errors"], "{}", "0")
    if soak := figures.get("soak"):
        what = f"{soak['minutes']:g} minutes, {soak['answered']:,} answers"
        add(f"{what}: errors and 503", soak["errors"], "{}", "0")
        add(
            f"{what}: growth of {soak['memory_mib'][0]:.0f} MiB",
            soak["memory_growth"],
            "{:+.1%}",
            "under 5 %",
        )
    return result
