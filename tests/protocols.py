"""Ingot's .proto files: stubs made from them, and inference.proto beside the stubs of clients, whose names, numbers and types it
must have."""

import importlib
import pathlib
import subprocess
import sys
import tempfile
import unittest

from google.protobuf import descriptor_pb2
from support import ROOT

PROTOS = ROOT / "src/rpc/protos"


def own_protocol() -> descriptor_pb2.FileDescriptorProto:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTOS}", f"--descriptor_set_out={folder}/set", "inference.proto"]
        subprocess.run(command, check=True)
        files = descriptor_pb2.FileDescriptorSet.FromString(pathlib.Path(folder, "set").read_bytes())
    return files.file[0]


def make_stubs(folder: str):
    """ingot.v1 and the protocols, compiled as a user would: the modules generation_pb2 and generation_pb2_grpc."""
    names = ["ingot/v1/generation.proto", "reflection.proto"]
    outputs = [f"--python_out={folder}", f"--grpc_python_out={folder}"]
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTOS}", *outputs, *names], check=True)
    sys.path.insert(0, folder)
    return importlib.import_module("ingot.v1.generation_pb2"), importlib.import_module("ingot.v1.generation_pb2_grpc")


def file_of(module) -> descriptor_pb2.FileDescriptorProto:
    """Of a _pb2 module."""
    file = descriptor_pb2.FileDescriptorProto()
    module.DESCRIPTOR.CopyToProto(file)
    return file


def compare_messages(test: unittest.TestCase, mine, other, path: str, partial: set[str]) -> None:
    theirs = {field.name: field for field in other.field}
    if mine.name not in partial:
        test.assertEqual({field.name for field in mine.field}, set(theirs), path)
    for field in mine.field:
        if mine.name in partial and field.name not in theirs:
            continue
        for part in ("number", "type", "label", "type_name"):
            test.assertEqual(getattr(field, part), getattr(theirs[field.name], part), f"{path}.{field.name}")
    nested = {message.name: message for message in other.nested_type}
    for message in mine.nested_type:
        compare_messages(test, message, nested[message.name], f"{path}.{message.name}", partial)
    enums = {enum.name: enum for enum in other.enum_type}
    for enum in mine.enum_type:
        test.assertEqual(numbers(enum), numbers(enums[enum.name]), f"{path}.{enum.name}")


def numbers(enum) -> dict[str, int]:
    return {value.name: value.number for value in enum.value}


def compare_protocols(test: unittest.TestCase, mine, theirs: list, partial: set[str] = frozenset(), only_common: bool = False) -> None:
    """`partial`: messages of which only common fields are compared; `only_common`: messages and methods that only one has are passed over."""
    messages = {message.name: message for file in theirs for message in file.message_type}
    enums = {enum.name: enum for file in theirs for enum in file.enum_type}
    methods = {method.name: method for file in theirs for service in file.service for method in service.method}
    test.assertEqual({mine.package}, {file.package for file in theirs})
    common = [message for message in mine.message_type if not only_common or message.name in messages]
    test.assertGreater(len(common), 8)
    for message in common:
        compare_messages(test, message, messages[message.name], message.name, partial)
    for enum in mine.enum_type:
        if not only_common or enum.name in enums:
            test.assertEqual(numbers(enum), numbers(enums[enum.name]), enum.name)
    test.assertEqual(mine.service[0].name, "GRPCInferenceService")
    for method in mine.service[0].method:
        if only_common and method.name not in methods:
            continue
        other = methods[method.name]
        for part in ("input_type", "output_type", "client_streaming", "server_streaming"):
            test.assertEqual(getattr(method, part), getattr(other, part), method.name)
