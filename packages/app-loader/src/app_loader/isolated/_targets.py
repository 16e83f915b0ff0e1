"""Which shared modules isolated code sees through a shim, and which attributes of shared modules are redirected.

A shim stands for a whole module: the import statement is rewritten to fetch it. A redirect stands for one attribute
of a module that otherwise stays the shared one, as `sys.modules` of `sys` or `torch.ops` of `torch`.
"""

from __future__ import annotations

WHOLE = frozenset(
    {
        "builtins",
        "cloudpickle",
        "importlib",
        "importlib.machinery",
        "importlib.metadata",
        "importlib.resources",
        "importlib.util",
        "importlib_metadata",
        "importlib_resources",
        "pickle",
        "pkg_resources",
        "pkgutil",
        "pydoc",
    }
)
"""Modules replaced wholly: they look names up, so they must know whose names."""

WHOLE_ROOTS = frozenset(name.partition(".")[0] for name in WHOLE)

ATTRIBUTES: dict[str, str] = {
    "logging.config.DictConfigurator": "logging.config",
    "logging.config.dictConfig": "logging.config",
    "sys.meta_path": "sys",
    "sys.modules": "sys",
    "sys.path": "sys",
    "torch.library": "torch",
    "torch.ops": "torch",
    "torch.load": "torch",
    "torch.export.register_dataclass": "torch.export",
    "torch.utils._pytree.register_pytree_node": "torch.utils._pytree",
    "torch.utils._pytree._register_pytree_node": "torch.utils._pytree",
    "torch.utils._pytree.register_constant": "torch.utils._pytree",
    "torch.utils._pytree.register_dataclass": "torch.utils._pytree",
    "torch.utils.data.functional_datapipe": "torch.utils.data",
    "torch.utils.data.datapipes._decorator.functional_datapipe": "torch.utils.data.datapipes._decorator",
    "gymnasium.register": "gymnasium",
    "gymnasium.make": "gymnasium",
    "gymnasium.make_vec": "gymnasium",
    "gymnasium.spec": "gymnasium",
    "gymnasium.envs.registration.register": "gymnasium.envs.registration",
    "gymnasium.envs.registration.make": "gymnasium.envs.registration",
    "gymnasium.envs.registration.spec": "gymnasium.envs.registration",
}
"""Attributes replaced one by one, each with the shim that defines it."""

REWRITER_VERSION = 11
"""Part of the bytecode's key: raise it with every change of what the rewriter or these tables produce."""


HELPER_MARK = b"__mpt_"
"""How every name begins that rewritten code takes from the unit's builtins."""


def helper_name(dotted: str) -> str:
    """Return the name under which isolated code reaches a redirected attribute."""
    return f"__mpt_{dotted.replace('.', '_dot_')}__"
