{{/* The name in the label app.kubernetes.io/name. */}}
{{- define "batchyard.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* What objects are called: room is left for suffixes. */}}
{{- define "batchyard.fullname" -}}
{{- $name := include "batchyard.name" . }}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- else if contains $name .Release.Name }}
{{- .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/* The operator's account. */}}
{{- define "batchyard.account" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "batchyard.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{/* Labels that stay as they are for the life of the release. */}}
{{- define "batchyard.selector" -}}
app.kubernetes.io/name: {{ include "batchyard.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end }}

{{/* Labels of every object. */}}
{{- define "batchyard.labels" -}}
{{ include "batchyard.labelsAnd" (dict "root" . "more" (dict)) }}
{{- end }}

{{/* Those and more, a dict of more and the root context. No key twice; batchyard.checks refuses what is the chart's. */}}
{{- define "batchyard.labelsAnd" -}}
{{ toYaml (mustMergeOverwrite (fromYaml (include "batchyard.ownLabels" .root)) (default dict .root.Values.commonLabels) (default dict .more)) }}
{{- end }}

{{/* Labels that are the chart's to set. */}}
{{- define "batchyard.ownLabels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/name: {{ include "batchyard.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: batchyard
{{- end }}

{{/* An image: a dict of image and the root context. A digest goes before a tag. */}}
{{- define "batchyard.image" -}}
{{- $name := printf "%s/%s" .image.registry .image.repository | trimPrefix "/" }}
{{- if .image.digest }}
{{- printf "%s@%s" $name .image.digest }}
{{- else }}
{{- printf "%s:%s" $name (default .root.Chart.AppVersion .image.tag) }}
{{- end }}
{{- end }}

{{/* Where pods in any namespace find the results port. */}}
{{- define "batchyard.results" -}}
{{ ternary "https" "http" (not (empty .Values.tls.existingSecret)) }}://{{ include "batchyard.fullname" . }}.{{ .Release.Namespace }}.svc:8787
{{- end }}
