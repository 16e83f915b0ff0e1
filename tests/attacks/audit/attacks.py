"""Files that try to run code, to hide it, or to make a reader fall over. Each is bytes; the payload touches one file.

Written from CPython's pickle documentation, the published advisories for pickle scanners, and torch's own rules. The
payload is `os.system("touch MARKER")`, spelled in every way that an unpickler would follow.
"""

from __future__ import annotations

import base64
import io
import json
import pickle
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator

MARKER = "mpt-audit-attack-marker"
COMMAND = f"touch {MARKER}"


def short(text: str) -> bytes:
    """SHORT_BINUNICODE."""
    raw = text.encode()
    return b"\x8c" + bytes([len(raw)]) + raw


def text(value: str) -> bytes:
    """BINUNICODE."""
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def glob(module: str, name: str) -> bytes:
    """GLOBAL."""
    return f"c{module}\n{name}\n".encode()


def call(module: str, name: str, argument: bytes | None = None) -> bytes:
    """GLOBAL, one argument, REDUCE."""
    return glob(module, name) + (text(COMMAND) if argument is None else argument) + b"\x85R"


SYSTEM = call("os", "system")


def p2(body: bytes) -> bytes:
    """A protocol 2 stream."""
    return b"\x80\x02" + body + b"."


def p4(body: bytes) -> bytes:
    """A protocol 4 stream without frame."""
    return b"\x80\x04" + body + b"."


_RUNNING_TEXT = """
os.system posix.system nt.system os.popen os.execv os.spawnl os.posix_spawn os.remove os.rename subprocess.Popen
subprocess.run subprocess.call subprocess.check_output subprocess.getoutput _posixsubprocess.fork_exec builtins.eval
builtins.exec builtins.compile builtins.open builtins.__import__ builtins.breakpoint builtins.input builtins.setattr
__builtin__.eval __builtin__.execfile __builtin__.apply commands.getoutput commands.getstatusoutput popen2.popen2
importlib.import_module importlib.reload runpy.run_path runpy.run_module runpy._run_code pty.spawn code.interact
code.InteractiveInterpreter codeop.compile_command pdb.run pdb.Pdb bdb.Bdb timeit.timeit timeit.main cProfile.run
cProfile.runctx profile.run profile.Profile trace.Trace doctest.debug_script pydoc.pipepager pydoc.locate
webbrowser.open webbrowser.get ctypes.CDLL ctypes.cdll.LoadLibrary shutil.rmtree shutil.copyfile io.open _io.open
_io.FileIO io.FileIO socket.socket socket.create_connection urllib.request.urlopen urllib.request.urlretrieve
http.client.HTTPConnection smtplib.SMTP ftplib.FTP telnetlib.Telnet imaplib.IMAP4_stream poplib.POP3
ssl.get_server_certificate xmlrpc.client.ServerProxy asyncio.run asyncio.create_subprocess_shell
asyncio.unix_events._UnixSubprocessTransport._start multiprocessing.Process multiprocessing.util.spawnv_passfds
threading.Thread _thread.start_new_thread signal.signal marshal.loads pickle.loads pickle.load _pickle.loads
cPickle.loads pickle.Unpickler shelve.open dbm.open zipimport.zipimporter pkgutil.resolve_name pkgutil.get_data
pkg_resources.run_script setuptools.setup pip.main pip._internal.main ensurepip._run_pip venv.create
distutils.file_util.write_file distutils.spawn.spawn lib2to3.pgen2.pgen.generate_grammar idlelib.run.Executive
idlelib.pyshell.ModifiedInterpreter.runcode idlelib.autocomplete.AutoComplete.get_entity inspect.getattr_static
gc.get_objects platform.popen platform._syscmd_uname uuid._get_command_stdout uuid._popen _osx_support._read_output
_aix_support._read_cmd_output _pyrepl.pager.pipe_pager test.support.script_helper.assert_python_ok
unittest.mock._importer cgitb.lookup site.execsitecustomize sysconfig._parse_makefile tempfile.mkstemp
fileinput.input linecache.getline mmap.mmap winreg.ConnectRegistry sys.settrace sys.modules.clear sys.exit
atexit.register logging.config.dictConfig logging.config.listen operator.attrgetter operator.methodcaller
operator.itemgetter _operator.methodcaller functools.reduce types.FunctionType types.CodeType types.MethodType
codecs.open collections.namedtuple typing._eval_type typing.get_type_hints dataclasses.make_dataclass
string.Formatter weakref.finalize contextlib.ExitStack sqlite3.connect curses.initscr ast.literal_eval dis.dis
tokenize.open py_compile.compile compileall.compile_dir zipfile.ZipFile tarfile.open gzip.open bz2.open lzma.open
torch.load torch.hub.load torch.hub.load_state_dict_from_url torch.jit.load torch.jit.CompilationUnit
torch.package.PackageImporter torch.serialization.load torch.utils.cpp_extension.load torch.utils.collect_env.run
torch.utils.bottleneck.__main__.run_cprofile torch.jit.unsupported_tensor_ops.execWrapper
torch.utils._config_module.ConfigModule.load_config torch._dynamo.guards.GuardBuilder.get
torch._inductor.codecache.compile_file torch.fx.experimental.symbolic_shapes.ShapeEnv.evaluate_guards_expression
torch.utils.data.datapipes.utils.decoder.basichandlers torch.distributed.rpc.internal._run_function
torch.fx.graph_module.reduce_graph_module torch.classes.load_library torch.ops.load_library torch.onnx.export
numpy.load numpy.fromfile numpy.memmap numpy.testing._private.utils.runstring numpy.f2py.crackfortran.getlincoef
numpy.f2py.crackfortran._eval_length numpy.f2py.diagnose.run_command numpy.distutils.exec_command.exec_command
numpy.vectorize numpy.ctypeslib.load_library joblib.load pandas.read_pickle pandas.eval pandas.io.common.get_handle
cloudpickle.loads dill.loads dill.load yaml.load yaml.unsafe_load jsonpickle.decode sympy.sympify
sympy.parsing.sympy_parser.eval_expr IPython.get_ipython pexpect.spawn paramiko.SSHClient fabric.Connection
requests.get aiohttp.ClientSession httpx.get transformers.utils.hub.cached_file keras.models.load_model
tensorflow.io.read_file gradio.Interface
"""
RUNNING = _RUNNING_TEXT.split()
"""Names that run, open, import or reach something when they are called; none may be less than dangerous."""

