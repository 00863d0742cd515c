"""S3's REST interface over the files of the home folder."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Callable
from email.utils import formatdate
from functools import partial
from pathlib import Path
from urllib.parse import quote
from xml.sax.saxutils import escape

from local.home.home import ACCOUNT, Home
from local.s3 import presigned, unconfigured
from local.s3.checksums import receive
from local.s3.etags import Hashed
from local.s3.headers import (
    byte_range,
    check_conditions,
    copy_source,
    is_form,
    kept_headers,
    only_new,
    refuse_headers,
    refuse_unsendable,
)
from local.s3.listing import as_token, list_objects, list_versions, token_of, whole_number
from local.s3.metadata import Object
from local.s3.multipart import Uploads
from local.s3.objects import Objects
from local.s3.xml import document, element, error_document, iso_time, read_xml, stamp, texts_of, whose
from local.wire import texts
from local.wire.errors import ServiceError
from local.wire.http import BLOCK_BYTES, HttpRequest, HttpResponse

# Query parameters that do not choose the operation.
PARAMETERS = frozenset(
    {
        "list-type", "prefix", "delimiter", "max-keys", "marker", "continuation-token", "start-after",
        "encoding-type", "fetch-owner", "x-id", "max-buckets", "bucket-region", "response-content-type",
        "response-content-disposition", "response-content-encoding", "response-content-language",
        "response-cache-control", "response-expires", "AWSAccessKeyId", "Expires", "Signature",
        "content-type", "content-md5", "versionId", "key-marker", "version-id-marker",
    }
)  # fmt: skip
SIGNING = re.compile("x-amz-", re.IGNORECASE)

_Operation = Callable[[HttpRequest, str, str], HttpResponse]


class S3:
    """Answers S3 requests from <home>/s3; class Objects has the limits of keys as files.

    Any credentials work, except for presigned URLs and forms, which are checked. Access control, encryption
    and storage classes have no effect; buckets are configured like new ones, and operations that would change
    that (PutBucketPolicy, ...) answer NotImplemented.
    """

    def __init__(self, home: Home) -> None:
        self._home = home
        self._objects = Objects(home.s3)
        self._objects.etags.open()  # a full disk is reported at the start
        self._uploads = Uploads(self._objects)
        # The level that the path names, the method, the query parameters that select the operation.
        self._operations: dict[tuple[str, str, str], _Operation] = {
            ("service", "GET", ""): self._list_buckets,
            ("bucket", "PUT", ""): self._create_bucket,
            ("bucket", "HEAD", ""): self._head_bucket,
            ("bucket", "DELETE", ""): self._delete_bucket,
            ("bucket", "GET", ""): self._list_objects,
            ("bucket", "GET", "location"): self._get_bucket_location,
            ("bucket", "GET", "uploads"): self._list_multipart_uploads,
            ("bucket", "GET", "versions"): self._list_versions,
            ("bucket", "POST", "delete"): self._delete_objects,
            ("bucket", "POST", ""): self._post_object,
            ("object", "GET", ""): self._get_object,
            ("object", "HEAD", ""): self._get_object,
            ("object", "PUT", ""): self._put_object,
            ("object", "DELETE", ""): self._delete_object,
            ("object", "POST", "uploads"): self._create_multipart_upload,
            ("object", "PUT", "partNumber&uploadId"): self._upload_part,
            ("object", "POST", "uploadId"): self._complete_multipart_upload,
            ("object", "DELETE", "uploadId"): self._abort_multipart_upload,
            ("object", "GET", "uploadId"): self._list_parts,
            ("object", "GET", "attributes"): self._get_object_attributes,
        }

    def recover(self, killed: bool) -> None:
        """Remove what an earlier service left unfinished.

        Args:
            killed: whether it was killed, with its clients: then nobody continues a multipart upload.
        """
        self._objects.sweep()
        if killed:
            self._uploads.sweep()

    def close(self) -> None:
        """Close the databases; there are no more requests."""
        self._objects.etags.close()

    def handle(self, request: HttpRequest) -> HttpResponse:
        """The answer, or S3's XML error document."""
        try:
            return self._dispatch(request)
        except ServiceError as error:
            return error_document(error, request.path)

    def _dispatch(self, request: HttpRequest) -> HttpResponse:
        presigned.check_url(request)
        path = _bucket_path(request)
        bucket, _, key = path.partition("/")
        level = "object" if key else "bucket" if path else "service"
        names = (name for name in request.query if name not in PARAMETERS and not SIGNING.match(name))
        chosen = "&".join(sorted(names))
        operation = self._operations.get((level, request.method, chosen))
        if request.method == "GET" and unconfigured.answers(level, chosen):
            operation = partial(self._unconfigured, level, chosen)
        if operation is None:
            name = unconfigured.operation_name(request.method, level, chosen)
            asked = f"{request.method} {level}" + (f" with ?{chosen}" if chosen else "")
            named = f"{name} ({asked})" if name else asked
            raise ServiceError("NotImplemented", f"The local S3 has no {named}", 501)
        refuse_headers(request.headers)
        refuse_headers({name.lower(): value for name, value in request.query.items()})
        if request.query.get("versionId", "null") != "null":
            raise ServiceError(
                "InvalidArgument", "Invalid version id specified: the local S3 keeps no versions"
            )
        if request.headers.get("x-amz-expected-bucket-owner", ACCOUNT) != ACCOUNT:
            raise ServiceError("AccessDenied", f"The owner of every local bucket is {ACCOUNT}", 403)
        return operation(request, bucket, key)

    def _unconfigured(
        self, level: str, subresource: str, _request: HttpRequest, bucket: str, key: str
    ) -> HttpResponse:
        if level == "bucket":
            self._objects.require_bucket(bucket)
        else:
            self._objects.find(bucket, key)
        return unconfigured.answer(level, subresource)

    def _list_buckets(self, request: HttpRequest, _bucket: str, _key: str) -> HttpResponse:
        query = request.query
        prefix, after = query.get("prefix", ""), token_of(query)
        limit = whole_number(query, "max-buckets", 10_000)
        buckets = [item for item in self._objects.buckets() if item[0].startswith(prefix) and item[0] > after]
        items = "".join(
            element("Bucket", element("Name", name) + element("CreationDate", iso_time(modified)))
            for name, modified in buckets[:limit]
        )
        more = len(buckets) > limit > 0
        return document(
            "ListAllMyBucketsResult",
            element("Owner", element("ID", ACCOUNT)),
            element("Buckets", items),
            element("ContinuationToken", as_token(buckets[limit - 1][0])) if more else "",
        )

    def _create_bucket(self, request: HttpRequest, bucket: str, _key: str) -> HttpResponse:
        region = self._home.region
        wanted = texts_of(read_xml(request), "LocationConstraint") or ["us-east-1"]
        if wanted != [region]:
            raise ServiceError(
                "IllegalLocationConstraintException", f"The region of every local bucket is {region}"
            )
        # In us-east-1, and only there, S3 lets an owner create a bucket again.
        if not self._objects.create_bucket(bucket) and region != "us-east-1":
            raise ServiceError("BucketAlreadyOwnedByYou", f"You own {bucket} already", 409)
        return HttpResponse(headers={"location": f"/{bucket}"})

    def _head_bucket(self, _request: HttpRequest, bucket: str, _key: str) -> HttpResponse:
        self._objects.require_bucket(bucket)
        return HttpResponse(headers={"x-amz-bucket-region": self._home.region})

    def _get_bucket_location(self, _request: HttpRequest, bucket: str, _key: str) -> HttpResponse:
        self._objects.require_bucket(bucket)
        region = self._home.region
        return document("LocationConstraint", "" if region == "us-east-1" else region)

    def _delete_bucket(self, _request: HttpRequest, bucket: str, _key: str) -> HttpResponse:
        self._objects.delete_bucket(bucket)
        return HttpResponse(204)

    def _list_objects(self, request: HttpRequest, bucket: str, _key: str) -> HttpResponse:
        return list_objects(self._objects, bucket, request.query)

    def _list_versions(self, request: HttpRequest, bucket: str, _key: str) -> HttpResponse:
        return list_versions(self._objects, bucket, request.query)

    def _get_object_attributes(self, request: HttpRequest, bucket: str, key: str) -> HttpResponse:
        found = self._objects.find(bucket, key)
        wanted = request.headers.get("x-amz-object-attributes", "").split(",")
        known = {
            "ETag": escape(found.etag.strip('"')), "StorageClass": "STANDARD", "ObjectSize": str(found.size),
        }  # fmt: skip
        content = (element(name, text) for name, text in known.items() if name in wanted)
        answer = document("GetObjectAttributesResponse", *content)
        modified = {"last-modified": formatdate(found.modified, usegmt=True)}
        return HttpResponse(headers={**answer.headers, **modified}, body=answer.body)

    def _get_object(self, request: HttpRequest, bucket: str, key: str) -> HttpResponse:
        asked = {
            name.removeprefix("response-"): value
            for name, value in request.query.items()
            if name.startswith("response-")
        }
        refuse_unsendable(asked)
        with contextlib.ExitStack() as stack:
            if request.method == "HEAD":
                found, file = self._objects.find(bucket, key), None
            else:
                found, file = self._objects.open(bucket, key)
            if file is not None:
                stack.callback(file.close)
            check_conditions(request.headers, "", found)
            part = byte_range(request.headers.get("range", ""), found.size)
            start, stop = part or (0, found.size)
            if file is not None:
                file.seek(start)
            stack.pop_all()
        headers = self._objects.metadata.headers(bucket, found) | asked
        headers |= {
            "etag": found.etag,
            "last-modified": formatdate(found.modified, usegmt=True),
            "accept-ranges": "bytes",
            "content-length": str(stop - start),
            # In a browser an object is a page at the service's own address: its scripts could request all
            # that the service's pages may (guard.py). This gives it another origin.
            "content-security-policy": "sandbox allow-scripts",
        }
        if part:
            headers["content-range"] = f"bytes {start}-{stop - 1}/{found.size}"
        return HttpResponse(206 if part else 200, headers, file or b"")

    def _put_object(self, request: HttpRequest, bucket: str, key: str) -> HttpResponse:
        self._objects.require_bucket(bucket)
        new = only_new(request)
        if "x-amz-copy-source" in request.headers:
            return self._copy_object(request, bucket, key, new)
        with self._objects.temporary() as temporary:
            with temporary.open("wb") as file:
                content = Hashed(file)
                checked = receive(request, content)
            headers = kept_headers(request.headers)
            found = self._objects.put(bucket, key, temporary, content.etag, headers, new)
        return HttpResponse(headers={"etag": found.etag, **checked})

    def _post_object(self, request: HttpRequest, bucket: str, _key: str) -> HttpResponse:
        if not is_form(request):
            raise ServiceError("MethodNotAllowed", "POST of a bucket is for forms (multipart/form-data)", 405)
        from local.s3 import form  # imports werkzeug, which is slow and rarely needed

        self._objects.require_bucket(bucket)
        with self._objects.temporary() as temporary:
            with temporary.open("wb") as file:
                fields, content = form.receive_form(request, bucket, file)
            refuse_headers(fields, also=("tagging", "x-amz-checksum-"))
            found = self._objects.put(bucket, fields["key"], temporary, content.etag, kept_headers(fields))
        return form.answer(fields, bucket, found)

    def _copy_object(self, request: HttpRequest, bucket: str, key: str, new: bool) -> HttpResponse:
        replace = request.headers.get("x-amz-metadata-directive", "COPY") == "REPLACE"
        from_bucket, from_key = copy_source(request)
        if (from_bucket, from_key) == (bucket, key) and not replace:
            raise ServiceError(
                "InvalidRequest", "An object cannot be copied onto itself without new metadata"
            )
        with self._objects.temporary() as temporary:
            source, etag = self._copy_content(request, temporary)
            headers = (
                kept_headers(request.headers)
                if replace
                else self._objects.metadata.headers(from_bucket, source)
            )
            found = self._objects.put(bucket, key, temporary, etag, headers, new)
        return document("CopyObjectResult", stamp(found))

    def _copy_content(self, request: HttpRequest, temporary: Path) -> tuple[Object, str]:
        """Copy the source to a file; return the source, and the ETag of the copy."""
        source, file = self._objects.open(*copy_source(request))
        with temporary.open("wb") as copy, file or io.BytesIO() as content:
            target = Hashed(copy)
            check_conditions(request.headers, "x-amz-copy-source-", source)
            part = byte_range(request.headers.get("x-amz-copy-source-range", ""), source.size)
            start, stop = part or (0, source.size)
            content.seek(start)
            while block := content.read(min(BLOCK_BYTES, stop - start)):
                start += target.write(block)
        return source, target.etag

    def _delete_object(self, _request: HttpRequest, bucket: str, key: str) -> HttpResponse:
        self._objects.delete(bucket, key)
        return HttpResponse(204)

    def _delete_objects(self, request: HttpRequest, bucket: str, _key: str) -> HttpResponse:
        self._objects.require_bucket(bucket)
        wanted = read_xml(request)
        if set(texts_of(wanted, "VersionId")) - {"null"}:
            raise ServiceError("NotImplemented", "The local S3 keeps no versions", 501)
        quiet, keys = texts_of(wanted, "Quiet") == ["true"], texts_of(wanted, "Key")
        for key in keys:
            self._objects.delete(bucket, key)
        return document(
            "DeleteResult",
            *(element("Deleted", element("Key", escape(key))) for key in keys if not quiet),
        )

    def _create_multipart_upload(self, request: HttpRequest, bucket: str, key: str) -> HttpResponse:
        upload = self._uploads.create(bucket, key, kept_headers(request.headers))
        return document(
            "InitiateMultipartUploadResult",
            element("Bucket", bucket),
            element("Key", escape(key)),
            element("UploadId", upload),
        )

    def _upload_part(self, request: HttpRequest, bucket: str, key: str) -> HttpResponse:
        upload, number = request.query["uploadId"], whole_number(request.query, "partNumber", 0)
        with self._objects.temporary() as temporary:
            if "x-amz-copy-source" in request.headers:
                _, etag = self._copy_content(request, temporary)
                part = self._uploads.put(bucket, key, upload, number, temporary, etag)
                return document("CopyPartResult", stamp(part))
            with temporary.open("wb") as file:
                content = Hashed(file)
                checked = receive(request, content)
            part = self._uploads.put(bucket, key, upload, number, temporary, content.etag)
        return HttpResponse(headers={"etag": part.etag, **checked})

    def _complete_multipart_upload(self, request: HttpRequest, bucket: str, key: str) -> HttpResponse:
        root = read_xml(request)
        try:
            chosen = [
                (texts.whole_number(part.findtext("{*}PartNumber", "0")), part.findtext("{*}ETag", ""))
                for part in root.iterfind("{*}Part")
            ]
        except ValueError as error:
            raise ServiceError("MalformedXML", f"PartNumber: {error}") from None
        upload = request.query["uploadId"]
        found = self._uploads.complete(bucket, key, upload, chosen, only_new(request))
        return document(
            "CompleteMultipartUploadResult",
            element("Location", f"/{bucket}/{quote(key)}"),
            element("Bucket", bucket),
            element("Key", escape(key)),
            element("ETag", escape(found.etag)),
        )

    def _abort_multipart_upload(self, request: HttpRequest, bucket: str, key: str) -> HttpResponse:
        self._uploads.abort(bucket, key, request.query["uploadId"])
        return HttpResponse(204)

    def _list_parts(self, request: HttpRequest, bucket: str, key: str) -> HttpResponse:
        parts = self._uploads.parts(bucket, key, request.query["uploadId"])
        return document(
            "ListPartsResult",
            element("Bucket", bucket),
            element("Key", escape(key)),
            element("UploadId", request.query["uploadId"]),
            element("IsTruncated", "false"),
            whose("Initiator", "Owner"),
            *(
                element("Part", element("PartNumber", part.number) + element("Size", part.size) + stamp(part))
                for part in parts
            ),
        )

    def _list_multipart_uploads(self, _request: HttpRequest, bucket: str, _key: str) -> HttpResponse:
        return document(
            "ListMultipartUploadsResult",
            element("Bucket", bucket),
            element("IsTruncated", "false"),
            *(
                element(
                    "Upload",
                    element("Key", escape(key))
                    + element("UploadId", upload)
                    + element("Initiated", iso_time(begun))
                    + whose("Initiator", "Owner"),
                )
                for key, upload, begun in self._uploads.list(bucket)
            ),
        )


def _bucket_path(request: HttpRequest) -> str:
    """bucket/key, from the path or, for http://bucket.localhost/key, with the bucket from the host.

    Objects checks whether the bucket and the key are possible.
    """
    host = request.headers.get("host", "").partition(":")[0].lower()
    bucket = host.removesuffix(".localhost")
    return request.path[1:] if bucket == host else bucket + request.path
