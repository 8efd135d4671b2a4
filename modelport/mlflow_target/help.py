"""What ``mlflow deployments help -t modelport`` tells."""

from __future__ import annotations

TEXT = """\
modelport: deployments as operations on a modelport server, which goes on whatever happens to this process.

Target URI
  modelport://HOST:PORT/TARGET      a server over http, and one of its targets
  modelport+https://HOST/TARGET     over https; more path before the target is part of the server's address
  modelport:/TARGET                 the server of MODELPORT_URL, or of the profile that modelport config made
  Options: ?profile=NAME (modelport:/TARGET only), wait=false, timeout_seconds=900
  The API key is read from MODELPORT_API_KEY or the profile, never from the URI.

Config (-C key=value) of create, update, delete and the endpoints' commands
  wait=false            come back at once with the operation's id; synchronous=false is the same
  timeout_seconds=900   stop waiting after so long; the operation goes on
  deadline_seconds=3600 time that the operation may take once it has started
  labels=team=vision    labels of the deployment, or a JSON object; null removes one
  traffic=20            inside of an endpoint: percent for this deployment; the others share the rest
  traffic=a=80,b=20     the whole split
  if_match=7            change it only if it is still of this generation
  cancel_pending=true   delete: cancel what is under way first
  Every other key belongs to the target, and is checked there: null removes one in an update.

Endpoints
  An endpoint is a deployment of modelport, and the deployments inside of it are its variants: create --endpoint makes
  the endpoint too. The first has all traffic, another none until it is given some.

run-local serves the model with MLflow's own scoring server until Ctrl-C: host, port, workers, timeout, env_manager.

The config keys of a target: modelport targets help TARGET
"""
