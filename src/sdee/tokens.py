"""Tokens of common services, by the shapes that their makers publish for scanners: what looks like one is a secret.

GitHub, GitLab, AWS, Google, Slack, Hugging Face, PyPI, npm, OpenAI, Anthropic, Stripe, DigitalOcean, Databricks; and a
key in JSON as clouds' key files have it. The tracer drops variables that hold one, the packer refuses files that do.
"""

from __future__ import annotations

import re

_SHAPES = (
    r"gh[pousr]_[A-Za-z0-9]{36}",
    r"github_pat_[A-Za-z0-9_]{60}",
    r"glpat-[A-Za-z0-9_-]{20}",
    r"(?<![A-Z0-9])(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Z0-9])",
    r"(?i:aws_secret_access_key)[\"']?\s*[=:]\s*[\"']?[A-Za-z0-9/+]{40}",
    r"AIza[A-Za-z0-9_-]{35}",
    r"ya29\.[A-Za-z0-9_-]{40}",
    r"\"private_key\":\s*\"-----BEGIN",
    r"xox[abprs]-[0-9A-Za-z-]{20}",
    r"hf_[A-Za-z0-9]{34}",
    r"pypi-AgEIcHlwaS5vcmc[A-Za-z0-9_-]{50}",
    r"npm_[A-Za-z0-9]{36}",
    r"sk-(?:proj-|ant-)?[A-Za-z0-9_-]{40}",
    r"[sr]k_live_[0-9A-Za-z]{24}",
    r"dop_v1_[a-f0-9]{64}",
    r"dapi[a-f0-9]{32}",
)
TOKEN = re.compile("|".join(_SHAPES).encode())
