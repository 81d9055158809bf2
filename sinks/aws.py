"""What the destinations at AWS share: where the credentials come from, the client of a service, and its failures."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from typing import Any, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from logweir.secrecy import Secrets
from logweir.settings import StrictModel
from sinks.address import without_credentials
from sinks.destination import Hold, Retry
from sinks.http import ANSWER_SECONDS, CONNECT_SECONDS
from sinks.proxies import WANTS_CREDENTIALS, UnusableVariable, check_file, proxy_for
from sinks.settings import CommonDestination, env_field, from_environment

KEYS = "access_key_id and secret_access_key, or whatever else the AWS credentials come from"
EXPIRED_TOKEN = "session_token is past its time: renew it, or use credentials that renew themselves"  # noqa: S105  said

_PROXY_WANTS_CREDENTIALS = 407
_LONGEST = 1000
"""Characters of what is told."""

ServiceError = tuple[int, str, str]
"""The status of an answer, the code of its error, and its message without any secret."""


class AwsAccess(StrictModel):
    """Where at AWS, or at a store like it, and by which credentials."""

    region: str | None = env_field(
        "AWS_REGION", default=None, description="AWS region; without one, that of the AWS profile."
    )
    access_key_id: str | None = env_field(
        "AWS_ACCESS_KEY_ID", default=None, description="Access key; without one, the usual AWS credentials are used."
    )
    secret_access_key: SecretStr | None = env_field(
        "AWS_SECRET_ACCESS_KEY", default=None, description="The access key's secret."
    )
    session_token: SecretStr | None = env_field(
        "AWS_SESSION_TOKEN", default=None, description="Session token of temporary credentials."
    )
    endpoint_url: str | None = Field(None, description="Address of a VPC endpoint or a test server.")

    @field_validator("endpoint_url")
    @classmethod
    def _no_credentials(cls, value: str | None) -> str | None:
        return without_credentials(value, "access_key_id and secret_access_key")

    @model_validator(mode="after")
    def _whole_credentials(self) -> Self:
        if bool(self.access_key_id) != bool(self.secret_access_key):
            msg = "access_key_id and secret_access_key go together"
            raise ValueError(msg)
        if self.session_token and not self.access_key_id:
            msg = "session_token goes with access_key_id and secret_access_key"
            raise ValueError(msg)
        return self

    @model_validator(mode="before")
    @classmethod
    def _from_environment(cls, data: Any) -> Any:
        """Fill in what is left out and whose variable is set."""
        return from_environment(cls, data)


class AwsDestination(AwsAccess, CommonDestination):
    """What the settings of every destination at AWS begin with."""


class AwsClient:
    """boto3's client of one service, made with the first request.

    Args:
        settings: The destination's settings.
        service: boto3's name of the service, such as logs.
        prepare: Is given each client that is made.
        options: Further ones of botocore's Config.
    """

    def __init__(
        self,
        settings: AwsAccess,
        service: str,
        prepare: Callable[[Any], None] = lambda _client: None,
        **options: Any,
    ) -> None:
        self._settings = settings
        self._service = service
        self._prepare = prepare
        self._options = options
        given = (settings.secret_access_key, settings.session_token)
        self._secrets = Secrets(each.get_secret_value() for each in given if each)
        self._lock = threading.Lock()
        self._client: Any = None

    def connected(self) -> Any:
        """Return the client."""
        with self._lock:
            client = self._client = self._client or self._connect()
            return client

    def forget(self) -> None:
        """Make a new client for the next request: credentials that were mended are found by a new one alone."""
        self._client = None

    def close(self) -> None:
        """Close the connections."""
        with self._lock:
            if self._client is not None:
                self._client.close()
                self._client = None

    def read(self, error: Exception) -> ServiceError | Hold | Retry:
        """Return the error that the service answers, or what it means that there is no answer."""
        from botocore import exceptions

        if isinstance(error, UnusableVariable):
            return Hold(str(error))
        if isinstance(error, exceptions.ProxyConnectionError) and "407" in str(error.kwargs.get("error")):
            return Hold(f"{self.hide(error)}: 407: {WANTS_CREDENTIALS}")
        if isinstance(error, exceptions.ClientError):
            problem = error.response.get("Error", {})
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            if status == _PROXY_WANTS_CREDENTIALS:
                return Hold(f"{status}: {self.hide(problem.get('Message'))}: {WANTS_CREDENTIALS}")
            return int(status), self.hide(problem.get("Code")), self.hide(problem.get("Message"))
        return read_exception(error, self.hide(f"{type(error).__name__}: {error}"))

    def hide(self, words: Any) -> str:
        """Return the first line without any secret: further ones may quote the request's signed headers."""
        return self._secrets.hide(str(words or "")).strip().partition("\n")[0][:_LONGEST]

    def _connect(self) -> Any:
        from botocore.config import Config

        settings = self._settings
        made = session(settings)
        where = settings.endpoint_url or f"https://{self._service}.{made.region_name or 'us-east-1'}.amazonaws.com"
        if where.startswith("https:"):
            check_file("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE")
        proxy = proxy_for(where, socks=False)
        config = Config(
            # botocore's own reading of NO_PROXY knows no ranges.
            proxies=dict.fromkeys(("http", "https"), proxy.url) if proxy else {},
            connect_timeout=CONNECT_SECONDS,
            read_timeout=ANSWER_SECONDS,
            max_pool_connections=getattr(settings, "concurrency", 1),
            parameter_validation=False,
            # The delivery engine retries.
            retries={"mode": "standard", "total_max_attempts": 1},
            **self._options,
        )
        client = made.client(self._service, endpoint_url=settings.endpoint_url, config=config)
        self._prepare(client)
        return client


