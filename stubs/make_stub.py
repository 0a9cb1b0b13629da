"""Make `stubs/tensorrt_rtx/__init__.pyi` from the installed tensorrt_rtx, whose wheel brings no types of its own.

    python stubs/make_stub.py          needs: pip install tensorrt-rtx pybind11-stubgen

pybind11-stubgen reads names and signatures off the binding. This script keeps the classes that we use, without their
docstrings, and mends what the binding's own docstrings get wrong: each change is in the tables below.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

MODULE = "tensorrt_rtx_bindings.tensorrt_rtx"
TARGET = Path(__file__).parent / "tensorrt_rtx" / "__init__.pyi"
KEPT = {
    "Builder", "BuilderFlag", "ComputeCapability", "CudaGraphStrategy", "DataType", "Dims",
    "EngineInvalidityDiagnostics",
    "EngineValidity", "HardwareCompatibilityLevel", "IBuilderConfig", "ICudaEngine", "IExecutionContext", "IHostMemory",
    "ILayer", "ILogger", "INetworkDefinition", "IOptimizationProfile", "IProgressMonitor", "IRuntimeCache",
    "IRuntimeConfig", "ITensor", "ITimingCache", "LayerType", "MemoryPoolType", "NetworkDefinitionCreationFlag",
    "OnnxParser", "ParserError", "ProfilingVerbosity", "Runtime",
}  # fmt: skip
# Of the large classes only what we call.
KEPT_MEMBERS = {
    "INetworkDefinition": {"num_layers", "get_layer", "num_inputs", "get_input", "num_outputs", "get_output"},
}
DROPPED_METHODS = re.compile(r"__(?!init__|bool__|len__|getitem__|iter__|int__|eq__|le__|lt__|hash__).*__")
# What the binding's docstrings do not say, from the prose of the same docstrings.
RETURNS = {
    "create_runtime_cache": "IRuntimeCache",
    "get_runtime_cache": "IRuntimeCache",
    "get_error": "ParserError",
    "get_timing_cache": "ITimingCache",
    "create_timing_cache": "ITimingCache",
    "get_engine_validity": "tuple[EngineValidity, typing.Any]",  # "tuple of (EngineValidity, diagnostics)"
    "deserialize_cuda_engine": "ICudaEngine | None",  # "The ICudaEngine, or None if it could not be deserialized"
    "create_execution_context": "IExecutionContext | None",
    "build_serialized_network": "IHostMemory | None",
}
ARGUMENTS = {("set_runtime_cache", "cache"): "IRuntimeCache | None", ("set_timing_cache", "cache"): "ITimingCache"}
EXTRA = {
    # "This class exposes a buffer interface using Python's buffer protocol."
    "IHostMemory": ["def __buffer__(self, flags: int) -> memoryview: ..."],
    # "Dims ... can be iterated, indexed": the binding has __getitem__ and __len__ only.
    "Dims": ["def __iter__(self) -> typing.Iterator[int]: ..."],
}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        # The package is imported first: it loads the libraries that the binding needs.
        program = "import tensorrt_rtx, sys; from pybind11_stubgen import main; main(sys.argv[1:])"
        command = [sys.executable, "-c", program, MODULE, "-o", folder]
        subprocess.run(command, check=True, capture_output=True)
        text = Path(folder, *MODULE.split(".")).with_suffix(".pyi").read_text()
    text = re.sub(r"\bin: ", "input: ", text)  # a C++ parameter is named `in`
    # Some methods, none of which is kept, have defaults before arguments without.
    tree = ast.parse(re.sub(r"^ +def add_.*$", lambda m: re.sub(r" = [^,)]+", "", m[0]), text, flags=re.MULTILINE))
    known = {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
    classes = [_trim(node, known) for node in tree.body if isinstance(node, ast.ClassDef) and node.name in KEPT]
    aliases = "\n".join(f"{name}: DataType" for name in ("float32", "float16", "uint8"))
    header = (
        f"# Made by stubs/make_stub.py from tensorrt-rtx {version('tensorrt-rtx')}; do not edit.\n"
        "import collections.abc\nimport typing\n\nimport typing_extensions\n"
    )
    body = "\n\n".join(ast.unparse(node) for node in classes)
    TARGET.write_text(f"{header}\n__version__: str\n{aliases}\n\n{body}\n", encoding="utf-8")
    subprocess.run([sys.executable, "-m", "ruff", "format", "-q", str(TARGET)], check=True)


def _trim(node: ast.ClassDef, known: set[str]) -> ast.ClassDef:
    node.bases = [base for base in node.bases if isinstance(base, ast.Name) and base.id in KEPT]
    only = KEPT_MEMBERS.get(node.name)
    body: list[ast.stmt] = []
    for item in node.body:
        if isinstance(item, ast.ClassDef):
            body.append(_trim(item, known))
        elif isinstance(item, ast.FunctionDef):
            unwanted = only is not None and item.name not in only
            if DROPPED_METHODS.fullmatch(item.name) or unwanted or (node.name == "Dims" and item.name == "__eq__"):
                continue
            body.append(_mend(item))
        elif isinstance(item, ast.AnnAssign) and only is None and ast.unparse(item.target) != "__hash__":
            body.append(item)
    for line in EXTRA.get(node.name, []):
        body += ast.parse(line).body
    node.body = body or [ast.Expr(ast.Constant(...))]
    return _Unknown(known - KEPT).visit(node)  # type: ignore[no-any-return]


def _mend(function: ast.FunctionDef) -> ast.FunctionDef:
    function.body = [ast.Expr(ast.Constant(...))]
    returns = RETURNS.get(function.name)
    if returns is not None:
        function.returns = ast.parse(returns, mode="eval").body
    setter = any(isinstance(d, ast.Attribute) and d.attr == "setter" for d in function.decorator_list)
    if setter or function.returns is None:
        function.returns = ast.Constant(None)
    arguments = function.args.args
    for argument in arguments:
        if (mended := ARGUMENTS.get((function.name, argument.arg))) is not None:
            argument.annotation = ast.parse(mended, mode="eval").body
    defaults = function.args.defaults
    for argument, default in zip(arguments[len(arguments) - len(defaults) :], defaults, strict=True):
        none = isinstance(default, ast.Constant) and default.value is None
        if none and argument.annotation is not None and "None" not in ast.unparse(argument.annotation):
            argument.annotation = ast.parse(f"{ast.unparse(argument.annotation)} | None", mode="eval").body
    return function


class _Unknown(ast.NodeTransformer):
    """Annotations that the binding cannot spell, or of classes that are not kept, become Any."""

    def __init__(self, names: set[str]) -> None:
        self._names = names

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return ast.parse("typing.Any", mode="eval").body if node.id in self._names else node

    def visit_arg(self, node: ast.arg) -> ast.arg:
        node.annotation = self._annotation(node.annotation)
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        self.generic_visit(node)
        node.returns = self._annotation(node.returns)
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AnnAssign:
        self.generic_visit(node)
        annotation = self._annotation(node.annotation)
        assert annotation is not None
        node.annotation = annotation
        return node

    def _annotation(self, annotation: ast.expr | None) -> ast.expr | None:
        if isinstance(annotation, ast.Name) and annotation.id in ("list", "tuple"):
            return ast.parse(
                {"list": "list[typing.Any]", "tuple": "tuple[typing.Any, ...]"}[annotation.id], mode="eval"
            ).body
        if isinstance(annotation, ast.Constant) and annotation.value is ...:
            return ast.parse("typing.Any", mode="eval").body
        return self.visit(annotation) if annotation is not None else None


if __name__ == "__main__":
    main()
