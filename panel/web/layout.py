"""The page as Gradio builds it: the tabs, the Deploy form, and empty islands that `static/*.js` fills.

No event of this page runs Python: the form calls our own REST routes from the browser, so that everything
that acts passes through one small, named set of routes.
"""

from __future__ import annotations

import html
import json

import gradio as gr

from .port import Choices

__all__ = ["HEAD", "build_blocks"]

# Relative to the page, which may live below a prefix.
_STATIC = "./static-pdpanel"

HEAD = "\n".join(
    [
        f'<link rel="icon" href="{_STATIC}/mark.svg" type="image/svg+xml">',
        # Without its cookie nobody gets the file.
        '<link rel="manifest" href="./manifest.webmanifest" crossorigin="use-credentials">',
        f'<link rel="stylesheet" href="{_STATIC}/uPlot.min.css">',
        f'<link rel="stylesheet" href="{_STATIC}/pdpanel.css">',
        f'<link rel="stylesheet" href="{_STATIC}/shell.css">',
        f'<link rel="stylesheet" href="{_STATIC}/hardware.css">',
        f'<link rel="stylesheet" href="{_STATIC}/plan.css">',
        f'<link rel="stylesheet" href="{_STATIC}/observe.css">',
        f'<link rel="stylesheet" href="{_STATIC}/proof.css">',
        f'<link rel="stylesheet" href="{_STATIC}/verdict.css">',
        f'<link rel="stylesheet" href="{_STATIC}/logs.css">',
        f'<link rel="stylesheet" href="{_STATIC}/attach.css">',
        f'<link rel="stylesheet" href="{_STATIC}/bench.css">',
        f'<link rel="stylesheet" href="{_STATIC}/simulate.css">',
        f'<link rel="stylesheet" href="{_STATIC}/scale.css">',
        f'<link rel="stylesheet" href="{_STATIC}/ranks.css">',
        f'<link rel="stylesheet" href="{_STATIC}/profile.css">',
        f'<link rel="stylesheet" href="{_STATIC}/dialogs.css">',
        f'<script src="{_STATIC}/uPlot.iife.min.js"></script>',
        f'<script type="module" src="{_STATIC}/main.js"></script>',
    ]
)

_DEPLOY = "(...values) => { window.pdpanel.deploy(...values); }"
_CHANGED = "(...values) => { window.pdpanel?.formChanged?.(...values); }"
_APPLY = "(...values) => window.pdpanel.applyFix(...values)"


def _island(name: str, values: str = "") -> gr.HTML:
    given = f' data-values="{values}"' if values else ""
    return gr.HTML(
        f'<div class="pd-island" data-island="{name}"{given}></div>',
        apply_default_css=False,
        js_on_load=None,
        elem_id=f"pd-{name}",
    )


def _deploy_form(choices: Choices) -> None:
    mode = gr.Radio(
        [("Prefill and decode apart", "pd"), ("Unified", "unified")],
        value="pd",
        label="Mode",
        info="A unified worker does both: the yardstick for PD.",
        elem_id="pd-mode",
    )
    model = gr.Dropdown(
        list(choices.models),
        value=choices.models[0],
        allow_custom_value=True,
        label="Model",
        info="A name of the list, a folder, a .gguf file or a Hub id.",
        elem_id="pd-model",
    )
    with gr.Row(elem_id="pd-counts"):
        prefill, decode = (
            gr.Number(
                1,
                label=f"{role} workers",
                minimum=1,
                maximum=choices.most_workers,
                step=1,
                precision=0,
                min_width=120,
                elem_id=f"pd-{role.lower()}-count",
            )
            for role in ("Prefill", "Decode")
        )
    unified = gr.Number(
        1,
        label="Unified workers",
        minimum=1,
        maximum=choices.most_workers,
        step=1,
        precision=0,
        elem_id="pd-unified-count",
    )
    transport = gr.Dropdown(
        list(choices.transports),
        value=choices.transports[0],
        label="Transport",
        info="What carries the KV cache from prefill to decode.",
        elem_id="pd-transport",
    )
    first = ["pd", choices.models[0], 1, 1, choices.transports[0], 1]
    _island("check", html.escape(json.dumps(first)))
    button = gr.Button("Deploy", variant="primary", elem_id="deploy-button")
    _island("deploy")
    _island("attach")
    values = [mode, model, prefill, decode, transport, unified]
    for field in values:
        field.change(None, values, None, js=_CHANGED, api_visibility="private")
    # A fix changes the form through Gradio, which alone knows how: this button is pressed by the page.
    apply = gr.Button("Apply", elem_id="pd-apply-fix")
    apply.click(None, values, values, js=_APPLY, api_visibility="private")
    button.click(None, values, None, js=_DEPLOY, api_visibility="private")


def build_blocks(choices: Choices) -> gr.Blocks:
    """Returns the page; `choices` fills the Deploy form."""
    with gr.Blocks(title="pdpanel", analytics_enabled=False, fill_width=True) as blocks:
        _island("header")
        _island("guide")
        _island("simulate")
        with gr.Tabs(elem_id="pd-tabs", overflow_behavior="wrap", selected="deploy"):
            with gr.Tab("Deploy", id="deploy", elem_id="pd-tab-deploy"), gr.Row():
                with gr.Column(scale=1, min_width=300, elem_id="pd-form"):
                    _deploy_form(choices)
                with gr.Column(scale=3, min_width=320):
                    _island("runs")
                    _island("history")
            with gr.Tab("Try it", id="tryit", elem_id="pd-tab-tryit"):
                _island("tryit")
            with gr.Tab("Observe", id="observe", elem_id="pd-tab-observe"):
                _island("verdict")
                _island("observe")
                _island("proof")
            with gr.Tab("Benchmark", id="bench", elem_id="pd-tab-bench"):
                _island("bench")
            with gr.Tab("Logs", id="logs", elem_id="pd-tab-logs"):
                _island("logs")
            with gr.Tab("Hardware", id="hardware", elem_id="pd-tab-hardware"):
                _island("hardware")
            with gr.Tab("Plan", id="plan", elem_id="pd-tab-plan"):
                _island("plan")
            with gr.Tab("Export", id="export", elem_id="pd-tab-export"):
                _island("export")
    return blocks
