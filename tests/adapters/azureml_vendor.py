"""The life of an endpoint through the vendor's own ARM client, against the fake workspace.

azure-ai-ml brings 60 packages and takes three seconds to import, so it is no dependency of the tests; in an environment
of its own this drives all that its generated client knows of online endpoints, and fails where an answer does not fit::

    python -m venv vendor && vendor/bin/pip install azure-ai-ml
    python -m tests.fakes.azureml --seconds 2      # prints the URL
    vendor/bin/python tests/adapters/azureml_vendor.py URL

The suite drives the same life with azure-mgmt-core's pipeline and pollers (``test_azureml_fake.py``).
"""

from __future__ import annotations

import sys
from typing import Any

WHERE = {"resource_group_name": "group", "workspace_name": "main"}
MODEL = (
    "/subscriptions/sub/resourceGroups/group/providers/Microsoft.MachineLearningServices/workspaces/main"
    "/models/iris/versions/{}"
)


class Token:
    """A credential of azure-core's protocol that always has the fake's token."""

    def get_token(self, *scopes: str, **_: Any) -> Any:
        from azure.core.credentials import AccessToken

        return AccessToken("arm-fake-token", 4_000_000_000)


def life(url: str) -> list[str]:
    """Create, two deployments, split and mirrored traffic, keys, logs, tags, and delete; what was seen of each."""
    from azure.ai.ml._restclient.arm_ml_service import MachineLearningServicesMgmtClient, models
    from azure.core.pipeline.policies import BearerTokenCredentialPolicy

    policy = BearerTokenCredentialPolicy(Token(), "https://management.azure.com/.default")
    client = MachineLearningServicesMgmtClient(
        Token(),
        "sub",
        base_url=url,
        endpoint=url,
        authentication_policy=policy,
        enforce_https=False,
        polling_interval=0.1,
    )
    endpoints, deployments = client.online_endpoints, client.online_deployments
    plain = {"enforce_https": False}

    def endpoint(**properties: Any) -> Any:
        return models.OnlineEndpoint(
            location="westeurope",
            identity=models.ManagedServiceIdentity(type="SystemAssigned"),
            tags={"team": "fraud"},
            properties=models.OnlineEndpointProperties(auth_mode="Key", **properties),
        )

    def deployment(version: int) -> Any:
        return models.OnlineDeployment(
            location="westeurope",
            sku=models.Sku(name="Default", capacity=1),
            properties=models.ManagedOnlineDeployment(model=MODEL.format(version), instance_type="Standard_DS3_v2"),
        )

    def put(**properties: Any) -> Any:
        return endpoints.begin_create_or_update(
            **WHERE, endpoint_name="iris", body=endpoint(**properties), **plain
        ).result(60)

    told = [f"created: {put().properties.provisioning_state}"]
    for version, name in enumerate(("blue", "green"), 1):
        made = deployments.begin_create_or_update(
            **WHERE, endpoint_name="iris", deployment_name=name, body=deployment(version), **plain
        ).result(60)
        told.append(f"{name}: {made.properties.provisioning_state} {made.properties.endpoint_compute_type}")
    told.append(f"traffic: {put(traffic={'blue': 100}, mirror_traffic={'green': 10}).properties.mirror_traffic}")
    told.append(f"traffic: {put(traffic={'blue': 0, 'green': 100}).properties.traffic}")
    tagged = models.PartialMinimalTrackedResourceWithIdentity(tags={"team": "risk"})
    endpoints.begin_update(**WHERE, endpoint_name="iris", body=tagged, **plain).result(60)
    told.append(f"listed: {[each.tags['team'] for each in endpoints.list(**WHERE, **plain)]}")
    told.append(f"keys: {bool(endpoints.list_keys(**WHERE, endpoint_name='iris', **plain).primary_key)}")
    where = {**WHERE, "endpoint_name": "iris", "deployment_name": "green"}
    request = models.DeploymentLogsRequest(container_type="InferenceServer", tail=5)
    told.append(f"logs: {deployments.get_logs(**where, body=request, **plain).content.strip()}")
    deployments.begin_delete(**{**where, "deployment_name": "blue"}, **plain).result(60)
    told.append(f"left: {[each.name for each in deployments.list(**WHERE, endpoint_name='iris', **plain)]}")
    endpoints.begin_delete(**WHERE, endpoint_name="iris", **plain).result(60)
    told.append(f"left: {[each.name for each in endpoints.list(**WHERE, **plain)]}")
    return told


if __name__ == "__main__":
    print("\n".join(life(sys.argv[1])))
