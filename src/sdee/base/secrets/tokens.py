"""Secrets by their shapes: tokens of common services as their makers publish them for scanners, keys, command lines.

The tracer drops variables that hold one and blanks them in command lines, the packer refuses files that do. A shape has
a text that it cannot be without: looking for that first goes through some 50 MB a second, one large expression of half
as many through 13, and shapes are compiled when they are met. Every shape is bounded on both sides, since Base64 has
everything in it somewhere.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

BLANK = "SECRET-NOT-RECORDED"  # stands in a recorded command line where a secret was

_NO = r"(?<![A-Za-z0-9_-])"  # nothing of the same kind before
_END = r"(?![A-Za-z0-9_-])"  # nor after
# text that is there → shape, without its bounds
_TOKENS: tuple[tuple[str, str], ...] = (
    ("ghp_", r"ghp_[A-Za-z0-9]{36}"),
    ("gho_", r"gho_[A-Za-z0-9]{36}"),
    ("ghu_", r"ghu_[A-Za-z0-9]{36}"),
    ("ghs_", r"ghs_[A-Za-z0-9]{36}"),
    ("ghr_", r"ghr_[A-Za-z0-9]{36,76}"),
    ("github_pat_", r"github_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59}"),
    ("AKIA", r"AKIA[A-Z2-7]{16}(?<!EXAMPLE)"),
    ("ASIA", r"ASIA[A-Z2-7]{16}(?<!EXAMPLE)"),
    ("AIza", r"AIza[A-Za-z0-9_-]{35}"),
    ("ya29.", r"ya29\.[A-Za-z0-9_-]{40,}"),
    ("GOCSPX-", r"GOCSPX-[A-Za-z0-9_-]{28}"),
    ("xox", r"xox[abeoprs](?:\.xox[bp])?-[0-9]+-[0-9A-Za-z-]{15,}"),
    ("xapp-", r"xapp-[0-9]+-[A-Z0-9]+-[0-9]+-[a-z0-9]{20,}"),
    ("hf_", r"hf_[A-Za-z0-9]{34}"),
    ("pypi-", r"pypi-Ag(?:EIcHlwaS5vcmc|ENdGVzdC5weXBpLm9yZw)[A-Za-z0-9_-]{50,}"),
    ("npm_", r"npm_[A-Za-z0-9]{36}"),
    ("T3BlbkFJ", r"sk-(?:[A-Za-z0-9]+-)?[A-Za-z0-9_-]{20,100}T3BlbkFJ[A-Za-z0-9_-]{20,100}"),
    ("sk-ant-", r"sk-ant-[a-z]+[0-9]{2}-[A-Za-z0-9_-]{80,}"),
    ("sk-or-v1-", r"sk-or-v1-[0-9a-f]{64}"),
    ("gsk_", r"gsk_[A-Za-z0-9]{52}"),
    ("nvapi-", r"nvapi-[A-Za-z0-9_-]{60,}"),
    ("r8_", r"r8_[A-Za-z0-9]{37}"),
    ("k_live_", r"[sr]k_live_[0-9A-Za-z]{24,}"),
    ("dop_v1_", r"do[opr]_v1_[a-f0-9]{64}"),
    ("dapi", r"dapi[a-f0-9]{32}(?:-[0-9])?"),
    ("SG.", r"SG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}"),
    ("sq0", r"sq0(?:csp|atp)-[A-Za-z0-9_-]{22,43}"),
    ("hvs.", r"hvs\.[A-Za-z0-9_-]{24,}"),
    (".atlasv1.", r"[A-Za-z0-9]{14}\.atlasv1\.[A-Za-z0-9_-]{60,}"),
    ("dckr_pat_", r"dckr_pat_[A-Za-z0-9_-]{27}"),
    ("glsa_", r"glsa_[A-Za-z0-9]{32}_[0-9a-f]{8}"),
    ("tskey-", r"tskey-[a-z]+-[A-Za-z0-9]+-[A-Za-z0-9]{20,}"),
    (":AA", r"[0-9]{8,10}:AA[A-Za-z0-9_-]{33}"),  # Telegram
    ("AGE-SECRET-KEY-1", r"AGE-SECRET-KEY-1[0-9A-Z]{58}"),
    ("hooks.slack.com/services/", r"hooks\.slack\.com/services/T[A-Za-z0-9_]+/B[A-Za-z0-9_]+/[A-Za-z0-9_]{20,}"),
    ("/api/webhooks/", r"discord(?:app)?\.com/api/webhooks/[0-9]{17,20}/[A-Za-z0-9_-]{60,}"),
    ("AccountKey=", r"AccountKey=[A-Za-z0-9+/]{86}=="),
)
_AWS = (
    r"(?i:aws_?secret_?(?:access_?)?key|SecretAccessKey)[\"']?\s*[=:]\s*[\"']?"
    r"(?![A-Za-z0-9/+]*EXAMPLE)[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+=])"
)
_GITLAB = "glpat- gldt- glrt- glcbt- glptt- glft- glimt- glagent- gloas- glsoat- glffct-"
_OPEN: tuple[tuple[str, str], ...] = (  # with bounds of their own
    ('"private_key"', r"\"private_key\":\s*\"-----BEGIN"),
    ("ecret", _AWS),
    ("ECRET", _AWS),
)
_LISTED = (*_TOKENS, *((prefix, prefix + r"[A-Za-z0-9_.-]{20,200}") for prefix in _GITLAB.split()))
_SHAPES = tuple((text.encode(), f"{_NO}{shape}{_END}".encode()) for text, shape in _LISTED) + tuple(
    (text.encode(), shape.encode()) for text, shape in _OPEN
)
# RFC 7519: header, claims, signature
_JWT = rb"(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{10,}\.(eyJ[A-Za-z0-9_-]{10,})\.[A-Za-z0-9_-]{20,}"
_URL = rb"(?<=://)[^\s/:@\"']*:[^\s/:@\"'${}<>]+(?=@)"  # RFC 3986, userinfo
_EXAMPLES = re.compile(rb"(?i):(?:pass|passwd|password|passw0rd|pw|pwd|secret|changeme|x+|\*+|\.+|%[(\w].*)\Z")
# Only in variables and command lines: files quote them as examples
_SHORT = (
    (b"eyJ", _JWT),
    (b"://", _URL),
    (b"uthorization:", rb"(?i)(?<=authorization:)\s*(?:bearer|basic|token)\s+[^\s\"'$]+"),
    (b"-----BEGIN", rb"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----.*"),
)

# An option or NAME= whose value is a secret; with bounds, or a row of underscores takes a minute (and so no prefix of
# more than 100 characters counts). Not "token" alone: --pad-token and --max-tokens are a language model's
_WORDS = (
    r"(?:\w{0,100}pass(?:word|wd|phrase|code)|(?:admin|db|login|proxy|root|smtp|user)[-_]?pwd|secret|(?:secret|access|api|auth|account)[-_]?key|"
    r"(?:access|api|auth|authn|bearer|bot|hub|hf|github|gitlab|id|jwt|oauth|refresh|session|use_auth|user|vault|wandb)"
    r"[-_]?token)"
)
_VARIABLE = r"(?-i:(?:[A-Z][A-Z0-9_]{0,100}_)?(?:TOKEN|KEY_ID|API_KEY|SECRET))"
_NAME = (
    r"(?i)(?!--?(?:ask|hide|no|prompt|show|use|without)[-_]pass)"
    rf"(?:--?(?:[\w.-]{{0,100}}[-_.])?{_WORDS}|(?:[\w.]{{0,100}}[_.])?{_WORDS}|--token|{_VARIABLE})\Z"
)
# the same within a script: sh -c '…'
_WITHIN = (
    rf"(?i)((?<![\w-])(?:--?(?:[\w-]{{1,100}}-)?{_WORDS}[= ]\s*|(?:\w{{1,100}}_)?{_WORDS}=|{_VARIABLE}=))"
    r"([\"']?)[^\s\"'$;&|]+"
)
_SCRIPT_LIMIT = 1 << 16  # characters


def _by_sign() -> list[tuple[tuple[bytes, ...], list[tuple[bytes, bytes]]]]:
    """Return the shapes by short signs that all of a group have: without one, the group is not searched for.

    The 52 searches were two thirds of what looking into a small file takes (33 of 49 µs for 1.6 kB of text).
    """
    groups: dict[tuple[bytes, ...], list[tuple[bytes, bytes]]] = {}
    for text, shape in _SHAPES:
        groups.setdefault(tuple(sign for sign in (b"_", b"-", b"gh", b"gl") if sign in text), []).append((text, shape))
    return list(groups.items())


_GROUPS = _by_sign()


def has_token(data: bytes) -> bool:
    """Tell whether a file's content holds a token of some service."""
    for signs, shapes in _GROUPS:
        if all(sign in data for sign in signs):
            for text, shape in shapes:
                if text in data and re.search(shape, data):
                    return True
    return False


