"""The cell's output: a frame with the panel, or a link and why there is no frame. Pure: HTML out.

What only the browser knows decides there: under which name the notebook's page was opened, and whether the panel's
cookie, which is kept from pages of other sites, would come through. The keys in the addresses work once.
"""

from __future__ import annotations

import html
import json
from collections.abc import Sequence

__all__ = ["frame_html"]

_TEMPLATE = """<div id="{id}" style="font:13px/1.5 system-ui,sans-serif">
<p style="margin:0 0 4px"><a data-part="link" href="{link}" target="_blank" rel="noopener noreferrer">Open the panel \
in a tab</a> <span data-part="note">{note}</span></p>
</div>
<script>
(() => {{
  const box = document.getElementById({id_json});
  const part = (name) => box.querySelector(`[data-part="${{name}}"]`);
  const loopback = ["localhost", "127.0.0.1"];
  // A cookie belongs to one name of the host: the one in the address bar.
  const here = window.location;
  const at = (text) => {{
    const address = new URL(text);
    if (loopback.includes(address.hostname) && loopback.includes(here.hostname)) address.hostname = here.hostname;
    return address;
  }};
  const target = at({frame_json});
  part("link").href = at({link_json}).href;
  const say = (text) => {{
    part("note").textContent = text;
  }};
  if (!here.protocol.startsWith("http")) {{
    say("This notebook's page cannot hold the panel; the link opens it in your browser.");
    return;
  }}
  if (!{frames_json}.includes(here.origin)) {{
    say(`The panel does not know this page: launch(origin="${{here.origin}}") shows it here.`);
    return;
  }}
  if (target.protocol !== here.protocol || target.hostname !== here.hostname) {{
    say("The panel is another site than this page, so the browser would not sign it in here; the link does.");
    return;
  }}
  const frame = document.createElement("iframe");
  frame.title = "pdpanel";
  frame.allow = "clipboard-write; fullscreen";
  frame.style.cssText = "width:100%;border:1px solid #8886;height:{height}px";
  frame.src = target.href;
  box.append(frame);
}})();
</script>"""


def _in_script(value: object) -> str:
    """Returns JSON that ends no script."""
    return json.dumps(value).replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def frame_html(
    name: str, frame_url: str, link_url: str, frames: Sequence[str], *, height: int = 720, note: str = ""
) -> str:
    """Returns the output of the cell.

    Args:
        name: an id that no other output of the page has.
        frame_url: the panel's address for the frame, with a key of its own.
        link_url: the same for the link.
        frames: origins of pages that the panel lets show it.
        height: of the frame, pixels.
        note: a sentence beside the link.
    """
    return _TEMPLATE.format(
        id=html.escape(name),
        id_json=_in_script(name),
        frame_json=_in_script(frame_url),
        link=html.escape(link_url),
        link_json=_in_script(link_url),
        frames_json=_in_script(list(frames)),
        height=int(height),
        note=html.escape(note),
    )