def s3_client(settings: AwsAccess) -> AwsClient:
    """Return the client of S3, or of a store that speaks its API."""
    return AwsClient(
        settings,
        "s3",
        # Other stores have neither a name for each bucket nor AWS's new checksums. The signature has a hash anyway.
        s3={"addressing_style": "path" if settings.endpoint_url else "auto"},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )


def session(settings: AwsAccess) -> Any:
    """Return boto3's session: it has the given credentials, else finds them where AWS's clients look for them."""
    # Here, not above: `logweir check` reads settings and sends nothing.
    import boto3

    secret, token = settings.secret_access_key, settings.session_token
    return boto3.session.Session(
        aws_access_key_id=settings.access_key_id,
        aws_secret_access_key=secret.get_secret_value() if secret else None,
        aws_session_token=token.get_secret_value() if token else None,
        region_name=settings.region,
    )


def read_exception(error: Exception, said: str) -> Hold | Retry:
    """Return what it means that there is no answer of the service.

    Args:
        error: Of boto3, but no ClientError.
        said: Its words, without any secret.
    """
    from botocore import exceptions

    # OpenSSL checks names, urllib3 addresses.
    if isinstance(error, exceptions.SSLError) and re.search("CERTIFICATE_VERIFY_FAILED|doesn't match", str(error)):
        return Hold(f"{said}: check endpoint_url; AWS_CA_BUNDLE names a file of the authorities to trust")
    if isinstance(error, exceptions.NoRegionError | exceptions.InvalidRegionError):
        return Hold(f"{said}: set region")
    if isinstance(error, exceptions.ConnectionError):
        way = "the network, name server, proxy and firewalls on the way"
        return Retry(f"{said}: if it doesn't pass, check region, or endpoint_url, and {way}")
    # A wrong address is a plain ValueError. What is neither is botocore stumbling over an answer that is none.
    if isinstance(error, exceptions.HTTPClientError) or not (
        isinstance(error, exceptions.BotoCoreError) or type(error) is ValueError
    ):
        return Retry(f"{said}: if it doesn't pass, check region, or endpoint_url")
    return Hold(f"{said}: check region, endpoint_url, and {KEYS}")
