{{/*
What the operator may do. The same set as in deploy/kustomize/base/rbac.yaml; a test compares.
*/}}

{{/* In the namespaces of BatchTests. */}}
{{- define "batchyard.rules.batches" -}}
- {apiGroups: [batchyard.dev], resources: [batchtests], verbs: [get, list, watch, create, delete]}
- {apiGroups: [batchyard.dev], resources: [batchtests/status], verbs: [patch]}
- {apiGroups: [batch], resources: [jobs], verbs: [get, list, watch, create, delete]}
- {apiGroups: [ray.io], resources: [rayclusters], verbs: [get, list, watch, create, delete]}
- {apiGroups: [""], resources: [pods], verbs: [list]}
- {apiGroups: [""], resources: [configmaps], verbs: [get]}
# Ray's own token, which KubeRay makes, and the token by which a worker's results are known.
- {apiGroups: [""], resources: [secrets], verbs: [get, create]}
- {apiGroups: [""], resources: [events], verbs: [list, watch]}
- {apiGroups: [events.k8s.io], resources: [events], verbs: [create]}
{{- end }}

{{/* In the whole cluster, to notice which kinds there are. */}}
{{- define "batchyard.rules.cluster" -}}
- {apiGroups: [apiextensions.k8s.io], resources: [customresourcedefinitions], verbs: [list, watch]}
{{- end }}

{{/* In its own namespace: leadership, and the token of `batchyard show --kube`. */}}
{{- define "batchyard.rules.own" -}}
- {apiGroups: [coordination.k8s.io], resources: [leases], verbs: [create]}
- {apiGroups: [coordination.k8s.io], resources: [leases], resourceNames: [batchyard-operator], verbs: [get, update]}
- {apiGroups: [""], resources: [secrets], verbs: [create]}
- {apiGroups: [""], resources: [secrets], resourceNames: [batchyard-read], verbs: [get, patch]}
{{- end }}
