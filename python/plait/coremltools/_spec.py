"""The Model message of a package, by the descriptions that the build made of proto/*.proto.

They lie in a pool of their own, so that coremltools' may be in the same process.
"""

from __future__ import annotations

import functools
import json
import os
import pathlib
import tempfile
import typing

from plait._errors import Error


@functools.cache
def _model_class() -> typing.Any:
    try:
        from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
    except ImportError as error:
        raise Error("reading a package's message needs protobuf: pip install protobuf; plait.Package(path).summary says the same", code="P0903") from error
    files = descriptor_pb2.FileDescriptorSet()
    files.ParseFromString((pathlib.Path(__file__).parent / "spec.bin").read_bytes())
    pool = descriptor_pool.DescriptorPool()
    for file in files.file:
        pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("CoreML.Specification.Model"))


def _file_of(package: pathlib.Path) -> pathlib.Path:
    try:
        manifest = json.loads((package / "Manifest.json").read_text())
        entry = manifest["itemInfoEntries"][manifest["rootModelIdentifier"]]["path"]
    except (OSError, ValueError, KeyError) as error:
        raise Error(f"{package}: there is no package here, or its manifest cannot be read", code="P0501") from error
    return package / "Data" / str(entry)


def read_spec(package: pathlib.Path) -> typing.Any:
    """The message of the package at a path. Raises ``plait.Error``."""
    spec = _model_class()()
    spec.ParseFromString(_file_of(package).read_bytes())
    return spec


def write_spec(package: pathlib.Path, spec: typing.Any) -> None:
    """Replaces the message, in one step."""
    file = _file_of(package)
    handle, temporary = tempfile.mkstemp(dir=file.parent)
    try:
        with os.fdopen(handle, "wb") as out:
            out.write(spec.SerializeToString(deterministic=True))
        os.chmod(temporary, file.stat().st_mode)
        os.replace(temporary, file)
    except BaseException:
        os.unlink(temporary)
        raise
