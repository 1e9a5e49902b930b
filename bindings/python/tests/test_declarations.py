"""The declarations are held against the header, the exports, the record's layout and the golden blocks."""

from __future__ import annotations

import ctypes
import json
import os
import re
import struct
import tempfile
import unittest
from pathlib import Path
from typing import Any

from redmux import _native, _records
from redmux._errors import BY_CODE, LibraryError

from .support import ROOT, python


def part(data: bytes) -> str:
    if all(0x20 <= byte <= 0x7E for byte in data):
        return '"' + data.decode().replace("\\", "\\\\").replace('"', '\\"') + '"'
    return '{"hex":"' + data.hex() + '"}'


class Declarations(unittest.TestCase):
    header = (ROOT / "include/redmux.h").read_text()
    kinds = {name: int(number) for name, number in re.findall(r"#define REDMUX_KIND_(\w+) (\d+)", header)}

    def test_every_export_is_declared_and_nothing_else(self) -> None:
        exports = (ROOT / "include/redmux.exports").read_text().split()
        self.assertEqual(sorted("redmux_" + name for name in _native.FUNCTIONS), exports)

    def test_every_declaration_is_the_headers(self) -> None:
        code = re.sub(r"/\*.*?\*/", "", self.header, flags=re.S)
        found = re.findall(r"^(\w[\w *]*?)\s*\**(redmux_\w+)\(([^()]*)\);", code, flags=re.M)
        pointers = re.compile(r"\*\s*redmux_\w+\(")
        self.assertEqual(len(found), len(_native.FUNCTIONS))
        for result, name, parameters in found:
            with self.subTest(name):
                line = next(line for line in code.splitlines() if re.search(rf"\b{name}\(", line))
                declared, arguments = _native.FUNCTIONS[name.removeprefix("redmux_")]
                self.assertEqual(shape(result + (" *" if pointers.search(line) else "")), kind(declared))
                given = [one for one in parameters.split(",") if one.strip() != "void"]
                self.assertEqual([shape(re.sub(r"\w+\s*$", "", one)) for one in given], [kind(one) for one in arguments])

    def test_the_record_and_the_block_have_the_documented_layout(self) -> None:
        self.assertEqual((_records.RECORD.size, _records.PLAIN.size, _records.BLOCK.size), (64, 64, 56))
        whole = _records.RECORD.pack(1, 2, -3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13)
        self.assertEqual(_records.PLAIN.unpack(whole), (0x20001, 6, 7, 12, 13))
        table = re.findall(r"^\| (\d+) \| (u16|i32|u32|u64) \| `(\w+)`", (ROOT / "docs/records.md").read_text(), flags=re.M)
        offsets = [int(offset) for offset, _, _ in table[:13]]
        self.assertEqual(offsets, [0, 2, 4, 8, 16, 24, 32, 40, 44, 48, 52, 56, 60])
        self.assertEqual(struct.calcsize("<" + "".join({"u16": "H", "i32": "i", "u32": "I", "u64": "Q"}[t] for _, t, _ in table[:13])), 64)

    def test_kinds_are_the_headers(self) -> None:
        for name, number in self.kinds.items():
            if name not in ("MAIL", "GAP"):  # provisional, and nobody's here
                self.assertEqual(getattr(_records, name), number, name)

    def test_golden_blocks_are_decoded_to_the_letter(self) -> None:
        keys = "kind flags status source token number aux name_off name_len extra_off extra_len data_off data_len".split()
        for path in sorted((ROOT / "tests/golden").glob("*.json")):
            with self.subTest(path.stem):
                wanted = json.loads(path.read_text())
                block = path.with_suffix(".bin").read_bytes()
                records, blob = block[: wanted["count"] * 64], block[wanted["count"] * 64 :]
                lines = []
                for raw, record in zip(_records.RECORD.iter_unpack(records), _records.decode_records(records, blob)):
                    is_kind = next((f'"{name.lower()}"' for name, number in self.kinds.items() if number == raw[0]), "null")
                    fields = ",".join(f'"{key}":{value}' for key, value in zip(keys, raw))
                    parts = ",".join(f'"{key}":{part(getattr(record, key))}' for key in ("name", "extra", "data"))
                    lines.append(f'{{"is":{is_kind},{fields},{parts}}}')
                head = f'{{\n"about": "{wanted["about"]}",\n"count": {wanted["count"]},\n"data_len": {len(blob)},\n"records": [\n'
                self.assertEqual(head + ",\n".join(lines) + "\n]\n}\n", path.read_text())
                # And a reader of subscriptions skips what it does not know.
                _records.decode_events(records, blob, _records.Names(), str)

    def test_every_status_has_an_error_of_its_kind(self) -> None:
        codes = {int(code) for code in re.findall(r"#define REDMUX_ERR_\w+ (-\d+)", self.header)}
        self.assertEqual(codes - set(BY_CODE), {-503, -900})  # no memory, and a defect: plain errors
        self.assertLessEqual(set(BY_CODE), codes)


class Loading(unittest.TestCase):
    def test_an_abi_mismatch_names_both_numbers(self) -> None:
        with self.assertRaisesRegex(LibraryError, "ABI 7.*ABI 1"):
            _native.check_abi(7, Path("libredmux.so"))

    def test_a_miss_names_every_path_that_was_tried(self) -> None:
        said = python("import redmux", REDMUX_LIBRARY="/nowhere/libredmux.so").stderr
        self.assertIn("/nowhere/libredmux.so", said)
        self.assertIn("REDMUX_LIBRARY", said)

    def test_a_library_that_is_named_without_a_folder_is_the_one_that_is_here(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            os.symlink(_native.lib.path.resolve(), f"{folder}/libredmux-here.so")
            for name in ("libredmux-here.so", "./libredmux-here.so"):
                code = f"import os; os.chdir({folder!r}); import redmux._native as n; print(n.lib.path.exists())"
                self.assertEqual(python(code, REDMUX_LIBRARY=name).stdout, "True\n")


def shape(declared: str) -> str:
    declared = declared.replace("const ", "").replace("struct ", "").strip()
    if "*" in declared or declared.endswith("_fn"):
        return "pointer"
    word = declared.split()[0]
    handles = {f"redmux_{noun}" for noun in "client inbox options subscription promises gather responder".split()}
    return "uint64_t" if word in handles | {"size_t"} else word


def kind(declared: Any) -> str:
    if declared is None:
        return "void"
    if declared is _native.Bytes:
        return "redmux_bytes"
    if declared in (ctypes.c_char_p, ctypes.c_void_p) or hasattr(declared, "contents"):
        return "pointer"
    names = {ctypes.c_int32: "int32_t", ctypes.c_uint32: "uint32_t", ctypes.c_int64: "int64_t", ctypes.c_uint64: "uint64_t"}
    # c_size_t is c_uint64 by another name on these platforms.
    return names[declared]
