"""What secrets look like in a text."""

from __future__ import annotations

import re

NAMED_SO = (
    r"(?:pass(?:word|wd|phrase|code)|secret|token|(?:api|access|account|private)[_-]?key|"
    r"connection[_-]?string|credential|authorization|signature)"
)
# Plain, and as the representation of a text that has quotes in it writes them.
QUOTED = r"""b?"(?:\\.|[^"\\])*"|b?'(?:\\.|[^'\\])*'|\\+(?P<quote>["']).{0,500}?\\+(?P=quote)"""
BARE = r"""(?:(?:bearer|basic)[ ]+)?[^\s,;&)}\]'"]+"""
KEY_BLOCK = (re.compile(r"-----BEGIN ([A-Z ]*)-----.*?-----END \1-----", re.DOTALL), "***")
KEY_ID = (re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"), "***")
# Repeats are bounded, so that no text takes long.
RULES = (
    KEY_BLOCK,
    (re.compile(r"(\w://)[^\s'\"]{0,2000}@"), r"\1***@"),
    (re.compile(r"([?&]sig=)[^&\s'\"]+"), r"\1***"),
    (
        re.compile(
            rf"""(\b[\w.-]{{0,60}}{NAMED_SO}[\w-]{{0,60}}\\{{0,3}}["']?[ ]*(?:=>|[:=])[ ]*)"""
            rf"""(?:{QUOTED}|{BARE})""",
            re.IGNORECASE,
        ),
        r"\1***",
    ),
    KEY_ID,
)
# What is certain to be a secret wherever it stands, so that nothing else in a message is lost.
CERTAIN = (
    KEY_BLOCK,
    (re.compile(r"(\w:/{1,2}[^\s'\"/@:]{0,200}):(?!\d+/)(?!<)[^\s'\"@]{1,2000}@"), r"\1:***@"),
    (
        re.compile(
            r"([?&](?:sig|x-amz-signature|[\w-]{0,60}token|[\w-]{0,60}secret)=)[^&\s'\"<]+",
            re.IGNORECASE,
        ),
        r"\1***",
    ),
    (re.compile(r"\b((?:Account|SharedAccess)(?:Key|Signature)=)[^;\s'\"]+", re.IGNORECASE),
     r"\1***"),
    KEY_ID,
)  # fmt: skip
NAME_OF_ONE = re.compile(rf"[\w.-]{{0,60}}{NAMED_SO}[\w-]{{0,60}}", re.IGNORECASE)
