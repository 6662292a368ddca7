"""Prints the healthy instances of a service each time they change, without polling.

    eval "$(rollcall env)"
    python3 examples/watch/watch.py corp worker

It uses only boto3. A request header makes Rollcall respond at the next change (see docs/watch.md).
"""

import sys

import boto3


def watch(namespace, service):
    client = boto3.client("servicediscovery", **endpoint())
    after = "0"

    def ask_for_changes(params, **_):
        params["headers"]["X-Rollcall-After"] = after

    client.meta.events.register("before-call.servicediscovery.DiscoverInstances", ask_for_changes)
    while True:
        found = client.discover_instances(NamespaceName=namespace, ServiceName=service)
        revision = found["ResponseMetadata"]["HTTPHeaders"].get("x-rollcall-revision", after)
        if revision == after:
            continue  # the wait ended without a change
        after = revision
        yield sorted(i["Attributes"].get("AWS_INSTANCE_IPV4", i["InstanceId"]) for i in found["Instances"])


def endpoint():
    """Returns the settings that boto3 before 1.28 does not read from the environment."""
    import os

    from botocore.config import Config

    url = os.environ.get("AWS_ENDPOINT_URL")
    if not url:
        return {}
    return {"endpoint_url": url, "config": Config(inject_host_prefix=False)}


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: watch.py NAMESPACE SERVICE")
    for addresses in watch(sys.argv[1], sys.argv[2]):
        print(len(addresses), *addresses, flush=True)
