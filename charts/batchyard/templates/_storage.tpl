{{/*
The chart's claim, as YAML; empty if there is none. `left` is one that the release used and uses no more, since results go
to PostgreSQL or to another claim: it would be deleted by the upgrade if it were not part of the release any more, and all
results with it. Its size and modes stay as they are, whatever the values have become.
*/}}
{{- define "batchyard.claim" -}}
{{- with .Values.persistence }}
{{- if and .enabled (not .existingClaim) (not $.Values.postgresql.existingSecret) }}
{{- toYaml (dict "left" false "size" .size "accessModes" .accessModes) }}
{{- else if $.Release.IsUpgrade }}
{{- $found := lookup "v1" "PersistentVolumeClaim" $.Release.Namespace (include "batchyard.fullname" $) }}
{{- if eq $.Release.Name (dig "metadata" "annotations" "meta.helm.sh/release-name" "" $found) }}
{{- toYaml (dict "left" true "size" $found.spec.resources.requests.storage "accessModes" $found.spec.accessModes) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
