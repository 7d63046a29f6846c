{{/* The operator's settings; `batchyard operator --help` says what each is. */}}
{{- define "batchyard.env" -}}
- {name: BATCHYARD_RESULTS_URL, value: {{ include "batchyard.results" . | quote }}}
- {name: BATCHYARD_RUNNER_IMAGE, value: {{ include "batchyard.image" (dict "image" .Values.runner.image "root" .) | quote }}}
- {name: BATCHYARD_IMAGE_PULL_POLICY, value: {{ .Values.runner.image.pullPolicy }}}
{{- with .Values.runner.rayVersion }}
- {name: BATCHYARD_RAY_VERSION, value: {{ . | quote }}}
{{- end }}
- {name: BATCHYARD_LEASE_SECONDS, value: {{ .Values.leaseSeconds | quote }}}
- {name: BATCHYARD_HOME, value: /var/lib/batchyard}
{{- with .Values.postgresql }}
{{- if .existingSecret }}
- name: BATCHYARD_STORE
  valueFrom: {secretKeyRef: {name: {{ .existingSecret }}, key: {{ .key }}}}
{{- end }}
{{- end }}
{{- with .Values.watchNamespaces }}
- {name: BATCHYARD_WATCH_NAMESPACES, value: {{ join " " . | quote }}}
{{- end }}
{{- if .Values.tls.existingSecret }}
- {name: BATCHYARD_TLS_CERTIFICATE, value: /etc/batchyard/tls/tls.crt}
- {name: BATCHYARD_TLS_KEY, value: /etc/batchyard/tls/tls.key}
{{- end }}
{{- with .Values.tracing.endpoint }}
- {name: OTEL_EXPORTER_OTLP_ENDPOINT, value: {{ . | quote }}}
{{- end }}
{{- end }}