UNKNOWN = ["vendor.tools.helper", "some_package.module.load_plugin", "my_project.utils.run_everything", "zz.q"]
"""Functions that nobody knows: never ok, and at least suspicious when called."""


def _tensor(body: bytes = b"", shape: int = 1) -> bytes:
    storage = b"(" + text("storage") + glob("torch", "FloatStorage") + text("0") + text("cpu") + b"K\x01tQ"
    hooks = body or glob("collections", "OrderedDict") + b")R"
    return (
        glob("torch._utils", "_rebuild_tensor_v2")
        + b"("
        + storage
        + b"K\x00K"
        + bytes([shape])
        + b"\x85K\x01\x85\x89"
        + hooks
        + b"tR"
    )


def running_streams() -> Iterator[tuple[str, bytes]]:
    """Streams that run code when they are loaded, by every road that an unpickler has."""
    for name in RUNNING:
        module, _, attribute = name.rpartition(".")
        yield f"call {name}", p2(call(module, attribute))
    yield "protocol 0", b"cos\nsystem\n(S'" + COMMAND.encode() + b"'\ntR."
    yield "stack global", p4(short("os") + short("system") + b"\x93" + short(COMMAND) + b"\x85R")
    yield (
        "names from the memo",
        p4(short("os") + b"\x94" + short("system") + b"\x9400" + b"h\x00h\x01\x93" + short(COMMAND) + b"\x85R"),
    )
    yield "name doubled on the stack", p4(short("os") + short("system") + b"2q\x050h\x05\x930" + SYSTEM)
    yield "inst", b"\x80\x02(X" + struct.pack("<I", len(COMMAND)) + COMMAND.encode() + b"ios\nsystem\n."
    yield "obj", p2(b"(" + glob("os", "system") + text(COMMAND) + b"o")
    yield "newobj", p2(glob("subprocess", "Popen") + text(COMMAND) + b"\x85\x81")
    yield "newobj_ex", p4(glob("subprocess", "Popen") + text(COMMAND) + b"\x85" + b"}" + short("shell") + b"\x88s\x92")
    yield "result popped", p2(SYSTEM + b"0" + b"}")
    yield "result popped by a mark", p2(b"(" + SYSTEM + b"1}")
    yield "result only in the memo", p2(SYSTEM + b"q\x010}")
    yield "in a dict key", p2(b"}" + SYSTEM + b"K\x01s")
    yield "in a dict value", p2(b"}" + text("a") + SYSTEM + b"s")
    yield "in a list", p2(b"](" + SYSTEM + b"e")
    yield "in a tuple", p2(SYSTEM + b"\x85")
    yield "in a set", p4(b"\x8f(" + SYSTEM + b"\x90")
    yield "in a frozenset", p4(b"(" + SYSTEM + b"\x91")
    yield "in a state", p2(glob("collections", "OrderedDict") + b")R" + b"}" + text("x") + SYSTEM + b"sb")
    yield "in a persistent id", p2(b"(" + text("storage") + SYSTEM + b"tQ")
    yield "in a tensor's hooks", p2(_tensor(SYSTEM))
    yield "deep inside", p2(b"(" * 300 + SYSTEM + b"t" * 300)
    yield "before a broken end", b"\x80\x02" + SYSTEM + b"\xff\xff"
    yield "before a cut end", b"\x80\x02" + SYSTEM
    yield "behind a harmless pickle", p2(b"}") + p2(SYSTEM)
    yield "behind ten harmless pickles", p2(b"N") * 10 + p2(SYSTEM)
    yield "name at the end of the file without a line feed", b"\x80\x02cos\nsystemX"
    yield "frame longer than the file", b"\x80\x04\x95\xff\xff\x00\x00\x00\x00\x00\x00" + SYSTEM + b"."
    yield "several protocols", b"\x80\x04\x80\x02" + SYSTEM + b"."
    yield "dotted name", p4(short("torch") + short("serialization.os.system") + b"\x93" + short(COMMAND) + b"\x85R")
    yield "dotted module", p2(call("torch.serialization.os", "system"))
    yield "dotted global", p2(call("numpy", "distutils.os.system"))
    yield "dunder attribute", p2(call("collections.OrderedDict.__init__.__globals__", "get"))
    yield "class of classes", p2(call("builtins", "object.__subclasses__"))
    yield (
        "computed module",
        p4(glob("builtins", "str") + short("os") + b"\x85R" + short("system") + b"\x93" + short(COMMAND) + b"\x85R"),
    )
    yield (
        "computed name",
        p4(short("os") + glob("builtins", "str") + short("system") + b"\x85R\x93" + short(COMMAND) + b"\x85R"),
    )
    yield (
        "getattr",
        p2(glob("builtins", "getattr") + glob("os", "path") + text("system") + b"\x86R" + text(COMMAND) + b"\x85R"),
    )
    yield (
        "getattr of a harmless class",
        p2(glob("builtins", "getattr") + glob("collections", "OrderedDict") + text("__init__") + b"\x86R"),
    )
    yield (
        "getattr with a computed name",
        p2(glob("builtins", "getattr") + glob("torch", "Tensor") + call("builtins", "str", text("x")) + b"\x86R"),
    )
    yield (
        "called partial",
        p2(glob("functools", "partial") + glob("os", "system") + b"\x85R" + text(COMMAND) + b"\x85R"),
    )
    yield "partial that waits", p2(glob("functools", "partial") + glob("os", "system") + text(COMMAND) + b"\x86R")
    yield "map", p2(glob("builtins", "map") + glob("os", "system") + b"]" + text(COMMAND) + b"a\x86R")
    yield "defaultdict factory", p2(glob("collections", "defaultdict") + glob("os", "system") + b"\x85R")
    yield (
        "reconstructor",
        p2(glob("copyreg", "_reconstructor") + glob("subprocess", "Popen") + glob("builtins", "object") + b"N\x87R"),
    )
    yield (
        "reconstructor of Python 2",
        p2(
            glob("copy_reg", "_reconstructor") + glob("subprocess", "Popen") + glob("__builtin__", "object") + b"N\x87R"
        ),
    )
    yield "reference only", p2(glob("os", "system"))
    yield "import for its effect", p2(glob("antigravity", "fly") + b"0}")
    yield "extension code", p2(b"\x82\x01" + text(COMMAND) + b"\x85R")
    yield "large extension code", p2(b"\x84\x01\x00\x00\x00" + text(COMMAND) + b"\x85R")
    yield "nested pickle", p2(call("pickle", "loads", text("x")))
    inner = p2(SYSTEM)
    encoded = glob("_codecs", "encode") + text(inner.decode("latin-1")) + text("latin1") + b"\x86R"
    yield "pickle inside a storage", p2(glob("torch.storage", "_load_from_bytes") + encoded + b"\x85R")
    yield "code object", p2(glob("types", "CodeType") + b"(K\x00K\x00tR")
    yield "called result of cloudpickle", p4(glob("cloudpickle.cloudpickle", "_make_function") + b"(NNtR" + b")R")
    yield "lines with carriage returns", b"\x80\x02cos\r\nsystem\r\n" + text(COMMAND) + b"\x85R" + b"." + p2(SYSTEM)


