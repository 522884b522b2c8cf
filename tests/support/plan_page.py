"""The Plan tab as its browser tests see it: texts to type, and where things are on the page."""

from __future__ import annotations

from playwright.sync_api import Locator, Page, expect

__all__ = ["COMMA", "MANY", "NODES", "begin", "commands", "control", "row", "section", "yaml"]

COMMA = """# as a page of 2025 has it
python -m sglang_router.launch_router --pd-disaggregation \\
  --prefill http://192.168.0.137:30000 8998 \\
  --decode "http://192.168.0.137:30001,http://192.168.0.140:30001" \\
  --host 0.0.0.0 --port 8000
"""
NODES = """python -m sglang.launch_server --model-path Qwen/Qwen2.5-7B-Instruct --disaggregation-mode prefill \\
  --port 30000 --host 192.168.0.137 --tp-size 2
python -m sglang.launch_server --model-path Qwen/Qwen2.5-7B-Instruct --disaggregation-mode decode \\
  --port 30001 --host 192.168.0.140 --tp-size 2
python3 -m sglang_router.launch_router --pd-disaggregation --prefill "http://192.168.0.137:30000" 8998 \\
  --decode "http://192.168.0.140:30001" --policy round_robin --host 0.0.0.0 --port 8000
"""
MANY = """version: 1
name: many
engine: sglang
engine_version: '0.5.23'
model: deepseek-ai/DeepSeek-V3
workers: {tp: 8}
prefill: {count: 2, hosts: [node1, node2]}
decode: {count: 2, hosts: [node3, node4]}
hosts:
  node1: {address: 10.0.0.1, gpus: 8, gpu: H100, nics: [mlx5_0, mlx5_1]}
  node2: {address: 10.0.0.2, gpus: 8, gpu: H100, nics: [mlx5_0, mlx5_1]}
  node3: {address: 10.0.0.3, gpus: 8, gpu: H100, nics: [mlx5_0, mlx5_1]}
  node4: {address: 10.0.0.4, gpus: 8, gpu: H100, nics: [mlx5_0, mlx5_1]}
"""


def yaml(page: Page) -> Locator:
    return page.get_by_test_id("plan-yaml")


def commands(page: Page) -> Locator:
    return page.get_by_test_id("plan-commands")


def row(page: Page, path: str) -> Locator:
    return page.locator(f'[data-path="{path}"]')


def control(page: Page, path: str) -> Locator:
    return row(page, path).locator("input, select, textarea").first


def section(page: Page, name: str) -> None:
    box = page.locator(f'[data-section="{name}"]')
    if box.get_attribute("open") is None:
        box.locator("summary").first.click()


def begin(page: Page) -> Page:
    """Opens the Plan tab with the default deployment."""
    page.get_by_role("tab", name="Plan").click()
    page.get_by_role("button", name="Start over").click()
    expect(commands(page)).to_contain_text("launch_router")
    return page
