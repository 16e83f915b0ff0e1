"""Globals whose meaning is known: which kind of object a name makes, and which names run or reach code.

Three tables. The first says what torch's allow-list refuses but a person can write differently; the second names what
executes, imports, opens or reaches attributes by name; the third names frameworks. What is in no table is unknown and
needs a decision: the tables grade a refusal, they never turn one into an acceptance.
"""

from __future__ import annotations

__all__ = [
    "find_framework",
    "find_kind",
    "is_class_like",
    "is_code_carrier",
    "is_exception",
    "is_executing",
    "is_stdlib",
    "sounds_executing",
]

import re
import sys
from functools import cache

from ._tables import read_table

_KINDS = {
    "datetime.datetime": "datetime",
    "datetime.date": "date",
    "datetime.time": "time",
    "datetime.timedelta": "timedelta",
    "datetime.timezone": "timezone",
    "zoneinfo.ZoneInfo": "timezone",
    "zoneinfo.ZoneInfo._unpickle": "timezone",
    "pytz._UTC": "timezone",
    "pytz._p": "timezone",
    "dateutil.tz.tz.tzutc": "timezone",
    "collections.deque": "deque",
    "collections.defaultdict": "defaultdict",
    "collections.OrderedDict": "OrderedDict",
    "collections.Counter": "Counter",
    "collections.ChainMap": "object",
    "collections.UserDict": "object",
    "collections.UserList": "object",
    "builtins.frozenset": "frozenset",
    "builtins.set": "set",
    "builtins.list": "list",
    "builtins.dict": "dict",
    "builtins.tuple": "tuple",
    "builtins.str": "str",
    "builtins.int": "int",
    "builtins.float": "float",
    "builtins.bool": "bool",
    "builtins.bytes": "bytes",
    "builtins.bytearray": "bytearray",
    "builtins.complex": "complex",
    "builtins.object": "object",
    "builtins.slice": "slice",
    "builtins.range": "range",
    "builtins.Ellipsis": "ellipsis",
    "builtins.NotImplemented": "singleton",
    "builtins.iter": "iterator",
    "builtins.enumerate": "iterator",
    "builtins.zip": "iterator",
    "builtins.reversed": "iterator",
    "itertools.count": "iterator",
    "itertools.cycle": "iterator",
    "itertools.chain": "iterator",
    "itertools.repeat": "iterator",
    "types.SimpleNamespace": "Namespace",
    "inspect.Parameter": "object",
    "inspect.Signature": "object",
    "inspect._ParameterKind": "enum",
    "inspect._empty": "class",
    "types.MappingProxyType": "dict",
    "argparse.Namespace": "Namespace",
    "decimal.Decimal": "Decimal",
    "fractions.Fraction": "Fraction",
    "uuid.UUID": "UUID",
    "uuid.SafeUUID": "enum",
    "functools.partial": "partial",
    "re._compile": "regex",
    "re.compile": "regex",
    "logging.getLogger": "logger",
    "random.Random": "random state",
    "copyreg._reconstructor": "object",
    "copyreg.__newobj__": "object",
    "copyreg.__newobj_ex__": "object",
    "numpy.ndarray": "numpy array",
    "numpy.dtype": "numpy dtype",
    "numpy.core.multiarray._reconstruct": "numpy array",
    "numpy._core.multiarray._reconstruct": "numpy array",
    "numpy.core.numeric._frombuffer": "numpy array",
    "numpy._core.numeric._frombuffer": "numpy array",
    "numpy.core.multiarray.scalar": "numpy scalar",
    "numpy._core.multiarray.scalar": "numpy scalar",
    "numpy.ma.core._mareconstruct": "numpy array",
    "numpy.random._pickle.__randomstate_ctor": "random state",
    "numpy.random._pickle.__generator_ctor": "random state",
    "numpy.random._pickle.__bit_generator_ctor": "random state",
    "pandas.DataFrame": "table",
    "pandas.core.frame.DataFrame": "table",
    "pandas.Series": "table",
    "pandas.core.series.Series": "table",
    "pandas.Index": "table",
    "pandas.RangeIndex": "table",
    "pandas.StringDtype": "table",
    "pandas.CategoricalDtype": "table",
    "pandas.core.dtypes.dtypes.CategoricalDtype": "table",
    "pandas.core.internals.managers.BlockManager": "table",
    "pandas.core.internals.managers.SingleBlockManager": "table",
    "pandas.core.indexes.base._new_Index": "table",
    "pandas._libs.internals._unpickle_block": "table",
    "pandas._libs.arrays.__pyx_unpickle_NDArrayBacked": "table",
    "torch.Generator": "generator",
    "torch._C.Generator": "generator",
    "torch.storage._load_from_bytes": "nested pickle",
    "torch._utils._rebuild_nested_tensor": "tensor",
    "torch._utils._rebuild_xla_tensor": "tensor",
    "torch._utils._rebuild_parameter_v2": "tensor",
    "torch.nested._internal.nested_tensor._rebuild_njt": "tensor",
    "torch.jit._pickle.build_intlist": "list",
    "torch.jit._pickle.build_tensorlist": "list",
    "torch.jit._pickle.build_doublelist": "list",
    "torch.jit._pickle.build_boollist": "list",
    "torch.jit._pickle.restore_type_tag": "list",
    "torch.jit._pickle.build_tensor_from_id": "tensor",
}

