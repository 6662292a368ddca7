"""Calls every operation of Cloud Map that this boto3 knows, and catches its errors by name.

Expects AWS_ENDPOINT_URL, a region and a key in the environment. Leaves nothing behind. Prints what is wrong and ends with status 1.
"""

import os

import boto3
from botocore.config import Config

called = set()
# Old ones do not read AWS_ENDPOINT_URL.
cm = boto3.client("servicediscovery", endpoint_url=os.environ["AWS_ENDPOINT_URL"], config=Config(inject_host_prefix=False, retries={"max_attempts": 0}))
cm.meta.events.register("before-call.servicediscovery.*", lambda model, **_: called.add(model.name))
known = set(cm.meta.service_model.operation_names)


def same(got, want):
    if got != want:
        raise SystemExit(f"{got!r} is not {want!r}")


def done(answer):
    """The targets of an operation that has succeeded."""
    op = cm.get_operation(OperationId=answer["OperationId"])["Operation"]
    same(op["Status"], "SUCCESS")
    suffix = int(answer["OperationId"].rsplit("-", 1)[1], 36)
    same(suffix, round(op["CreateDate"].timestamp() * 1000))
    return op["Targets"]


def refused(name, call, **members):
    """The call fails with the exception of this name, whose answer has these members."""
    try:
        call()
    except getattr(cm.exceptions, name) as e:
        same({k: e.response.get(k) for k in members}, members)
    else:
        raise SystemExit(f"{name} was not raised")


http = done(cm.create_http_namespace(Name="http", CreatorRequestId="token", Tags=[{"Key": "a", "Value": "1"}]))["NAMESPACE"]
private = done(cm.create_private_dns_namespace(Name="py.local", Vpc="vpc-1"))["NAMESPACE"]
public = done(cm.create_public_dns_namespace(Name="py.example"))["NAMESPACE"]
refused("NamespaceAlreadyExists", lambda: cm.create_http_namespace(Name="http"), NamespaceId=http, CreatorRequestId="token")
refused("DuplicateRequest", lambda: cm.create_http_namespace(Name="other", CreatorRequestId="token"))
refused("NamespaceNotFound", lambda: cm.get_namespace(Id="ns-unknown"))
refused("InvalidInput", lambda: cm.create_service(Name="a b", NamespaceId=http))

done(cm.update_http_namespace(Id=http, Namespace={"Description": "d"}))
done(cm.update_private_dns_namespace(Id=private, Namespace={"Properties": {"DnsProperties": {"SOA": {"TTL": 7}}}}))
done(cm.update_public_dns_namespace(Id=public, Namespace={"Description": "d"}))
same(cm.get_namespace(Id=http)["Namespace"]["Description"], "d")
same(cm.get_namespace(Id=private)["Namespace"]["Properties"]["DnsProperties"]["SOA"], {"TTL": 7})
arn = cm.get_namespace(Id=http)["Namespace"]["Arn"]
cm.tag_resource(ResourceARN=arn, Tags=[{"Key": "b", "Value": ""}])
cm.untag_resource(ResourceARN=arn, TagKeys=["a"])
same(cm.list_tags_for_resource(ResourceARN=arn)["Tags"], [{"Key": "b", "Value": ""}])
refused("TooManyTagsException", lambda: cm.tag_resource(ResourceARN=arn, Tags=[{"Key": str(i), "Value": ""} for i in range(51)]), ResourceName=arn)
refused("ResourceNotFoundException", lambda: cm.list_tags_for_resource(ResourceARN=arn + "x"))

records = [{"Type": "SRV", "TTL": 60}, {"Type": "A", "TTL": 10}]
service = cm.create_service(Name="web", NamespaceId=private, CreatorRequestId="token", DnsConfig={"DnsRecords": records},
                            HealthCheckCustomConfig={"FailureThreshold": 3})["Service"]
same(service["HealthCheckCustomConfig"], {"FailureThreshold": 1})
same(cm.get_service(Id=service["Arn"])["Service"]["DnsConfig"]["DnsRecords"], records)
refused("ServiceAlreadyExists", lambda: cm.create_service(Name="WEB", NamespaceId=private), ServiceId=service["Id"], CreatorRequestId="token")
refused("ResourceInUse", lambda: cm.delete_namespace(Id=private))
refused("ServiceNotFound", lambda: cm.get_service(Id="srv-unknown"))
done(cm.update_service(Id=service["Id"], Service={"Description": "d"}))
address = {"AWS_INSTANCE_IPV4": "10.0.0.7", "AWS_INSTANCE_PORT": "80", "empty": ""}
for i in range(3):
    done(cm.register_instance(ServiceId=service["Id"], InstanceId=f"i-{i}", Attributes=address))
same(cm.get_instance(ServiceId=service["Id"], InstanceId="i-1")["Instance"]["Attributes"], address)
refused("InstanceNotFound", lambda: cm.get_instance(ServiceId=service["Id"], InstanceId="unknown"))
refused("OperationNotFound", lambda: cm.get_operation(OperationId="unknown"))
cm.update_instance_custom_health_status(ServiceId=service["Id"], InstanceId="i-1", Status="UNHEALTHY")
same(cm.get_instances_health_status(ServiceId=service["Id"])["Status"], {"i-0": "HEALTHY", "i-1": "UNHEALTHY", "i-2": "HEALTHY"})
plain = cm.create_service(Name="plain", NamespaceId=http)["Service"]["Id"]
refused("CustomHealthNotFound", lambda: cm.update_instance_custom_health_status(ServiceId=plain, InstanceId="i", Status="HEALTHY"))

found = cm.discover_instances(NamespaceName="py.local", ServiceName="web", HealthStatus="HEALTHY", QueryParameters={"empty": ""})
same(sorted(i["InstanceId"] for i in found["Instances"]), ["i-0", "i-2"])
if "DiscoverInstancesRevision" in known:
    same(cm.discover_instances_revision(NamespaceName="py.local", ServiceName="web")["InstancesRevision"], found["InstancesRevision"])
if "UpdateServiceAttributes" in known:
    cm.update_service_attributes(ServiceId=plain, Attributes={"k": "v", "l": "w"})
    cm.delete_service_attributes(ServiceId=plain, Attributes=["k"])
    same(cm.get_service_attributes(ServiceId=plain)["ServiceAttributes"]["Attributes"], {"l": "w"})
    refused("ServiceAttributesLimitExceededException", lambda: cm.update_service_attributes(ServiceId=plain, Attributes={str(i): "" for i in range(30)}))


def pages(operation, member, **members):
    """All items, one a page. The paginator raises when a token comes twice."""
    paginator = cm.get_paginator(operation)
    return [item for page in paginator.paginate(PaginationConfig={"PageSize": 1}, **members) for item in page[member]]


same(sorted(n["Name"] for n in pages("list_namespaces", "Namespaces")), ["http", "py.example", "py.local"])
same([s["Name"] for s in pages("list_services", "Services", Filters=[{"Name": "NAMESPACE_ID", "Values": [private]}])], ["web"])
same([i["Id"] for i in pages("list_instances", "Instances", ServiceId=service["Id"])], ["i-0", "i-1", "i-2"])
same(len(pages("list_operations", "Operations", Filters=[{"Name": "SERVICE_ID", "Values": [service["Id"]]}])), 4)

for i in range(3):
    done(cm.deregister_instance(ServiceId=service["Id"], InstanceId=f"i-{i}"))
for s in (service["Id"], plain):
    cm.delete_service(Id=s)
for n in (http, private, public):
    done(cm.delete_namespace(Id=n))
same(known - called, set())