def hidden_streams() -> Iterator[tuple[str, bytes]]:
    """Streams whose calls nobody knows: they must not pass, whatever they are called."""
    for name in UNKNOWN:
        module, _, attribute = name.rpartition(".")
        yield f"unknown {name}", p2(call(module, attribute))
        yield f"unknown {name}, thrown away", p2(call(module, attribute) + b"0}")
    yield "unknown class", p2(call("vendor.tools", "Helper", text("rm -rf / ; x")))
    yield "blank in the name", p2(call("os ", "system"))
    yield "letters that look alike", p2(call("o\u0455", "system"))
    yield "empty name", p2(glob("vendor", "") + b"0}")
    yield "unknown persistent id", p2(text("module://x") + b"Q")


def bombs() -> Iterator[tuple[str, bytes]]:
    """Streams and files that cost a careless reader its memory, its stack or its evening."""
    yield "hundred thousand lists", b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b"."
    yield "hundred thousand tuples", b"\x80\x02N" + b"\x85" * 100_000 + b"."
    yield "hundred thousand marks", b"\x80\x02" + b"(" * 99_000 + b"t" * 99_000 + b"."
    yield "too many marks", b"\x80\x02" + b"(" * 200_000
    yield "self-similar", p2(b"N" + b"2\x86" * 40)
    yield "self-similar with a call", p2(SYSTEM + b"2\x86" * 40)
    yield "million empty dicts", b"\x80\x02(" + b"}" * 1_000_000 + b"t."
    yield "million duplicates", b"\x80\x02N" + b"2" * 1_000_000 + b"."
    yield "huge memo index", p2(b"Nr\xff\xff\xff\xff0j\xff\xff\xff\xff")
    yield "huge text", b"\x80\x02X\xff\xff\xff\xffabc."
    yield "huge bytes", b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7fabc."
    yield "huge bytearray", b"\x80\x05\x96\xff\xff\xff\xff\xff\xff\xff\x7fabc."
    yield "negative length", b"\x80\x02\x8b\xff\xff\xff\xffabc."
    yield "huge integer", b"\x80\x02\x8b" + struct.pack("<i", 1_000_000) + b"\x7f" * 1_000_000 + b"."
    yield "huge integer in text", b"L" + b"9" * 200_000 + b"L\n."
    yield "huge integer as a key", p2(b"}\x8a\xff" + b"\x7f" * 255 + SYSTEM + b"s")
    yield "contains itself", p2(b"]q\x00h\x00a" + SYSTEM + b"a")
    yield "dict that is its own key", p2(b"}q\x00h\x00" + SYSTEM + b"s")
    yield "long path", b"\x80\x02" + b"](" * 5_000 + SYSTEM + b"e" * 5_000 + b"."
    yield "path of terminal escapes", p2(b"}" + text("\x1b[2J\x1b]0;x\x07\u202e") + SYSTEM + b"s")
    yield "a million imports", b"\x80\x02" + glob("os", "system") * 100_000 + b"."
    yield "deflated bomb", pack({"a/data.pkl": b"\x80\x02" + b"N" * (300 << 20) + b"."}, zipfile.ZIP_DEFLATED)
    yield "fifty thousand members", pack({f"a/{i}": b"" for i in range(50_000)} | {"a/data.pkl": p2(SYSTEM)})
    nested = pack({"a/data.pkl": p2(SYSTEM)})
    for _ in range(12):
        nested = pack({"x.pt": nested})
    yield "archive in archive", nested
    deep = b"[" * 100_000
    yield "deep JSON in safetensors", struct.pack("<Q", len(deep) + 8) + b'{"a":' + deep + b"]}}"
    yield "deep JSON in a model zip", pack({"data": deep, "policy.pth": b"", "_stable_baselines3_version": b"2"})


