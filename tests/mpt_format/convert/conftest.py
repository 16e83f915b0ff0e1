"""A zoo that somebody wrote for policies of other libraries, packed into a wheel, and a store that has it."""

from __future__ import annotations

from pathlib import Path

import pytest
from app_loader.store import Store

from tests.app_loader.conftest import MakeWheel, make_wheel, store

__all__ = ["foreign_store", "foreign_wheel", "make_wheel", "store"]

ASSETS = Path(__file__).parent / "assets"
_ENTRY_POINTS = """[policy_interface.architectures]
foreign_cloned = foreign_zoo.cloned:ClonedArchitecture
foreign_latent_tokens = foreign_zoo.latent_tokens:LatentTokensArchitecture
"""


@pytest.fixture(scope="session")
def foreign_wheel(make_wheel: MakeWheel) -> Path:
    """The wheel of `assets/foreign_zoo`."""
    files = {f"foreign_zoo/{path.name}": path.read_text() for path in (ASSETS / "foreign_zoo").glob("*.py")}
    return make_wheel("foreign-zoo", "1.0", files, requires=("policy-interface>=1",), entry_points=_ENTRY_POINTS)


@pytest.fixture
def foreign_store(store: Store, foreign_wheel: Path) -> Store:
    """A store that holds that wheel."""
    store.add([foreign_wheel])
    return store
