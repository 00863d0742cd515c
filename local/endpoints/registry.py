"""The model registry: model packages, in versions within their groups."""

from __future__ import annotations

from collections.abc import Callable

from local.endpoints.model_cards import check_card
from local.home import clock
from local.home.home import Home
from local.home.store import Record, Store
from local.home.tags import add_tags, forget_tags, untagged
from local.wire.errors import ServiceError, invalid
from local.wire.lists import listed
from local.wire.operations import Operation, Request, Response

GROUPS = "model-package-groups"
PACKAGES = "model-packages"


class Registry:
    """The operations on model packages and their groups."""

    def __init__(self, home: Home, store: Store) -> None:
        self._home = home
        self._store = store

    def operations(self) -> dict[str, Operation]:
        """The operations that this service answers."""
        return {
            "CreateModelPackageGroup": self._create_group,
            "DescribeModelPackageGroup": lambda request: self._group(request["ModelPackageGroupName"]),
            "ListModelPackageGroups": self._list_groups,
            "DeleteModelPackageGroup": self._delete_group,
            "CreateModelPackage": self._create_package,
            "DescribeModelPackage": lambda request: self.package(request["ModelPackageName"]),
            "ListModelPackages": self._list_packages,
            "UpdateModelPackage": self._update_package,
            "DeleteModelPackage": self._delete_package,
        }

    # Model package groups

    def _create_group(self, request: Request) -> Response:
        name = request["ModelPackageGroupName"]
        arn = self._home.arn("model-package-group", name)
        record = {
            **untagged(request),
            "ModelPackageGroupArn": arn,
            "ModelPackageGroupStatus": "Completed",
            "CreationTime": clock.now(),
            "CreatedBy": {},
            "_versions": 0,
        }
        try:
            self._store.create(GROUPS, name, record)
        except KeyError:
            raise ServiceError("ValidationException", f"Model Package Group already exists: {arn}") from None
        add_tags(self._store, arn, request.get("Tags", []))
        return record

    def _group(self, name_or_arn: str) -> Record:
        name = self._name("model-package-group", name_or_arn)
        try:
            return self._store.get(GROUPS, name)
        except KeyError:
            arn = self._home.arn("model-package-group", name)
            raise ServiceError("ValidationException", f"ModelPackageGroup {arn} does not exist.") from None

    def _list_groups(self, request: Request) -> Response:
        # Ascending is the default here and for the packages (API reference), unlike elsewhere.
        request = {"SortOrder": "Ascending", **request}
        return listed(self._store.list(GROUPS), request, "ModelPackageGroup", "ModelPackageGroupSummaryList")

    def _delete_group(self, request: Request) -> Response:
        group = self._group(request["ModelPackageGroupName"])
        name, arn = group["ModelPackageGroupName"], group["ModelPackageGroupArn"]
        if self._store.summaries(PACKAGES, parent=name, count=1):
            raise ServiceError(
                "ConflictException",
                f"Model Package Group {arn} cannot be deleted because it still contains Model Packages.",
            )
        self._store.delete(GROUPS, name)
        forget_tags(self._store, arn)
        return {}

    # Model packages

    def _create_package(self, request: Request) -> Response:
        """Add a version to a group, or an unversioned package.

        A missing group is created: the RegisterModel step names one, and a pipeline that was
        built by the SDK relies on it.
        """
        group_name, name = request.get("ModelPackageGroupName"), request.get("ModelPackageName")
        if (group_name is None) == (name is None):
            raise ServiceError(
                "ValidationException",
                "Exactly one of ModelPackageGroupName and ModelPackageName must be provided.",
            )
        token = request.get("ClientToken")
        if token is not None and (made := self._store.list(PACKAGES, token=token)):
            return made[0]
        check_card(request.get("ModelCard", {}))
        now = clock.now()
        record = {
            **untagged(request),
            "_token": token,
            "ModelPackageStatus": "Completed",
            "ModelPackageStatusDetails": {"ValidationStatuses": [], "ImageScanStatuses": []},
            "CreationTime": now,
            "CreatedBy": {},
        }
        if group_name is not None:
            name = self._name("model-package-group", group_name)
            version = self._next_version(name)
            record |= {"ModelPackageGroupName": name, "ModelPackageVersion": version}
            record.setdefault("ModelApprovalStatus", "PendingManualApproval")
            key = f"{name}/{version}"
        else:
            key = str(name)
        arn = self._home.arn("model-package", key)
        record |= {"ModelPackageName": name, "ModelPackageArn": arn}
        try:
            self._store.create(PACKAGES, key, record)
        except KeyError:
            raise ServiceError("ValidationException", f"Model Package already exists: {arn}") from None
        add_tags(self._store, arn, request.get("Tags", []))
        return record

    def _next_version(self, group_name: str) -> int:
        """A version number of the group that no package has had, deleted ones included."""

        def count(record: Record) -> None:
            record["_versions"] += 1

        try:
            group = self._store.update(GROUPS, group_name, count)
        except KeyError:
            self._create_group({"ModelPackageGroupName": group_name})
            group = self._store.update(GROUPS, group_name, count)
        version: int = group["_versions"]
        return version

    def package(self, name_or_arn: str) -> Record:
        """The record of a model package, as DescribeModelPackage answers it.

        Raises:
            ServiceError: there is none of that name.
        """
        return self._stored_package(self._store.get, name_or_arn)

    def _stored_package(self, read: Callable[[str, str], Record], name_or_arn: str) -> Record:
        key = self._name("model-package", name_or_arn)
        try:
            return read(PACKAGES, key)
        except KeyError:
            arn = self._home.arn("model-package", key)
            raise ServiceError("ValidationException", f"ModelPackage {arn} does not exist.") from None

    def _list_packages(self, request: Request) -> Response:
        group_name = request.get("ModelPackageGroupName")
        if group_name is not None:
            group_name = self._group(group_name)["ModelPackageGroupName"]
        # Without a type or a group the service lists the unversioned packages (API reference).
        kind = request.get("ModelPackageType", "Versioned" if group_name else "Unversioned")
        approval = request.get("ModelApprovalStatus")
        found = [
            package
            for package in self._store.summaries(PACKAGES, parent=group_name)
            if approval in (None, package.get("ModelApprovalStatus"))
            and kind in ("Both", "Versioned" if "ModelPackageVersion" in package else "Unversioned")
        ]
        request = {"SortOrder": "Ascending", **request}
        return listed(found, request, "ModelPackage", "ModelPackageSummaryList")

    def _update_package(self, request: Request) -> Response:
        added = request.get("AdditionalInferenceSpecificationsToAdd", [])
        removed = request.get("CustomerMetadataPropertiesToRemove", [])
        check_card(request.get("ModelCard", {}))

        def change(record: Record) -> None:
            # An earlier update may have left None for "nothing".
            metadata = record.get("CustomerMetadataProperties") or {}
            metadata |= request.get("CustomerMetadataProperties", {})
            specifications = (record.get("AdditionalInferenceSpecifications") or []) + added
            card, new_card = record.get("ModelCard") or {}, request.get("ModelCard", {})
            if card.get("ModelCardStatus") == "Archived" and "ModelCardContent" in new_card:
                raise invalid("Model Card is in Archived state")  # API reference, ModelPackageModelCard
            record.update(request)
            record["ModelCard"] = {**card, **new_card} or None
            record["CustomerMetadataProperties"] = {
                key: value for key, value in metadata.items() if key not in removed
            } or None
            record["AdditionalInferenceSpecifications"] = specifications or None
            record |= {"LastModifiedTime": clock.now(), "LastModifiedBy": {}}

        return self._stored_package(
            lambda kind, key: self._store.update(kind, key, change), request["ModelPackageArn"]
        )

    def _delete_package(self, request: Request) -> Response:
        arn = self.package(request["ModelPackageName"])["ModelPackageArn"]
        self._store.delete(PACKAGES, self._name("model-package", arn))
        forget_tags(self._store, arn)
        return {}

    def _name(self, kind: str, name_or_arn: str) -> str:
        """The name in an ARN of this account; any other text, even another account's ARN, as it is."""
        return name_or_arn.removeprefix(self._home.arn(kind, ""))
