"""A zoo with a history, stored, and a checkpoint of its first release."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "migration"))
sys.path.insert(0, str(Path(__file__).parent))

from history_zoo import Zoo, make_zoo


@pytest.fixture
def zoo(tmp_path: Path) -> Zoo:
    """Releases 0.1.0, 0.2.0 and 0.3.0; the last one carries the revisions."""
    return make_zoo(tmp_path)
