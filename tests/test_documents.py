"""The documents that are written from code say what the code says."""

from pathlib import Path

import pytest

from correlator.cli.docs import ROOT, documents


@pytest.mark.parametrize(("path", "text"), [pytest.param(path, text, id=str(path)) for path, text in documents()])
def test_a_generated_document_is_fresh(path: Path, text: str) -> None:
    assert (ROOT / path).read_text() == text, f"{path} is stale: run `make docs`"
