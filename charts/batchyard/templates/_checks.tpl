{{/* What the schema cannot say: values that do not go together. Included once, by the Deployment. */}}
{{- define "batchyard.checks" -}}
{{- if and (gt (int .Values.replicas) 1) (not .Values.postgresql.existingSecret) }}
{{- fail (printf "replicas: %d operators need PostgreSQL, since only one may write to SQLite; set postgresql.existingSecret, or replicas to 1" (int .Values.replicas)) }}
{{- end }}
{{- if and .Values.monitoring.serviceMonitor.enabled .Values.monitoring.podMonitor.enabled }}
{{- fail "monitoring: serviceMonitor and podMonitor would scrape everything twice; enable one of them" }}
{{- end }}
{{- if and .Values.persistence.existingClaim (not .Values.persistence.enabled) }}
{{- fail "persistence.existingClaim: is not used while persistence.enabled is false; set that to true, or leave the claim out" }}
{{- end }}
{{- if and .Values.podDisruptionBudget.enabled (gt (int .Values.replicas) 1) (ge (int .Values.podDisruptionBudget.minAvailable) (int .Values.replicas)) }}
{{- fail (printf "podDisruptionBudget.minAvailable: of %d operators %d would have to stay, and no node could be drained; make it less than replicas" (int .Values.replicas) (int .Values.podDisruptionBudget.minAvailable)) }}
{{- end }}
{{- end }}
