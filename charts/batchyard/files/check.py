"""What `helm test` runs: the operator says that it is ready, and the API server knows BatchTests."""

import json
import pathlib
import ssl
import sys
import time
import urllib.request

ACCOUNT = pathlib.Path("/var/run/secrets/kubernetes.io/serviceaccount")
SECONDS = 60


def asked(url, context=None, **headers):
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=5, context=context) as answer:
        return answer.read()


def check(ready, namespace):
    asked(ready)
    print(f"{ready}: the operator is ready")
    trust = ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))
    token = (ACCOUNT / "token").read_text().strip()
    path = f"/apis/batchyard.dev/v1alpha1/namespaces/{namespace}/batchtests?limit=1"
    listed = json.loads(asked(f"https://kubernetes.default.svc{path}", trust, Authorization=f"Bearer {token}"))
    print(f"{path}: the API server knows {listed['kind']}")


give_up = time.monotonic() + SECONDS
while True:
    try:
        check(*sys.argv[1:])
        break
    except OSError as err:
        if time.monotonic() > give_up:
            sys.exit(f"still wrong after {SECONDS} s: {err!r}; see `kubectl logs` of the operator")
        print(f"not yet: {err!r}", flush=True)
        time.sleep(2)
