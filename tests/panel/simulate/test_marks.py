from __future__ import annotations

import json

import pytest
from pdpanel.panel.export.exported import ExportedFile
from pdpanel.panel.simulate.marks import marked_files, marked_text

TOLD = "SIMULATED host x."


@pytest.mark.parametrize(
    ("path", "text", "marked"),
    [
        ("run.sh", "#!/bin/sh\nls\n", "#!/bin/sh\n# SIMULATED host x.\nls\n"),
        ("a/pod.yaml", "kind: Pod\n", "# SIMULATED host x.\nkind: Pod\n"),
        ("x.env", "", "# SIMULATED host x.\n"),
        ("README.md", "# Title\n", "> SIMULATED host x.\n\n# Title\n"),
        ("mooncake.json", "{}\n", "{}\n"),
    ],
)
def test_a_mark_is_a_comment_of_the_language(path: str, text: str, marked: str) -> None:
    assert marked_text(path, text, TOLD) == marked


def test_files_keep_their_names_and_json_stays_json() -> None:
    files = (ExportedFile("run.sh", "#!/bin/sh\n", True), ExportedFile("a.ipynb", '{"cells": []}'))
    shell, notebook = marked_files(files, TOLD)
    assert (shell.path, shell.executable, TOLD in shell.text) == ("run.sh", True, True)
    assert json.loads(notebook.text) == {"cells": []}
