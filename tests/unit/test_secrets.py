"""Secrets made afresh: none is stored or printed, whether a file, a variable or a command line holds it.

And the other side: what jobs really use is not taken for one.
"""

from __future__ import annotations

import base64
import bz2
import gzip
import lzma
import os
import random
import re
import socket
import string
import subprocess
import sys
import sysconfig
from typing import TYPE_CHECKING

import pytest
import zstandard

from closure_support import TraceMaker, verdict, write
from sdee.base.secrets.tokens import BLANK, has_secret, has_token, redact
from sdee.packer import knowledge
from sdee.packer.closure.secrets import secret_by_content
from sdee.packer.filesystem import FileSystem
from sdee.packer.format.reader import open_bundle

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

WORD = string.ascii_letters + string.digits
HEX = "0123456789abcdef"
CHANCE = random.SystemRandom()


def some(number: int, letters: str = WORD) -> str:
    return "".join(CHANCE.choice(letters) for _ in range(number))


TOKENS: dict[str, Callable[[], str]] = {
    "GitHub": lambda: f"gh{CHANCE.choice('pousr')}_{some(36)}",
    "GitHub, fine-grained": lambda: f"github_pat_{some(22)}_{some(59)}",
    "GitLab": lambda: f"glpat-{some(20)}",
    "GitLab, runner": lambda: f"glrt-{some(20)}",
    "AWS, key id": lambda: f"AKIA{some(16, string.ascii_uppercase + '234567')}",
    "AWS, secret": lambda: f"aws_secret_access_key = {some(40)}",
    "AWS, variable": lambda: f"AWS_SECRET_ACCESS_KEY={some(40)}",
    "AWS, JSON": lambda: f'"SecretAccessKey": "{some(40)}"',
    "Google, API": lambda: f"AIza{some(35)}",
    "Google, OAuth": lambda: f"ya29.{some(60)}",
    "Google, service account": lambda: f'{{"private_key": "-----BEGIN PRIVATE KEY-----\\n{some(64)}"}}',
    "Slack": lambda: f"xoxb-{some(12, string.digits)}-{some(24)}",
    "Slack, hook": lambda: f"https://hooks.slack.com/services/T{some(8)}/B{some(8)}/{some(24)}",
    "Hugging Face": lambda: f"hf_{some(34)}",
    "PyPI": lambda: f"pypi-AgEIcHlwaS5vcmc{some(120)}",
    "npm": lambda: f"npm_{some(36)}",
    "OpenAI": lambda: f"sk-{some(20)}T3BlbkFJ{some(20)}",
    "OpenAI, project": lambda: f"sk-proj-{some(74)}T3BlbkFJ{some(74)}",
    "Anthropic": lambda: f"sk-ant-api03-{some(93)}AA",
    "OpenRouter": lambda: f"sk-or-v1-{some(64, HEX)}",
    "Groq": lambda: f"gsk_{some(52)}",
    "NVIDIA": lambda: f"nvapi-{some(64)}",
    "Stripe": lambda: f"sk_live_{some(24)}",
    "DigitalOcean": lambda: f"dop_v1_{some(64, HEX)}",
    "Databricks": lambda: f"dapi{some(32, HEX)}",
    "SendGrid": lambda: f"SG.{some(22)}.{some(43)}",
    "Square": lambda: f"sq0csp-{some(43)}",
    "Vault": lambda: f"hvs.{some(90)}",
    "Docker": lambda: f"dckr_pat_{some(27)}",
    "Telegram": lambda: f"{some(9, '123456789')}:AA{some(33)}",
    "Azure": lambda: f"AccountKey={some(86)}==",
    "age": lambda: f"AGE-SECRET-KEY-1{some(58, string.ascii_uppercase + string.digits)}",
}
VALUES: dict[str, Callable[[], str]] = {  # told in variables and command lines only
    "JWT": lambda: f"eyJ{some(30)}.eyJ{some(60)}.{some(43)}",
    "URL": lambda: f"https://me:{some(24)}@example.org:8080/x",
    "header": lambda: f"Authorization: Bearer {some(30)}",
}


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TraceMaker:
    monkeypatch.setattr(knowledge, "TEMPORARY_ROOTS", ())
    monkeypatch.setattr(knowledge, "SYSTEM_ROOTS", ())
    (tmp_path / "work").mkdir()
    return TraceMaker(str(tmp_path / "work"), str(tmp_path / "home"))


@pytest.mark.parametrize("kind", TOKENS)
def test_a_token_is_told_anywhere_but_not_within_other_text(kind: str) -> None:
    token = TOKENS[kind]()
    for text in (token, f"key: {token}\n", f'["{token}"]', f"export X={token};"):
        assert has_token(text.encode())
        assert has_secret(text)
        assert token not in " ".join(redact(["job", text]))
    if '"' not in token and "=" not in token and "/" not in token:
        assert not has_token(f"sha256={some(10)}{token}{some(10)},123".encode())


