"""Secrets by the names of files and by what is in them; tokens.py has tokens and command lines.

Here and not in the packer: the tracer keeps no copies of such files either.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
from fnmatch import translate
from functools import lru_cache
from typing import TYPE_CHECKING

from sdee.base.secrets.tokens import has_jwt, has_token, has_url_password

if TYPE_CHECKING:
    from collections.abc import Callable

CONTENT_LIMIT = 1 << 20  # bytes from a file's beginning, and of what it holds compressed; a key is some kilobytes
TEXT_LIMIT = 32 << 20  # the same of a text: dumps and logs
CODE = (".py", ".pyc", ".so", ".c", ".h", ".js", ".pl", ".pm", ".rb", ".md", ".rst", ".html")


def _words(text: str) -> tuple[str, ...]:
    return tuple(word for line in text.splitlines() for word in line.partition("#")[0].split())


_NAMES = _words("""
    id_rsa id_dsa id_ecdsa id_ed25519 id_ecdsa_sk id_ed25519_sk identity ssh_host_*_key   # OpenSSH
    .netrc _netrc .authinfo .authinfo.gpg .pgpass pgpass pgpass.conf .my.cnf .mylogin.cnf .htpasswd .git-credentials
    .npmrc .pypirc .s3cfg .boto .vault-token .kaggle.json kaggle.json kubeconfig .dockercfg .databrickscfg .modal.toml
    .cdsapirc .ecmwfapirc .urs_cookies .smbcredentials .msmtprc .fetchmailrc .terraformrc credentials.tfrc.json
    application_default_credentials.json cookies.txt .cookies .Xauthority .ICEauthority x509up_u* slurmdbd.conf
    *.kdbx *.kdb *.p12 *.pfx *.jks *.keytab krb5.keytab krb5cc_* munge.key .slurm_jwt* jwt_hs256.key slurm.key
    cookies.sqlite cookies.sqlite-wal Cookies Cookies-journal logins.json key3.db key4.db Login*Data
    clouds.yaml clouds.yml secure.yaml *openrc.sh .passwd-s3fs .comet.config rclone.conf .rclone.conf
    .env .env.* .bash_history .zsh_history .python_history .psql_history .mysql_history
    token *.token .*token access_token* *_token *-token token.json *_token.json
""")
# Folders of secrets: directory, then the names in it that are (a ":" between)
_PLACES = _words("""
    */.ssh/* */.gnupg/* */.aws/credentials */.aws/sso/* */.azure/* */.kube/config */.docker/config.json
    */.config/gcloud/* */.config/gh/hosts.yml */.config/rclone/rclone.conf */.globus/*.pem */.subversion/auth/*
    */.config/glab-cli/config.yml */.config/doctl/config.yaml */containers/auth.json */.oci/* */.cargo/credentials*
    */.gem/credentials */.config/sops/age/keys.txt */.globusonline/* */.globus/cli/* */.snowflake/connections.toml
    */.aws/cli/cache/* */jupyter/runtime/* */.vnc/passwd */.davfs2/secrets /etc/shadow /etc/gshadow
    */.local/share/keyrings/* */.password-store/* */.cache/huggingface/token */.huggingface/token
    */.ngc/config */.config/earthengine/credentials */.config/openstack/* */.lightning/credentials.json */.config/hub
    /etc/ssl/private/* /etc/ssh/ssh_host_*_key /etc/munge/munge.key /etc/krb5.keytab /root/.ssh/*
""")
_IN_SIGHT = tuple(place for place in _PLACES if "/." not in place)
# Public files in those folders
_PUBLIC = _words("""
    */.ssh/known_hosts */.ssh/config */.ssh/*.pub */.ssh/authorized_keys
""")

# Files that say where software comes from and where services are: a URL with a password is one's own there
_SETTINGS = _words("""
    *.conf *.cfg *.ini *.toml *.yaml *.yml *.properties *.repo *.condarc */.gitconfig */.git/config */requirements*.txt
