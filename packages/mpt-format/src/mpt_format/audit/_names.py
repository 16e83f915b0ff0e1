"""Python 2 names to Python 3 names, as every unpickler translates them before importing.

Refuses nothing; a name that is in no table is returned as it is.

Source: CPython `Lib/_compat_pickle.py`; torch ships the same two tables in `torch/_utils.py`.
"""

from __future__ import annotations

__all__ = ["python3_name"]

from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING


def python3_name(module: str, name: str) -> tuple[str, str]:
    """The name that Python 3 imports for a module and name that a Python 2 pickle spells."""
    pair = NAME_MAPPING.get((module, name))
    if pair is not None:
        return pair
    return IMPORT_MAPPING.get(module, module), name
