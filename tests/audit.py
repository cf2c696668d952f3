"""`make audit`: known faults in packages, insecure calls in our code, secrets in what is committed.

Run from the root of the repository. What needs the network is skipped, and said, without one.
"""

import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from detect_secrets.core.secrets_collection import SecretsCollection
from detect_secrets.settings import transient_settings

from modelbridge import ids

ROOT = Path(__file__).resolve().parents[1]
ADVISORIES = ("pypi.org", 443)
LOCKS = ("requirements.txt", "requirements-test.txt", "requirements-torture.txt")

# Detectors of secrets with a form of their own. Those that only measure randomness would find
# every hash of the lock files.
DETECTORS = (
    "AWSKeyDetector", "AzureStorageKeyDetector", "BasicAuthDetector", "DiscordBotTokenDetector",
    "GitHubTokenDetector", "GitLabTokenDetector", "JwtTokenDetector", "NpmDetector",
    "OpenAIDetector", "PrivateKeyDetector", "PypiTokenDetector", "SendGridDetector",
    "SlackDetector", "StripeDetector", "TwilioKeyDetector",
)  # fmt: skip

# Addresses with a made-up user and password, which the tests see refused.
KNOWN = {
    ("tests/test_addresses.py", "Basic Auth Credentials"),
    ("tests/test_cli_catalog.py", "Basic Auth Credentials"),
    ("tests/test_operations_alerts.py", "Basic Auth Credentials"),
    ("tests/test_operations_logs.py", "Basic Auth Credentials"),
}


def is_online() -> bool:
    """Whether the list of known faults can be asked."""
    try:
        socket.create_connection(ADVISORIES, timeout=5).close()
    except OSError:
        return False
    return True


def packages() -> list[str]:
    """Pinned packages with a known fault, as pip-audit says."""
    if not is_online():
        print(f"   skipped: {ADVISORIES[0]} cannot be reached")
        return []
    wrong = []
    for lock in LOCKS:
        done = _run("pip_audit", "--require-hashes", "--disable-pip", "--no-deps", "-r", lock)
        if done.returncode:
            wrong.append(f"{lock}:\n{done.stdout}{done.stderr}")
    return wrong


def calls() -> list[str]:
    """Insecure calls in our own code, of medium severity and more, as bandit says."""
    done = _run("bandit", "-q", "-ll", "-c", "pyproject.toml", "-r", "modelbridge", "app.py")
    return [done.stdout + done.stderr] if done.returncode else []


def secrets() -> list[str]:
    """Secrets of known forms in the files that git keeps; a live key of ours is one."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    files = [name for name in listed if (ROOT / name).is_file()]
    found = SecretsCollection(str(ROOT))
    with transient_settings({"plugins_used": [{"name": name} for name in DETECTORS]}):
        for name in files:
            found.scan_file(name)
    wrong = [
        f"{name}:{secret.line_number}: {secret.type}"
        for name, secret in found
        if (name, secret.type) not in KNOWN
    ]
    return wrong + [place for name in files for place in our_keys(name)]


def our_keys(name: str) -> list[str]:
    """Where a whole key of ours stands, by form and checksum."""
    text = (ROOT / name).read_bytes().decode("latin-1")
    return [f"{name}: {ids.key_prefix(key)}…, a key of ours" for key in ids.find_keys(text)]


def _run(module: str, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", module, *words],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip


CHECKS: dict[str, Callable[[], list[str]]] = {
    "packages": packages,
    "calls": calls,
    "secrets": secrets,
}


def main() -> int:
    """All of them; 1 if anything was found."""
    status = 0
    for name, check in CHECKS.items():
        print(f"== {name}", flush=True)
        for problem in check():
            print(problem)
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