""")

# RFC 7468's header alone on its line, perhaps indented, and base64 or a header field after it: source code that only
# names it is no key. Within a line, as JSON escapes it or after a quote, with as much base64 as source never has
_PEM = rb"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----"
_KEYS = (
    (b"PRIVATE KEY", rb"^[ \t]*" + _PEM + rb"[ \t]*\r?\n\s*[A-Za-z0-9+/]"),
    (b"PRIVATE KEY", _PEM + rb"(?:\r?\n[ \t]*|(?:\\+r)?\\+n)(?:[A-Za-z0-9+/]{32}|Proc-Type: )"),
    (b"SSH2 ENCRYPTED", rb"^---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----\r?\n"),  # RFC 4716's sibling of ssh.com
    (b"PuTTY-User-Key-File", rb"\APuTTY-User-Key-File-[0-9]: "),
)
# What a file begins with that is a secret as a whole, whatever its name
_BEGINNINGS = (
    (rb"\x05[\x03\x04](?:\x00\x0c\x00\x01|\x00\x00\x00\x00)", "holds Kerberos tickets"),  # MIT, ccache format
    (rb"\x05\x02\x00\x00..\x00[\x01-\x08]", "holds Kerberos keys"),  # keytab format
    (rb"# (?:Netscape )?HTTP Cookie File[^\n]*\n(?s:.*)\t(?:TRUE|FALSE)\t", "holds cookies"),  # curl, wget
    (rb"SQLite format 3\0(?s:.*)CREATE TABLE (?:moz_)?cookies\b", "holds a browser's cookies"),
    (rb"SQLite format 3\0(?s:.*)CREATE TABLE (?:moz_)?logins\b", "holds a browser's passwords"),
    (
        rb"(?:#[^\n]*\n|\s)*(?:machine\s+\S+|default)\s+(?:(?:login|account)\s+\S+\s+)*password\s+\S",
        "holds passwords, as .netrc does",
    ),
)
_BEGINNING = re.compile(b"|".join(b"(%b)" % begin for begin, _ in _BEGINNINGS))  # a group each: one search, not six


@lru_cache(maxsize=8)
def _pattern(globs: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(translate(g) for g in globs))


def secret_place(path: str) -> str:
    """Return why the folder of a file means a secret, "" when it does not."""
    # most lie in a hidden directory, which few files do: trying 40 patterns that begin with a star takes 10 µs
    globs = _PLACES if "/." in path else _IN_SIGHT
    if not _pattern(globs).match(path) or _pattern(_PUBLIC).match(path):
        return ""
    return "lies where secrets are kept"


def secret_name(path: str) -> str:
    """Return why a file's own name means a secret, "" when it does not. Code is never one by its name."""
    name = os.path.basename(path)
    if name.endswith(CODE) or not _pattern(_NAMES).match(name) or _pattern(_PUBLIC).match(path):
        return ""
    return f"is named like a secret: {name}"


def to_look_into(read: Callable[[int], bytes]) -> bytes:
    """Return as much of a file as is looked into; `read` returns so many bytes from its beginning."""
    content = read(CONTENT_LIMIT)
    return content if len(content) < CONTENT_LIMIT or b"\0" in content else read(TEXT_LIMIT)


def secret_content(content: bytes, path: str = "") -> str:
    """Return why a file's content is a secret, "" when it is not. Programs are never looked through.

    Content that is compressed, or Base64 as a whole, is what it holds.
    """
    if content.startswith(b"\x7fELF"):
        return ""
    why = _plain_secret(content, path)
    return why or next((why for inner in _inner(content) if (why := _plain_secret(inner, path))), "")


def is_setting(path: str) -> bool:
    """Tell whether a file is looked through for passwords in URLs, too: the one thing that depends on its name."""
    return _pattern(_SETTINGS).match(path) is not None


def _plain_secret(content: bytes, path: str) -> str:
    if any(word in content and re.search(shape, content, re.MULTILINE) for word, shape in _KEYS) or _holds_encoded_key(
        content
    ):
        return "holds a private key"
    if has_token(content) or has_jwt(content):
        return "holds a token of some service"
    if is_setting(path) and has_url_password(content):
        return "holds a password in a URL"
    begun = _BEGINNING.match(content)
    return _BEGINNINGS[begun.lastindex - 1][1] if begun and begun.lastindex else ""


def _holds_encoded_key(content: bytes) -> bool:
    """Tell whether Base64 of a private key is in it, as in a kubeconfig."""
    begin = base64.b64encode(b"-----BEGIN")[:13]
    if begin not in content:
        return False
    found = re.finditer(re.escape(begin) + rb"[A-Za-z0-9+/]{23}", content)
    return any(re.match(_PEM[:-5], base64.b64decode(match[0])) for match in found)


_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=\r\n"


def _inner(content: bytes) -> list[bytes]:
    """Return what compressed or encoded content holds, up to the limit."""
    for magic, opened in ((b"\x1f\x8b", _gzip), (b"BZh", _bzip2), (b"\xfd7zXZ\0", _xz), (b"\x28\xb5\x2f\xfd", _zstd)):
        if content.startswith(magic):
            try:
                return [opened(content)]
            except Exception:  # noqa: BLE001 - each library has errors of its own; what cannot be opened holds nothing
                return []
    if 32 < len(content) <= CONTENT_LIMIT and not content.translate(None, _BASE64):
        try:
            return [base64.b64decode(content)]
        except binascii.Error:
            return []
    return []


def _gzip(content: bytes) -> bytes:
    import zlib  # noqa: PLC0415 - seldom needed, here and below

    return zlib.decompressobj(31).decompress(content, CONTENT_LIMIT)


def _bzip2(content: bytes) -> bytes:
    import bz2  # noqa: PLC0415

    return bz2.BZ2Decompressor().decompress(content, CONTENT_LIMIT)


def _xz(content: bytes) -> bytes:
    import lzma  # noqa: PLC0415

    return lzma.LZMADecompressor(memlimit=256 << 20).decompress(content, CONTENT_LIMIT)


def _zstd(content: bytes) -> bytes:
    import zstandard  # noqa: PLC0415

    return zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(content).read(CONTENT_LIMIT)
