"""Runs vLLM's benchmark client as `vllm bench serve` does, without the other commands of vLLM's command line."""

from __future__ import annotations

import asyncio

from vllm.benchmarks.serve import add_cli_args, main_async  # pyright: ignore[reportMissingImports]
from vllm.utils.argparse_utils import FlexibleArgumentParser  # pyright: ignore[reportMissingImports]

if __name__ == "__main__":
    parser = FlexibleArgumentParser(prog="vllm bench serve")
    add_cli_args(parser)
    asyncio.run(main_async(parser.parse_args()))