@pytest.mark.parametrize("kind", VALUES)
def test_variables_and_command_lines_are_looked_through_for_more(kind: str) -> None:
    value = VALUES[kind]()
    secret = max(re.findall(r"[A-Za-z0-9]+", value), key=len)
    assert has_secret(value)
    assert secret not in " ".join(redact(["job", value]))
    assert not has_token(value.encode())


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def pem() -> str:
    return f"-----BEGIN EC PRIVATE KEY-----\n{some(64)}\n-----END EC PRIVATE KEY-----\n"


def jwt() -> str:
    head, claims = ('{"alg":"RS256","typ":"JWT"}', f'{{"sub":"me","exp":1893456000,"x":"{some(10)}"}}')
    return f"{encoded(head).rstrip('=')}.{encoded(claims).rstrip('=')}.{some(43)}"


FILES: dict[str, Callable[[], str]] = {
    **TOKENS,
    "PEM": lambda: f"-----BEGIN RSA PRIVATE KEY-----\n{some(64)}\n",
    "OpenSSH": lambda: f"-----BEGIN OPENSSH PRIVATE KEY-----\n{some(70)}\n",
    "PGP": lambda: f"-----BEGIN PGP PRIVATE KEY BLOCK-----\n\n{some(64)}\n",
    "PEM, indented": lambda: f"key: |\n    -----BEGIN EC PRIVATE KEY-----\n    {some(64)}\n",
    "PEM, quoted": lambda: f'KEY="-----BEGIN RSA PRIVATE KEY-----\n{some(64)}\n"\n',
    "PEM, escaped": lambda: f'{{"key": "-----BEGIN PRIVATE KEY-----\\n{some(64)}\\n"}}',
    "PEM, escaped twice": lambda: f'"{{\\"key\\": \\"-----BEGIN RSA PRIVATE KEY-----\\\\r\\\\n{some(64)}"}}',
    "PEM, far behind": lambda: "a line of a log\n" * 200_000 + f"-----BEGIN RSA PRIVATE KEY-----\n{some(64)}\n",
    "kubeconfig": lambda: f"client-key-data: {encoded(pem())}\n",
    "Base64": lambda: "\n".join(re.findall(".{1,64}", encoded(f"x: 1\nkey: {TOKENS['GitHub']()}\n{some(40)}"))) + "\n",
    "JWT": lambda: f"token = {jwt()}\n",
    "netrc, default": lambda: f"default login me password {some(12)}\n",
    "PuTTY": lambda: f"PuTTY-User-Key-File-3: ssh-ed25519\n{some(64)}\n",
    "netrc": lambda: f"# mine\nmachine example.org login me password {some(12)}\n",
    "Kerberos tickets": lambda: f"\5\4\0\x0c\0\1\0\x08{some(60)}",
    "keytab": lambda: f"\5\2\0\0\0\x40\0\2{some(60)}",
    "cookies": lambda: f"# Netscape HTTP Cookie File\n\n.example.org\tTRUE\t/\tTRUE\t0\tsession\t{some(20)}\n",
    "Firefox": lambda: f"SQLite format 3\0{some(80)}CREATE TABLE moz_cookies (id){some(20)}",
}


