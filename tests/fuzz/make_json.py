#!/usr/bin/env python3
"""Writes tests/fuzz/corpus/json: texts that Python's json makes or refuses. Run in the repository's root: python3 tests/fuzz/make_json.py"""
import json
import pathlib

FOLDER = pathlib.Path("tests/fuzz/corpus/json")
RECORD = {"format": "samed-record-1", "version": "0.1.0", "input_sha256": "ab" * 32, "options": "size=512", "seconds": 1.25, "organs": [1, 2, 3]}
FILES = {
    "record": json.dumps(RECORD, indent=2),
    "numbers": "[0,-0,1e5,-1.5e-300,0.1,1E+2,123456789012345678901234567890,1e999,5e-324]",
    "strings": json.dumps(["", "\"\\/\b\f\n\r\t", "\u0001\u007f\u00e9\u20ac\U0001f9e0"]),
    "raw_utf8": json.dumps(["\u00e9\u20ac\U0001f9e0"], ensure_ascii=False),
    "surrogates": '["\\ud83e\\udde0","\\ud83e","\\udde0\\ud83e"]',
    "zero": '["a\\u0000b"]',
    "nested": "[" * 200 + "]" * 200,
    "objects": '{"a":{"a":{"a":{}}},"a":[],"":null,"b":true,"c":false}',
    "comma": '{"a":1,}',
    "open": '{"a":[1,2,{"b":"c',
    "space": " \t\r\n[ 1 , 2 ] \n",
}

FOLDER.mkdir(parents=True, exist_ok=True)
for name, text in FILES.items():
    (FOLDER / (name + ".json")).write_bytes(text.encode())
(FOLDER / "latin1.json").write_bytes(b'["caf\xe9"]')
(FOLDER / "mark.json").write_bytes(b"\xef\xbb\xbf[]")
