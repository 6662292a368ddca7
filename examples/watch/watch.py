"""Prints the healthy instances of a service each time they change.

    eval "$(rollcall env)"
    python3 examples/watch/watch.py corp worker

It uses only boto3. The header X-Rollcall-After makes Rollcall respond at the next change (see docs/watch.md), so the
program need not poll. AWS ignores the header; with AWS, the program polls every few seconds.
"""

import sys
import time

import boto3

POLL_INTERVAL = 5  # seconds between two calls to a server that does not implement the watch


def watch(namespace, service):
    client = boto3.client("servicediscovery", **endpoint())
    after, printed = "0", None

    def ask_for_changes(params, **_):
        params["headers"]["X-Rollcall-After"] = after

    client.meta.events.register("before-call.servicediscovery.DiscoverInstances", ask_for_changes)
    while True:
        found = client.discover_instances(NamespaceName=namespace, ServiceName=service)
        # The revision also changes with instances that the response does not contain, and after a wait without a change
        # it is the same, so compare the instances themselves.
        instances = sorted(i["Attributes"].get("AWS_INSTANCE_IPV4", i["InstanceId"]) for i in found["Instances"])
        if instances != printed:
            printed = instances
            yield instances
        revision = found["ResponseMetadata"]["HTTPHeaders"].get("x-rollcall-revision")
        if revision is None:
            time.sleep(POLL_INTERVAL)
        else:
            after = revision


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