@pytest.mark.parametrize("kind", FILES)
def test_a_file_that_holds_one_is_refused_whatever_its_name(made: TraceMaker, tmp_path: Path, kind: str) -> None:
    text = FILES[kind]()
    path = made.use(write(tmp_path / "work" / "settings.txt", text))
    closure = made.closure(with_data=True)
    assert verdict(closure, path) == "secret"
    said = " ".join((*closure.warnings, *closure.notices, repr(closure.items[path])))
    assert "--allow" in said
    assert not any(part in said for part in re.findall(r"[A-Za-z0-9]{12,}", text) if part not in path)
    assert verdict(made.closure(with_data=True, allow=(path,)), path) == "bundle"


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, zstandard.compress])
def test_a_compressed_file_is_what_it_holds(made: TraceMaker, tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    work = tmp_path / "work"
    held = write(work / "dump", "")
    (work / "dump").write_bytes(pack(("x" * 5000 + f"\n{pem()}").encode()))
    other = write(work / "other", "")
    (work / "other").write_bytes(pack(b"x" * 5000))
    broken = write(work / "broken", "")
    (work / "broken").write_bytes(pack(b"x" * 5000)[:20])
    paths = [made.use(path) for path in (held, other, broken)]
    assert [verdict(made.closure(with_data=True), path) for path in paths] == ["secret", "bundle", "bundle"]


def test_a_compressed_file_cannot_fill_memory() -> None:
    bomb = gzip.compress(bytes(200 << 20))
    script = "import resource, sys; resource.setrlimit(resource.RLIMIT_AS, (200 << 20,) * 2)\n"
    script += "from sdee.base.secrets.files import secret_content; print(secret_content(sys.stdin.buffer.read()) == '')"
    done = subprocess.run([sys.executable, "-c", script], input=bomb, capture_output=True, check=False)
    assert done.stdout == b"True\n", done.stderr


@pytest.mark.parametrize("name", ["pip.conf", "uv.toml", ".condarc", "repo/.git/config", "requirements-dev.txt"])
def test_a_password_in_a_url_of_settings_is_a_secret(made: TraceMaker, tmp_path: Path, name: str) -> None:
    text = "[global]\nindex-url = https://me:{}@pypi.example.org/simple\n"
    path = made.use(write(tmp_path / "work" / name, text.format(some(12))))
    assert verdict(made.closure(with_data=True), path) == "secret"
    for example in ("${PASSWORD}", "password", "<password>", "xxx"):
        write(tmp_path / "work" / name, text.format(example))
        assert verdict(made.closure(with_data=True), path) == "bundle"


def test_what_only_names_a_key_or_shows_a_token_is_no_secret(made: TraceMaker, tmp_path: Path) -> None:
    example = (
        "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzb21lIjoicGF5bG9hZCJ9.4twFt5NiznN84AWoo1d7KO1T_yoc0Z6XOpOVswacPZg"
    )
    texts = (
        f"jwt.encode(...) gives {example}\n",
        'if "-----BEGIN PRIVATE KEY-----\\n" in text: pass\n',
        "A key begins with -----BEGIN RSA PRIVATE KEY-----\nand ends with a line like it.\n",
        f"{'A' * 5000}\n",
    )
    for number, text in enumerate(texts):
        path = made.use(write(tmp_path / "work" / f"{number}.txt", text))
        assert verdict(made.closure(with_data=True), path) == "bundle", text


@pytest.mark.parametrize(
    "name",
    [
        ".ngc/config",
        "clouds.yaml",
        ".config/earthengine/credentials",
        "project-openrc.sh",
        ".ssh/id_ed25519",
        ".netrc",
        ".pgpass",
        ".aws/credentials",
        ".config/gcloud/application_default_credentials.json",
        ".azure/accessTokens.json",
        ".mozilla/firefox/x.default/cookies.sqlite",
        ".config/google-chrome/Default/Cookies",
        ".config/google-chrome/Default/Login Data",
        "krb5cc_1000",
        "munge.key",
        ".Xauthority",
        ".kaggle/kaggle.json",
        ".cdsapirc",
        ".config/containers/auth.json",
        "x509up_u1000",
    ],
)
def test_a_file_of_that_name_is_refused_whatever_it_holds(made: TraceMaker, tmp_path: Path, name: str) -> None:
    path = made.use(write(tmp_path / "home" / name, some(30)))
    assert verdict(made.closure(with_data=True), path) == "secret"


def looked_into() -> list[str]:
    """Return what jobs use: the standard library and what is installed beside it, Perl's, the system's data."""
    tops = [
        sysconfig.get_path("stdlib"),
        sysconfig.get_path("purelib"),
        "/usr/lib/python3",
        "/usr/share/perl",
        "/usr/share/misc",
    ]
    return [os.path.join(directory, name) for top in tops for directory, _, names in os.walk(top) for name in names]


def test_nothing_of_what_jobs_use_is_taken_for_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(knowledge, "SYSTEM_ROOTS", ())  # as if all of it were somebody's own installation
    fs = FileSystem()
    paths = [path for path in looked_into() if not re.search(r"/(tests?|testdata|idle_test)/", path)]
    assert len(paths) > 2000
    assert [path for path in paths if secret_by_content(path, fs)] == []


@pytest.mark.parametrize(
    "argv",
    [
        ["python", "train.py", "--max-tokens", "512", "--pad-token", "<pad>", "--eos_token=2", "--tokenizer", "bpe"],
        ["python", "run.py", "model.max_tokens=512", "trainer.key=val", "pad_token=<pad>", "token=1"],
        ["ffmpeg", "-pass", "1", "-passlogfile", "x"],
        ["git", "clone", "git@github.com:a/b", "https://example.org:80/x@y", "http://h/"],
        ["mpirun", "-np", "4", "-x", "PATH=/usr/bin", "-genv", "KEY=1", "./a.out", "--secret-santa"],
        ["sh", "-c", "for i in 1 2; do echo $PASSWORD ${TOKEN} --password; done"],
        ["curl", "-u", "$USER"],
        ["psql", "--no-password", "me", "--password", "-U", "me"],
        ["env", "PWD=/tmp", "OLDPWD=/", "sh", "-c", "PWD=/x job"],
        [],
        ["--password"],
    ],
)
def test_ordinary_command_lines_are_recorded_as_they_are(argv: list[str]) -> None:
    assert redact(argv) == argv


@pytest.mark.parametrize(
    "argv",
    [
        ["job", "--password", "{}"],
        ["job", "--db-password={}"],
        ["job", "--api-key", "{}"],
        ["job", "--token={}"],
        ["job", "--hf_token", "{}"],
        ["env", "PGPASSWORD={}", "HF_TOKEN={}", "job"],
        ["job", "db.password={}"],
        ["curl", "-u", "me:{}", "-H", "Authorization: Basic {}"],
        ["sshpass", "-p", "{}", "ssh", "node"],
        ["sshpass", "-p{}"],
        ["mysql", "-p{}"],
        ["openssl", "rsa", "-passin", "pass:{}"],
        ["sh", "-c", "export API_TOKEN={}; job --password '{}' && PGPASSWORD={} psql"],
        ["job", "-----BEGIN RSA PRIVATE KEY-----\n{}\n"],
    ],
)
def test_secrets_of_command_lines_are_blanked(argv: list[str]) -> None:
    secret = some(14)
    shown = redact([argument.replace("{}", secret) for argument in argv])
    assert secret not in " ".join(shown)
    assert BLANK in " ".join(shown)
    assert len(shown) == len(argv)
    assert shown[0] == argv[0]


def test_no_secret_of_a_run_is_stored_or_printed(tmp_path: Path) -> None:
    secrets = {name: some(20) for name in ("password", "variable", "url", "inner", "file")}
    token = TOKENS["GitHub"]()
    (tmp_path / "job.sh").write_text(
        '#!/bin/sh\n. ./settings.sh\ntest "$2" || exit 9\n'
        'env "PGPASSWORD=$INNER" true --token "$TOKEN_OF_FILE" </dev/null\n'
    )
    (tmp_path / "settings.sh").write_text(f"TOKEN_OF_FILE={token}\nexport FILE_PASSWORD={secrets['file']}\n")
    (tmp_path / "job.sh").chmod(0o755)
    environment = {
        **os.environ,
        "PLAIN_SETTING": f"x {TOKENS['Hugging Face']()} y",
        "DB_PASSWORD": secrets["variable"],
        "https_proxy": f"http://me:{secrets['url']}@proxy:3128",
        "INNER": f"{token}",
        "SSH_AUTH_SOCK": str(tmp_path / "agent.sock"),
    }
    hidden = [*secrets.values(), token, environment["PLAIN_SETTING"].split()[1]]
    with socket.socket(socket.AF_UNIX) as agent:
        agent.bind(str(tmp_path / "agent.sock"))
        said = ""
        for arguments in (
            ["trace", "--", "./job.sh", "--password", secrets["password"]],
            ["bundle"],
            ["bundle", "--dry-run"],
            ["bundle", "--dry-run", "--json"],
            ["info", "bundle.sdee", "--json"],
            ["why", "settings.sh"],
            ["--debug", "exec", "--dry-run", "bundle.sdee"],
        ):
            command = [sys.executable, "-m", "sdee", *arguments]
            done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
            said += done.stdout + done.stderr
            assert arguments[0] == "--debug" or done.returncode == 0, done.stderr
    assert "settings.sh" in said
    assert "sdee did not record what looks like a secret" in said
    assert "give the bundle all its arguments" in said
    stored = said + (tmp_path / "sdee.trace").read_text()
    with open_bundle(str(tmp_path / "bundle.sdee")) as bundle:
        stored += repr(bundle.meta) + repr(bundle.table.conf) + repr(list(bundle.entries))
        data = b"".join(bundle.frame(number)[1] for number in range(len(bundle.table.frames)))
        assert not any("agent.sock" in path for path in bundle.entries)
        assert not any(value.startswith("SSH_AUTH_SOCK=") for value in bundle.conf("env"))
    for secret in hidden:
        assert secret not in stored
        assert secret.encode() not in data


def test_no_copy_is_kept_of_a_secret_that_the_job_changes(tmp_path: Path) -> None:
    token = TOKENS["GitHub"]()
    (tmp_path / "settings.txt").write_text(f"token {token}\n")
    (tmp_path / ".pgpass").write_text(f"h:1:d:u:{some(20)}\n")
    (tmp_path / "plain.txt").write_text("plain\n")
    script = "cat settings.txt .pgpass plain.txt; for f in settings.txt .pgpass plain.txt; do echo x >> $f; done"
    command = [sys.executable, "-m", "sdee", "trace", "-q", "--", "sh", "-c", script]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    assert [path.read_text() for path in (tmp_path / "sdee.trace.saved").iterdir()] == ["plain\n"]
    text = (tmp_path / "sdee.trace").read_text()
    assert text.count("it may hold a secret") == 2
    assert token not in text
