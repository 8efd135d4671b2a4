"""The services beside a fake SageMaker that its users need: S3's objects, STS, and who may sign what."""

from __future__ import annotations

import hashlib
import time
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import formatdate
from urllib.parse import parse_qs, unquote
from xml.sax.saxutils import escape

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from starlette.requests import Request
from starlette.responses import Response

from tests.fakes.sagemaker_endpoints import JSON, Refusal

XML = "application/xml"


@dataclass
class Keys:
    """Who may sign. With no ``known`` keys everybody may, and nothing is checked."""

    known: dict[str, str] = field(default_factory=dict)
    given_out: dict[str, JSON] = field(default_factory=dict)
    role_seconds: float = 3600.0
    assumed: int = 0

    def check(self, request: Request, body: bytes) -> str:
        """The access key of a request that is signed well. Raises Refusal as the vendor does."""
        authorization = request.headers.get("authorization", "")
        parts = dict(part.strip().split("=", 1) for part in authorization.partition(" ")[2].split(",") if "=" in part)
        key, date, region, service = (parts.get("Credential", "///").split("/") + [""] * 4)[:4]
        if not self.known:
            return key
        secret, token = self.known.get(key), None
        if key in self.given_out:
            there = self.given_out[key]
            secret, token = there["secret"], there["token"]
            if time.time() > there["until"]:
                raise Refusal("ExpiredTokenException", "The security token included in the request is expired")
        if secret is None or request.headers.get("x-amz-security-token") != token:
            raise Refusal("UnrecognizedClientException", "The security token included in the request is invalid.", 403)
        if service != "s3" and not _signed(request, body, parts, Credentials(key, secret), service, region):
            raise Refusal("InvalidSignatureException", f"The signature of {date} does not match.", 403)
        return key

    def assume(self, role: str) -> JSON:
        """Credentials of this role, for ``role_seconds``."""
        self.assumed += 1
        key = f"ASIA{uuid.uuid4().hex[:16].upper()}"
        until = time.time() + self.role_seconds
        self.given_out[key] = {"secret": uuid.uuid4().hex, "token": uuid.uuid4().hex, "until": until, "role": role}
        return {"key": key, **self.given_out[key]}

    def who(self, key: str, account: str) -> str:
        """The ARN of the caller."""
        role = self.given_out.get(key, {}).get("role")
        name = role.rpartition("/")[2] if role else None
        return f"arn:aws:sts::{account}:assumed-role/{name}/modelport" if name else f"arn:aws:iam::{account}:user/tests"


def _signed(
    request: Request, body: bytes, parts: dict[str, str], credentials: Credentials, service: str, region: str
) -> bool:
    """Whether the signature is what the vendor's own signer makes of the same request."""
    names = parts.get("SignedHeaders", "").split(";")
    headers = {name: request.headers.get(name, "") for name in names}
    url = f"http://{request.headers['host']}{request.scope['raw_path'].decode()}"
    query = request.scope["query_string"].decode()
    again = AWSRequest(request.method, f"{url}?{query}" if query else url, headers=headers, data=body)
    again.context["timestamp"] = request.headers.get("x-amz-date", "")
    signer = SigV4Auth(credentials, service, region)
    string = signer.string_to_sign(again, signer.canonical_request(again))
    return bool(signer.signature(string, again) == parts.get("Signature"))


