"""Secrets by the names of files and by what is in them; shapes.py has tokens and command lines.

Here and not in the packer: the tracer keeps no copies of such files either.
"""

from __future__ import annotations

import os
import re
from fnmatch import translate
from functools import lru_cache

from sdee.tokens import has_token

CONTENT_LIMIT = 1 << 20  # bytes; a key is some kilobytes
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
    /etc/ssl/private/* /etc/ssh/ssh_host_*_key /etc/munge/munge.key /etc/krb5.keytab /root/.ssh/*
""")
# Public files in those folders
_PUBLIC = _words("""
    */.ssh/known_hosts */.ssh/config */.ssh/*.pub */.ssh/authorized_keys
""")

# RFC 7468's header alone on its line, and base64 or a header field after it: source code that only names it is no key
_KEYS = (
    (b"PRIVATE KEY", rb"^-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----\r?\n\s*[A-Za-z0-9+/]"),
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
        rb"(?:#[^\n]*\n|\s)*machine\s+\S+\s+login\s+\S+\s+(?:account\s+\S+\s+)?password\s+\S",
        "holds passwords, as .netrc does",
    ),
)


@lru_cache(maxsize=8)
def _pattern(globs: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(translate(g) for g in globs))


def secret_place(path: str) -> str:
    """Return why the folder of a file means a secret, "" when it does not."""
    if _pattern(_PUBLIC).match(path):
        return ""
    return "lies where secrets are kept" if _pattern(_PLACES).match(path) else ""


def secret_name(path: str) -> str:
    """Return why a file's own name means a secret, "" when it does not. Code is never one by its name."""
    name = os.path.basename(path)
    if name.endswith(CODE) or not _pattern(_NAMES).match(name) or _pattern(_PUBLIC).match(path):
        return ""
    return f"is named like a secret: {name}"


def secret_content(content: bytes) -> str:
    """Return why a file's content is a secret, "" when it is not. Programs are never looked through."""
    if content.startswith(b"\x7fELF"):
        return ""
    if any(word in content and re.search(shape, content, re.MULTILINE) for word, shape in _KEYS):
        return "holds a private key"
    if has_token(content):
        return "holds a token of some service"
    return next((why for begin, why in _BEGINNINGS if re.match(begin, content)), "")