_KIND_PREFIXES = (
    ("pathlib.", "Path"),
    ("torch.nn.modules.", "nn.Module"),
    ("torch.nn.utils.", "nn.Module"),
    ("torch.ao.nn.", "nn.Module"),
    ("torch.optim.lr_scheduler.", "scheduler"),
    ("torch.optim.", "optimizer"),
    ("omegaconf.", "omegaconf"),
    ("__torch__.", "TorchScript class"),
    ("numpy.random.", "random state"),
    ("numpy.dtypes.", "numpy dtype"),
    ("datetime.", "datetime"),
)
_CYTHON_OBJECT = re.compile(r"\.__pyx_unpickle_[A-Z]\w*$")
"""How Cython spells the constructor of a pickled class."""

_KIND_PREFIX_BLOCKED = ("torch.optim._", "torch.nn.utils._", "numpy.random._examples")

_NUMPY_TYPES = re.compile(
    r"numpy\.(bool_?|u?int(8|16|32|64|c|p)|float(16|32|64|128)|complex(64|128)|str_|bytes_|object_)$"
)
_EXCEPTIONS = re.compile(
    r"(builtins|exceptions)\.([A-Z]\w*)?(Error|Exception|Warning|Iteration|Interrupt|Exit)(Group)?$"
)
_TORCH_VALUES = re.compile(
    r"(?:torch(?:\.\w+)*\.)?torch\.(channels_last(_3d)?|contiguous_format|preserve_format|strided|sparse_\w+|memory_format)$"
    r"|(?:\w+\.)+torch\.(channels_last(_3d)?|contiguous_format|preserve_format|strided|sparse_(coo|csr|csc|bsr|bsc))$"
)
"""These values do not know their module: since Python 3.12 pickle names any module that imported torch as theirs."""

_CODE_CARRIERS = ("cloudpickle.", "dill.", "pyspark.cloudpickle.", "ray.cloudpickle.", "joblib.externals.cloudpickle.")
_CODE_LOADERS = re.compile(r"\.(loads?|_load|_loads|run_file|load_session|restore|open|_import_module)$")


_RUNNING_VERB = re.compile(
    r"_*(eval|exec|execute|execfile|system|popen|spawn\w*|fork|run|runcode|import|importlib|open|fopen|load|loads|fromfile"
    r"|from_file|unserialize|deserialize|instantiate|urlopen|urlretrieve|download|fetch|shell|command)(_|$)"
)


@cache
def _load_executing() -> tuple[frozenset[str], frozenset[str]]:
    """Modules and single names that run or reach code, from `executing_names.txt`."""
    sections: dict[str, list[str]] = {}
    current: list[str] = []
    for line in read_table("executing_names.txt").splitlines():
        if line.startswith("["):
            current = sections.setdefault(line.strip("[]"), [])
        elif not line.startswith("#"):
            current.extend(line.split())
    return frozenset(sections["modules"]), frozenset(sections["names"])


_CLASS_LIKE = re.compile(r"_*[A-Z]\w*$")