def has_jwt(data: bytes) -> bool:
    """Tell whether a file's content holds a JSON web token, one with a maker or an end: examples have neither."""
    if b"eyJ" not in data:
        return False
    claims = (base64.urlsafe_b64decode(found[1] + b"=" * (-len(found[1]) % 4)) for found in re.finditer(_JWT, data))
    try:
        return any(b'"exp"' in text or b'"iss"' in text for text in claims)
    except binascii.Error:
        return False


def has_url_password(data: bytes) -> bool:
    """Tell whether settings hold a URL with a password that is no example."""
    return b"://" in data and any(not _EXAMPLES.search(found[0]) for found in re.finditer(_URL, data))


def has_secret(text: str) -> bool:
    """Tell whether a variable's value is or holds a secret: a token, a JWT, a URL's password, a private key."""
    data = text.encode("utf-8", "surrogateescape")
    return any(word in data and re.search(shape, data, re.DOTALL) for word, shape in (*_SHAPES, *_SHORT))


def redact(argv: Sequence[str]) -> list[str]:
    """Return a command line with BLANK in place of each secret: tokens, and values of options like --password."""
    found: list[str] = []
    secret_next = False
    program = argv[0].rpartition("/")[2] if argv else ""
    data = "\0".join(argv).encode("utf-8", "surrogateescape")
    shapes = [shape for word, shape in (*_SHAPES, *_SHORT) if word in data]
    for number, argument in enumerate(argv):
        name, equals, value = argument.partition("=")
        if secret_next and not argument.startswith("-"):  # else the option asks for it, or is a mere switch
            found.append(BLANK)
            secret_next = False
        elif number and equals and value and re.match(_NAME, name):
            found.append(f"{name}={BLANK}")
        elif number and (short := _of_program(program, argv[number - 1], argument)):
            found.append(short)
        else:
            secret_next = bool(number) and argument.startswith("-") and bool(re.match(_NAME, argument))
            found.append(_blanked(argument, shapes))
    return found


def _of_program(program: str, before: str, argument: str) -> str:
    """Return an argument that means a secret to this very program, blanked; "" when it does not."""
    if program == "sshpass" and argument.startswith("-p") and len(argument) > 2:
        return f"-p{BLANK}"
    if program == "sshpass" and before == "-p":
        return BLANK
    if program in ("mysql", "mariadb", "mysqldump", "mysqladmin") and re.match(r"-p.", argument):
        return f"-p{BLANK}"
    if program == "curl" and before in ("-u", "--user", "-U", "--proxy-user") and ":" in argument:
        return f"{argument.partition(':')[0]}:{BLANK}"
    if program == "openssl" and argument.startswith("pass:"):
        return f"pass:{BLANK}"
    return ""


def _blanked(argument: str, shapes: list[bytes]) -> str:
    if shapes:
        data = argument.encode("utf-8", "surrogateescape")
        for shape in shapes:
            data = re.sub(shape, BLANK.encode(), data, flags=re.DOTALL)
        argument = data.decode("utf-8", "surrogateescape")
    if (" " in argument or "\n" in argument) and len(argument) < _SCRIPT_LIMIT:
        argument = re.sub(_WITHIN, rf"\1\2{BLANK}", argument)
    return argument