def sts(keys: Keys, key: str, account: str, body: bytes) -> Response:
    """AssumeRole and GetCallerIdentity."""
    form = {name: values[0] for name, values in parse_qs(body.decode()).items()}
    action = form["Action"]
    if action == "AssumeRole":
        if "denied" in form["RoleArn"]:
            raise Refusal("AccessDenied", f"{keys.who(key, account)} is not authorized to perform: sts:AssumeRole", 403)
        made = keys.assume(form["RoleArn"])
        until = datetime.fromtimestamp(made["until"], UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        inner = (
            f"<Credentials><AccessKeyId>{made['key']}</AccessKeyId><SecretAccessKey>{made['secret']}</SecretAccessKey>"
            f"<SessionToken>{made['token']}</SessionToken><Expiration>{until}</Expiration></Credentials>"
        )
    else:
        inner = f"<Account>{account}</Account><Arn>{keys.who(key, account)}</Arn><UserId>{key}</UserId>"
    space = "https://sts.amazonaws.com/doc/2011-06-15/"
    text = f'<{action}Response xmlns="{space}"><{action}Result>{inner}</{action}Result></{action}Response>'
    return Response(text, media_type="text/xml")


@dataclass
class Objects:
    """S3: buckets, objects and uploads in parts; paths name the bucket first."""

    buckets: dict[str, dict[str, bytes]] = field(default_factory=dict)
    about: dict[str, dict[str, str]] = field(default_factory=dict)
    parts: dict[str, dict[int, bytes]] = field(default_factory=dict)

    def there(self, url: str) -> bool:
        """Whether ``s3://bucket/key`` is there."""
        bucket, _, key = url.removeprefix("s3://").partition("/")
        return key in self.buckets.get(bucket, {})

    def answer(self, request: Request, body: bytes) -> Response:
        bucket, _, key = unquote(request.url.path.lstrip("/")).partition("/")
        query = request.query_params
        if not key:
            return self._bucket(request.method, bucket, query.get("prefix", ""))
        if bucket not in self.buckets:
            raise Refusal("NoSuchBucket", "The specified bucket does not exist", 404)
        if "uploads" in query or "uploadId" in query:
            return self._in_parts(request, bucket, key, body)
        if request.method == "PUT":
            return self._put(bucket, key, body, request)
        if request.method == "DELETE":
            self.buckets[bucket].pop(key, None)
            return Response(status_code=204)
        return self._get(bucket, key)

    def _bucket(self, method: str, bucket: str, prefix: str) -> Response:
        if method == "PUT":
            self.buckets.setdefault(bucket, {})
            return Response(headers={"Location": f"/{bucket}"})
        if bucket not in self.buckets:
            raise Refusal("NoSuchBucket", "The specified bucket does not exist", 404)
        if method == "HEAD":
            return Response()
        found = [(key, data) for key, data in sorted(self.buckets[bucket].items()) if key.startswith(prefix)]
        listed = "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>{len(data)}</Size><ETag>{_etag(data)}</ETag>"
            "<LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>"
            for key, data in found
        )
        head = f"<Name>{bucket}</Name><KeyCount>{len(found)}</KeyCount><IsTruncated>false</IsTruncated>"
        return Response(f"<ListBucketResult>{head}{listed}</ListBucketResult>", media_type=XML)

    def _put(self, bucket: str, key: str, body: bytes, request: Request) -> Response:
        self.buckets[bucket][key] = _unchunked(request, body)
        self.about[f"{bucket}/{key}"] = {
            k: v for k, v in request.headers.items() if k.startswith("x-amz-meta-") or k == "x-amz-tagging"
        }
        return Response(headers={"ETag": _etag(self.buckets[bucket][key])})

    def _get(self, bucket: str, key: str) -> Response:
        data = self.buckets[bucket].get(key)
        if data is None:
            raise Refusal("NoSuchKey", "The specified key does not exist.", 404)
        return Response(data, headers={"ETag": _etag(data), "Last-Modified": formatdate(usegmt=True)})

    def _in_parts(self, request: Request, bucket: str, key: str, body: bytes) -> Response:
        upload = request.query_params.get("uploadId")
        if upload is None:
            upload = uuid.uuid4().hex
            self.parts[upload] = {}
            self.about[f"{bucket}/{key}"] = {k: v for k, v in request.headers.items() if k == "x-amz-tagging"}
            name = "InitiateMultipartUploadResult"
            inner = f"<Bucket>{bucket}</Bucket><Key>{escape(key)}</Key><UploadId>{upload}</UploadId>"
            return Response(f"<{name}>{inner}</{name}>", media_type=XML)
        if request.method == "PUT":
            self.parts[upload][int(request.query_params["partNumber"])] = _unchunked(request, body)
            return Response(headers={"ETag": _etag(body)})
        parts = self.parts.pop(upload, {})
        if request.method == "DELETE":
            return Response(status_code=204)
        data = b"".join(parts[number] for number in sorted(parts))
        self.buckets[bucket][key] = data
        name = "CompleteMultipartUploadResult"
        inner = f"<Bucket>{bucket}</Bucket><Key>{escape(key)}</Key><ETag>{_etag(data)}</ETag>"
        return Response(f"<{name}>{inner}</{name}>", media_type=XML)


def refused_object(refusal: Refusal, *, head: bool) -> Response:
    """An error as S3 tells it."""
    told = f"<Error><Code>{refusal.code}</Code><Message>{escape(refusal.message)}</Message></Error>"
    return Response("" if head else told, refusal.status, media_type=XML)


def _etag(data: bytes) -> str:
    return f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'


def _unchunked(request: Request, body: bytes) -> bytes:
    """The content of a body that was sent in signed chunks."""
    if "aws-chunked" not in request.headers.get("content-encoding", ""):
        return body
    data, rest = b"", body
    while rest:
        head, _, rest = rest.partition(b"\r\n")
        size = int(head.partition(b";")[0], 16)
        if size == 0:
            break
        data, rest = data + rest[:size], rest[size + 2 :]
    return data