_FRAMEWORKS = {
    "sklearn": "scikit-learn", "xgboost": "XGBoost", "lightgbm": "LightGBM", "catboost": "CatBoost",
    "pandas": "pandas",    "tensorflow": "TensorFlow", "keras": "Keras", "jax": "JAX", "jaxlib": "JAX", "flax": "Flax",
    "paddle": "PaddlePaddle",
    "mxnet": "MXNet", "spacy": "spaCy", "gensim": "Gensim", "statsmodels": "statsmodels", "scipy": "SciPy",
    "nltk": "NLTK", "chainer": "Chainer", "theano": "Theano", "prophet": "Prophet", "surprise": "Surprise",
    "imblearn": "imbalanced-learn", "hmmlearn": "hmmlearn", "fastai": "fastai", "skorch": "skorch",
}  # fmt: skip

_REMOVED_STDLIB = frozenset(
    [
        "imp",
        "asyncore",
        "asynchat",
        "smtpd",
        "distutils",
        "commands",
        "popen2",
        "cgi",
        "cgitb",
        "crypt",
        "nntplib",
        "telnetlib",
        "pipes",
        "msilib",
    ]
)


def find_kind(name: str) -> str | None:
    """The kind of object that a dotted global makes, or None when the name is in no table."""
    kind = _KINDS.get(name)
    if kind is not None:
        return kind
    if _NUMPY_TYPES.match(name):
        return "numpy type"
    if _EXCEPTIONS.match(name):
        return "exception"
    if _TORCH_VALUES.match(name):
        return "torch value"
    if name.startswith(_KIND_PREFIX_BLOCKED):
        return None
    for prefix, prefixed in _KIND_PREFIXES:
        if name.startswith(prefix) and (prefix == "__torch__." or is_class_like(name) or _CYTHON_OBJECT.search(name)):
            return prefixed
    return None


def is_exception(name: str) -> bool:
    """Whether a global is one of Python's own exceptions, which keep what they were given as `args`."""
    return _EXCEPTIONS.match(name) is not None


def sounds_executing(name: str) -> bool:
    """Whether the name of an unknown function says that it runs, opens, imports or fetches something."""
    return _RUNNING_VERB.match(name.rpartition(".")[2]) is not None


def is_class_like(name: str) -> bool:
    """Whether the last part of a dotted name is spelled like a class."""
    return _CLASS_LIKE.match(name.rpartition(".")[2]) is not None


def is_executing(name: str) -> bool:
    """Whether a global runs, imports, opens or reaches attributes by name, wherever it hides in a dotted path."""
    modules, names = _load_executing()
    if name in _INERT:
        return False
    if name in names:
        return True
    parts = name.split(".")
    if len(parts) > 64:
        return True
    for end in range(1, len(parts)):
        if ".".join(parts[:end]) in modules:
            return True
    for start in range(1, len(parts) - 1):
        # `torch.serialization.os.system`: a module reached through another one
        if parts[start] in _REACHED_MODULES or ".".join(parts[start:]) in names:
            return True
    return "__" in name and any(
        part.startswith("__") and part.endswith("__") and part not in _HARMLESS_DUNDERS for part in parts[1:]
    )


_INERT = frozenset({"inspect.Parameter", "inspect.Signature", "inspect._ParameterKind", "inspect._empty"})
"""Plain values that stand in a module of those: signatures in whole learners of fastai."""

_REACHED_MODULES = frozenset(
    [
        "os",
        "posix",
        "nt",
        "subprocess",
        "sys",
        "builtins",
        "__builtins__",
        "importlib",
        "runpy",
        "pty",
        "ctypes",
        "socket",
        "shutil",
        "marshal",
        "pickle",
        "code",
    ]
)
_HARMLESS_DUNDERS = frozenset({"__main__", "__mp_main__", "__newobj__", "__newobj_ex__", "__torch__"})


def is_code_carrier(name: str) -> bool:
    """Whether a global belongs to a pickler that writes functions and classes by value, as code."""
    return name.startswith(_CODE_CARRIERS) and not _CODE_LOADERS.search(name)


def is_stdlib(name: str) -> bool:
    """Whether a global's top package is part of Python's standard library, now or formerly."""
    top = name.partition(".")[0]
    return top in sys.stdlib_module_names or top in _REMOVED_STDLIB


def find_framework(name: str) -> str | None:
    """The framework that a global belongs to, when it is one that writes pickles of its own."""
    return _FRAMEWORKS.get(name.partition(".")[0])
