"""The arguments of `pdpanel plan`. `panel.cli_planning` registers it; slow imports wait until it is called."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["plan_command"]

_SUGGEST = "With --suggest"
_DEVICE = "With --suggest: the device"
_LINKS = "With --suggest: the NICs"


def plan_command(
    deployment: Annotated[
        Path | None, typer.Argument(metavar="DEPLOYMENT.yaml", show_default=False, help="A deployment file.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    prompt: Annotated[int | None, typer.Option(metavar="TOKENS", help="Tokens of a prompt.")] = None,
    output: Annotated[int | None, typer.Option(metavar="TOKENS", help="Tokens of an answer.")] = None,
    rate: Annotated[float | None, typer.Option(metavar="RATE", help="Requests per second.")] = None,
    config: Annotated[
        str | None, typer.Option(metavar="PATH", help="The model's config.json, when the deployment names a Hub id.")
    ] = None,
    suggest: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="Rank splits for this model: a folder with config.json, or a .gguf file."),
    ] = None,
    gpus: Annotated[int | None, typer.Option(metavar="N", help="GPUs to share out.", rich_help_panel=_SUGGEST)] = None,
    tp: Annotated[
        str | None, typer.Option(metavar="SIZES", help="Sizes of a worker, such as 1,2,4.", rich_help_panel=_SUGGEST)
    ] = None,
    ttft: Annotated[
        float | None, typer.Option(metavar="MS", help="Time to the first token to keep.", rich_help_panel=_SUGGEST)
    ] = None,
    itl: Annotated[
        float | None, typer.Option(metavar="MS", help="Time between tokens to keep.", rich_help_panel=_SUGGEST)
    ] = None,
    quantization: Annotated[
        str | None, typer.Option(metavar="FORMAT", help="Of the weights, such as fp8.", rich_help_panel=_SUGGEST)
    ] = None,
    kv_dtype: Annotated[
        str, typer.Option("--kv-cache-dtype", metavar="DTYPE", help="Of the KV cache.", rich_help_panel=_SUGGEST)
    ] = "bf16",
    top: Annotated[int, typer.Option(metavar="N", help="Splits to show.", rich_help_panel=_SUGGEST)] = 8,
    gpu: Annotated[
        str | None, typer.Option(metavar="NAME", help="Such as h100, or cpu.", rich_help_panel=_DEVICE)
    ] = None,
    measured: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Measured speeds as JSON, or bundled.", rich_help_panel=_DEVICE),
    ] = None,
    mem_fraction: Annotated[
        float, typer.Option(metavar="SHARE", help="Of its memory, for the engine.", rich_help_panel=_DEVICE)
    ] = 0.9,
    cores: Annotated[
        int | None,
        typer.Option(metavar="N", help="With speeds of one core: cores to share.", rich_help_panel=_DEVICE),
    ] = None,
    tflops: Annotated[
        float | None, typer.Option(metavar="N", help="Dense 16-bit peak.", rich_help_panel=_DEVICE)
    ] = None,
    memory_gbps: Annotated[
        float | None, typer.Option(metavar="GB/s", help="Speed of its memory.", rich_help_panel=_DEVICE)
    ] = None,
    memory_gib: Annotated[
        float | None, typer.Option(metavar="GiB", help="Its memory.", rich_help_panel=_DEVICE)
    ] = None,
    link_gbps: Annotated[
        float, typer.Option(metavar="GB/s", help="To the GPUs of its node.", rich_help_panel=_DEVICE)
    ] = 32.0,
    nic_gbps: Annotated[
        float | None,
        typer.Option(metavar="Gb/s", help="Line rate of a GPU's NIC; 0 leaves it out.", rich_help_panel=_LINKS),
    ] = None,
    transport: Annotated[str, typer.Option(metavar="NAME", help="rdma or tcp.", rich_help_panel=_LINKS)] = "rdma",
    nic_efficiency: Annotated[
        float | None, typer.Option(metavar="SHARE", help="Of the line rate.", rich_help_panel=_LINKS)
    ] = None,
) -> None:
    """Print who runs where and what fits, or rank splits into prefill and decode workers."""
    from ..engine.errors import ConfigError

    if (deployment is None) == (suggest is None):
        remedy = "name a deployment file, or a model with --suggest"
        problem = "goes with no deployment file" if suggest else "is missing"
        raise ConfigError("--suggest" if suggest else "DEPLOYMENT.yaml", suggest, problem, remedy)
    if deployment is not None:
        from . import cli_plan

        cli_plan.show_plan(deployment, cli_plan.LoadOptions(prompt, output, rate, config), as_json=as_json)
        return
    from . import cli_sizing
    from .sizing.split import Load

    assert suggest is not None
    for flag, value in (("--prompt", prompt), ("--output", output), ("--gpus", gpus)):
        if value is None:
            raise ConfigError(flag, None, "is missing", "give --prompt, --output and --gpus with --suggest")
    cli_sizing.suggest(
        suggest,
        gpus or 0,
        Load(prompt or 0, output or 0, rate, ttft, itl),
        cli_sizing.DeviceOptions(gpu, tflops, memory_gbps, memory_gib, link_gbps, measured, mem_fraction, cores),
        cli_sizing.LinkOptions(nic_gbps, transport, nic_efficiency),
        tp=tp,
        quantization=quantization,
        kv_dtype=kv_dtype,
        keep=top,
        as_json=as_json,
    )
