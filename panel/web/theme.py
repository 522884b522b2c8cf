"""Gradio's theme for the panel: slate and blue, IBM Plex from Gradio's own wheel, nothing from another host.

Only weights 400 and 700: the bundled semi-bold files lack most letters, so a text in 600 would mix two fonts.
"""

from __future__ import annotations

from gradio.themes import Base
from gradio.themes.utils.fonts import LocalFont

__all__ = ["panel_theme"]

_WEIGHTS = (400, 700)


def panel_theme() -> Base:
    """Returns the theme; the rest of the look is `static/pdpanel.css`."""
    return Base(
        primary_hue="blue",
        neutral_hue="slate",
        radius_size="sm",
        font=[LocalFont("IBM Plex Sans", _WEIGHTS), "system-ui", "sans-serif"],
        font_mono=[LocalFont("IBM Plex Mono", _WEIGHTS), "ui-monospace", "monospace"],
    ).set(
        body_text_color="#131a24",
        body_text_color_dark="#e8edf4",
        body_text_color_subdued="#4c5768",
        body_text_color_subdued_dark="#a9b4c4",
        color_accent="#1d4ed8",
        block_label_text_weight="400",
        block_title_text_weight="700",
        block_title_text_color="#131a24",
        block_title_text_color_dark="#e8edf4",
        block_info_text_color="#4c5768",
        block_info_text_color_dark="#a9b4c4",
        button_large_text_weight="700",
        button_medium_text_weight="700",
        checkbox_label_text_weight="400",
        input_border_color="#868f9c",
        input_border_color_dark="#64748b",
        input_background_fill="#ffffff",
        input_background_fill_dark="#131a25",
        input_placeholder_color="#5b6676",
        input_placeholder_color_dark="#a9b4c4",
    )
