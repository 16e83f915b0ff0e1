"""A store with every released wheel of the zoo."""

from __future__ import annotations

from pathlib import Path

import pytest
from app_loader import Store

WHEELHOUSE = Path(__file__).resolve().parents[2] / "wheelhouse"


@pytest.fixture(scope="package")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(tmp_path_factory.mktemp("museum") / "store")
    for wheel in sorted(WHEELHOUSE.glob("model_zoo-*.whl")):
        store.add([wheel])
    return store
