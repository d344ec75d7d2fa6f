"""Leave passwords, tokens and keys out of what is shown."""

from __future__ import annotations

import re
from typing import Final

_HIDDEN: Final = "***"
_ADVICE: Final = "user:password@"
"""What stands for a user and a password in our own advice."""
_USERINFO: Final = re.compile(rf"(?<=://)(?!{_ADVICE})(?:[^\s/?#]{{0,500}}|[^\s@:/?#]{{0,500}}:\S{{0,500}})@")
_WHOLE_USERINFO: Final = re.compile(r"(?<=://)(?:[^/?#]*|[^@:/?#]*:.*)@", re.DOTALL)
"""The same where a text is one URL and nothing else: even blanks may then belong to a password."""
_LOGIN: Final = re.compile(r"(?<![\w/.+%-])[\w.+%-]{1,500}:[^\s@/]{1,500}@(?=[\w-])")
"""A user and a password without a scheme before them: `me:secret@host/database`."""
_NAME: Final = (
    r"(?:(?<![\w.-])[\w.-]{0,500}?(?:password|passwd|passphrase|passcode|pwd|secret|signature"
    r"|(?:access|account|api|encryption|private|secret|shared)[_-]?key"
    r"|(?:access|auth|bearer|identity|motherduck|oauth|refresh|sas|security|session)[_-]?token)|\btoken|\bsig|\bsas)"
)
_PAIR: Final = re.compile(rf"""(?i)({_NAME}\s?=\s?|["']{_NAME}["']\s?:\s?)("[^"]*"|'[^']*'|[^\s&;,'"]+)""")
"""A secret under its name: in a URL's query, in a connection string of ODBC or Azure, in JSON."""
_PARAMETER: Final = re.compile(rf"(?i)(?<=[?&;]){_NAME}=[^&;#]*[&;]?")


def redacted(text: str) -> str:
    """Return *text* without what looks like a URL's user and password, or like a secret under its name."""
    if "@" in text:
        text = _LOGIN.sub("", _USERINFO.sub("", text))
    return _PAIR.sub(rf"\1{_HIDDEN}", text)


def without_secrets(url: str) -> str:
    """Return a URL without its user, its password, and the secrets of its query."""
    return _PARAMETER.sub("", _WHOLE_USERINFO.sub("", url)).rstrip("?&;")


def has_password(url: str) -> bool:
    """Tell whether there is a password or a token in a URL; a user alone is none."""
    user = re.search(r"://([^/?#@:]*)@", url)
    shown = url if user is None else url.replace(user[0], "://", 1)
    return without_secrets(shown) != shown.rstrip("?&;")
