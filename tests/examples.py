"""The flows of deploy/examples, with what they expect around them: variables, and secrets as mounted files."""

from __future__ import annotations

from pathlib import Path

EXAMPLES = sorted((Path(__file__).parents[1] / "deploy" / "examples").glob("*.yaml"))
SECRETS = {"kafka-password": "planted-password", "elastic-api-key": "id:key"}
ENVIRONMENT = {
    "KAFKA_BROKERS": "kafka-1.example.com:9093,kafka-2.example.com:9093",
    "KAFKA_USERNAME": "logweir",
    "ELASTIC_URL": "http://localhost:9200",
    "ELASTIC_API_KEY": "id:key",
    "DATADOG_API_KEY": "0123456789abcdef",
    "LOGWEIR_STATUS_TOKEN": "planted-status-token",
}
_MOUNTED = "/run/secrets"


def placed(example: Path, directory: Path) -> Path:
    """Return a copy of an example whose mounted secrets are files of this directory."""
    for name, secret in SECRETS.items():
        (directory / name).write_text(f"{secret}\n", encoding="utf-8")
    copy = directory / example.name
    copy.write_text(example.read_text(encoding="utf-8").replace(_MOUNTED, str(directory)), encoding="utf-8")
    return copy