def pack(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    """A zip of these members."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method, allowZip64=True) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return stream.getvalue()


def torch_zip(pickled: bytes, **more: bytes) -> bytes:
    """A torch zip around one pickle."""
    return pack({"archive/data.pkl": pickled, "archive/version": b"3\n", **more})


def containers() -> Iterator[tuple[str, bytes]]:
    """Files that hide a pickle that runs code, or that two readers would read differently."""
    evil, plain = p2(SYSTEM), p2(b"}")
    yield "torch zip", torch_zip(evil)
    yield "torch zip, deflated", pack({"archive/data.pkl": evil}, zipfile.ZIP_DEFLATED)
    yield "torch zip, bzip2", pack({"archive/data.pkl": evil}, zipfile.ZIP_BZIP2)
    wrong = bytearray(torch_zip(evil))
    crc = struct.pack("<I", zlib.crc32(evil))
    while crc in wrong:
        at = wrong.index(crc)
        wrong[at : at + 4] = b"\0\0\0\0"
    yield "torch zip with a zero CRC", bytes(wrong)
    yield "second pickle in the zip", pack({"archive/data.pkl": plain, "archive/extra.pkl": evil})
    yield "second pickle without an ending", pack({"archive/data.pkl": plain, "archive/notes": evil})
    yield "nested torch file", pack({"archive/data.pkl": plain, "archive/inner.pt": torch_zip(evil)})
    yield "two main pickles, good first", _twice(plain, evil)
    yield "two main pickles, bad first", _twice(evil, plain)
    quiet = b"cos\nsystem\n(S'" + COMMAND.encode() + b"'\ntR."
    for method, word in ((zipfile.ZIP_STORED, "stored"), (zipfile.ZIP_DEFLATED, "deflated")):
        for where in ("notes.txt", "byteorder", "data/7", "data/x.pkl", ".data/serialization_id"):
            members = {"archive/data.pkl": plain, f"archive/{where}": quiet}
            yield f"protocol 0 in {where}, {word}", pack(members, method)
    yield "pickle in a member named like a folder", pack({"archive/data.pkl": plain, "archive/x/": evil})
    locked = bytearray(pack({"archive/data.pkl": plain, "archive/notes": evil}))
    for mark, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        locked[locked.rindex(mark) + flags] |= 1
    yield "pickle beside, flagged as encrypted", bytes(locked)
    yield "pickle among the records", pack({"archive/data.pkl": plain, "archive/data/0": evil})
    yield "archive among the records", pack({"archive/data.pkl": plain, "archive/data/0": torch_zip(evil)})
    yield (
        "pickle in an archive's README",
        pack({"manifest.json": b"{}", "weights.safetensors": _safe(), "README.md": quiet}),
    )
    yield "zip behind a zip, bad first", torch_zip(evil) + torch_zip(plain)
    yield "zip behind a zip, bad last", torch_zip(plain) + torch_zip(evil)
    yield "bytes before the archive", b"PK\x03\x04" + bytes(60) + torch_zip(evil)
    yield "another folder's pickle", pack({"a/data.pkl": plain, "b/data.pkl": evil})
    yield "names differ in the headers", torch_zip(evil).replace(b"archive/data.pkl", b"archive/data.txt", 1)
    yield "central name differs", _replace_last(torch_zip(evil), b"archive/data.pkl", b"archive/data.txt")
    yield "NUL in a name", torch_zip(evil).replace(b"archive/data.pkl", b"archive/data\0pkl")
    flagged = bytearray(torch_zip(evil))
    central = flagged.rindex(b"PK\x01\x02")
    flagged[flagged.index(b"PK\x01\x02") + 8] |= 1
    assert central > 0
    yield "encrypted flag in the directory", bytes(flagged)
    yield "zip behind a pickle", evil + torch_zip(plain)
    yield "pickle behind a zip", torch_zip(plain) + evil
    yield "zip behind a picture", b"\x89PNG\r\n\x1a\n" + bytes(100) + torch_zip(evil)
    yield "zip behind a web page", b"<html></html>" + torch_zip(evil)
    yield "cut zip", torch_zip(evil)[:-10]
    yield "end record in the comment", _with_comment(torch_zip(evil), torch_zip(plain)[-22:])
    yield "members that overlap", _overlapping(evil)
    magic, protocol, system = (pickle.dumps(v, 2) for v in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}))
    empty = pickle.dumps([], 2)
    yield "legacy file", magic + protocol + system + evil + empty
    yield "legacy file, system info", magic + protocol + evil + plain + empty
    yield "legacy file, protocol", magic + evil + system + plain + empty
    yield "legacy file, storage keys", magic + protocol + system + plain + evil
    yield "legacy file, cut behind the object", magic + protocol + system + evil
    for name in ("pickle", "tensors", "storages"):
        yield f"tar, {name}", _tar({n: evil if n == name else plain for n in ("storages", "tensors", "pickle")})
    yield "tar of torch files", _tar({"model_weights.ckpt": torch_zip(evil), "config.yaml": b"a: 1"})
    header = b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }"
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    npy = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + evil
    yield "numpy file of objects", npy
    yield "numpy archive of objects", pack({"a.npy": npy})
    sb3 = {"a": {":type:": "x", ":serialized:": base64.b64encode(evil).decode()}}
    yield "stable-baselines3 data", pack({"data": json.dumps(sb3).encode(), "_stable_baselines3_version": b"2.7"})
    spaced = json.dumps({"a": {":serialized:": base64.encodebytes(evil).decode()}}).encode()
    yield "stable-baselines3 data with line feeds", pack({"data": spaced, "policy.pth": b""})
    twice = json.dumps(sb3).encode()[:-1] + b', "a": 1}'
    yield "stable-baselines3 data, key twice", pack({"data": twice, "policy.pth": b""})
    yield "stable-baselines3 policy", pack({"data": b"{}", "policy.pth": torch_zip(evil)})
    yield "torchscript with a pickle", pack({"m/data.pkl": evil, "m/constants.pkl": p2(b")"), "m/code/a.py": b""})
    yield "torchscript constants", pack({"m/data.pkl": plain, "m/constants.pkl": evil})
    yield "archive with a pickle beside", pack({"manifest.json": b"{}", "weights.safetensors": _safe(), "x.pkl": evil})


def broken_tensors() -> Iterator[tuple[str, bytes]]:
    """Files of tensors only that lie about their layout."""
    entry = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
    yield (
        "name twice",
        _safetensors(b'{"a":' + json.dumps(entry).encode() + b',"a":' + json.dumps(entry).encode() + b"}", 4),
    )
    yield "overlap", _safe_of({"a": entry, "b": entry}, 4)
    yield "hole", _safe_of({"a": entry, "b": {**entry, "data_offsets": [8, 12]}}, 12)
    yield "shape too large", _safe_of({"a": {**entry, "shape": [1 << 40]}}, 4)
    yield "beyond the file", _safe_of({"a": {**entry, "data_offsets": [0, 400]}}, 4)
    yield "negative", _safe_of({"a": {**entry, "data_offsets": [-4, 0]}}, 4)
    yield "header longer than the file", struct.pack("<Q", 5000) + b'{"a": 1}' + bytes(600)
    yield "tensor larger than its storage", torch_zip(p2(_tensor(shape=9)), **{"archive/data/0": bytes(4)})
    yield "record missing", torch_zip(p2(_tensor()))
    yield "record too short", torch_zip(p2(_tensor()), **{"archive/data/0": b"ab"})


def _safe() -> bytes:
    return _safe_of({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, 4)


def _safe_of(header: object, size: int) -> bytes:
    return _safetensors(json.dumps(header).encode(), size)


def _safetensors(header: bytes, size: int) -> bytes:
    return struct.pack("<Q", len(header)) + header + bytes(size)


def _twice(first: bytes, second: bytes) -> bytes:
    data = pack({"archive/data.pkl": first, "archive/dato.pkl": second})
    return data.replace(b"archive/dato.pkl", b"archive/data.pkl")


def _replace_last(data: bytes, old: bytes, new: bytes) -> bytes:
    at = data.rindex(old)
    return data[:at] + new + data[at + len(old) :]


def _with_comment(data: bytes, comment: bytes) -> bytes:
    return data[:-2] + struct.pack("<H", len(comment)) + comment


def _overlapping(evil: bytes) -> bytes:
    data = bytearray(pack({"archive/data.pkl": evil, "archive/version": b"3"}))
    second = data.rindex(b"PK\x01\x02")
    data[second + 42 : second + 46] = b"\0\0\0\0"
    return bytes(data)


def _tar(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return stream.getvalue()


Attack = tuple[str, bytes]
GROUPS: dict[str, Callable[[], Iterator[Attack]]] = {
    "running": running_streams,
    "hidden": hidden_streams,
    "containers": containers,
    "tensors": broken_tensors,
    "bombs": bombs,
}
"""Group -> its attacks."""
