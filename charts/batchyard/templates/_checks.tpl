{{/* What the schema cannot say: values that do not go together. Included once, by the Deployment. */}}
{{- define "batchyard.checks" -}}
{{- if not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" (include "batchyard.fullname" .)) }}
{{- fail (printf "%q cannot be the name of a Service, which begins with a letter and has letters, digits and - only; choose another name for the release, or set fullnameOverride" (include "batchyard.fullname" .)) }}
{{- end }}
{{- if and (gt (int .Values.replicas) 1) (not .Values.postgresql.existingSecret) }}
{{- fail (printf "replicas: %d operators need PostgreSQL, since only one may write to SQLite; set postgresql.existingSecret, or replicas to 1" (int .Values.replicas)) }}
{{- end }}
{{- if and .Values.persistence.existingClaim (not .Values.persistence.enabled) }}
{{- fail "persistence.existingClaim: is not used while persistence.enabled is false; set that to true, or leave the claim out" }}
{{- end }}
{{- include "batchyard.checkBudget" . }}
{{- include "batchyard.checkMonitoring" . }}
{{- include "batchyard.checkLabels" . }}
{{- include "batchyard.checkExtras" . }}
{{- include "batchyard.checkOthers" . }}
{{- end }}

{{- define "batchyard.checkBudget" -}}
{{- $replicas := int .Values.replicas }}
{{- $given := toString .Values.podDisruptionBudget.minAvailable }}
{{- $stay := int (trimSuffix "%" $given) }}
{{- if hasSuffix "%" $given }}
{{- /* Kubernetes rounds up. */}}
{{- $stay = div (add (mul $stay $replicas) 99) 100 | int }}
{{- end }}
{{- if and .Values.podDisruptionBudget.enabled (gt $replicas 1) (ge $stay $replicas) }}
{{- fail (printf "podDisruptionBudget.minAvailable: of %d operators %d would have to stay, and no node could be drained; make it less than replicas" $replicas $stay) }}
{{- end }}
{{- end }}

{{- define "batchyard.checkMonitoring" -}}
{{- $monitoring := .Values.monitoring }}
{{- if and $monitoring.serviceMonitor.enabled $monitoring.podMonitor.enabled }}
{{- fail "monitoring: serviceMonitor and podMonitor would scrape everything twice; enable one of them" }}
{{- end }}
{{- range $kind := list "serviceMonitor" "podMonitor" }}
{{- $monitor := get $monitoring $kind }}
{{- if and $monitor.enabled (gt (int (include "batchyard.milliseconds" $monitor.scrapeTimeout)) (int (include "batchyard.milliseconds" $monitor.interval))) }}
{{- fail (printf "monitoring.%s.scrapeTimeout: %s is longer than the interval, %s, and Prometheus refuses that; set both" $kind $monitor.scrapeTimeout $monitor.interval) }}
{{- end }}
{{- end }}
{{- $names := list }}
{{- range (fromYaml (.Files.Get "files/alerts.yaml")).groups }}
{{- range .rules }}
{{- $names = append $names .alert }}
{{- end }}
{{- end }}
{{- range $monitoring.prometheusRule.disabled }}
{{- if not (has . $names) }}
{{- fail (printf "monitoring.prometheusRule.disabled: %q is not the name of an alert; there are %s" . (join ", " $names)) }}
{{- end }}
{{- end }}
{{- end }}

{{/* A duration of Prometheus, 1m30s for one, as a number. */}}
{{- define "batchyard.milliseconds" -}}
{{- $sum := 0 }}
{{- range regexFindAll "[0-9]+(ms|[hms])" . -1 }}
{{- $sum = add $sum (mul (int64 (regexFind "[0-9]+" .)) (get (dict "ms" 1 "s" 1000 "m" 60000 "h" 3600000) (regexFind "[a-z]+" .))) }}
{{- end }}
{{- $sum }}
{{- end }}

{{- define "batchyard.checkLabels" -}}
{{- $own := append (keys (fromYaml (include "batchyard.ownLabels" .))) "app.kubernetes.io/component" }}
{{- $monitoring := .Values.monitoring }}
{{- range $path, $labels := dict "commonLabels" .Values.commonLabels "podLabels" .Values.podLabels "monitoring.serviceMonitor.labels" $monitoring.serviceMonitor.labels "monitoring.podMonitor.labels" $monitoring.podMonitor.labels "monitoring.prometheusRule.labels" $monitoring.prometheusRule.labels "monitoring.dashboard.labels" $monitoring.dashboard.labels }}
{{- range $key, $_ := $labels }}
{{- if has $key $own }}
{{- fail (printf "%s: %s is a label that the chart sets itself, and finds its pods by; take it out, or set nameOverride" $path $key) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "batchyard.checkExtras" -}}
{{- $names := list }}
{{- range concat (fromYamlArray (include "batchyard.env" .)) (default list .Values.extraEnv) }}
{{- if has .name $names }}
{{- fail (printf "extraEnv: %s is there already; take it out, and see whether a value of the chart sets it" .name) }}
{{- end }}
{{- $names = append $names .name }}
{{- end }}
{{- $names = ternary (list "data" "tmp") (list "data" "tmp" "tls") (empty .Values.tls.existingSecret) }}
{{- range .Values.extraVolumes }}
{{- if has .name $names }}
{{- fail (printf "extraVolumes: there is a volume %s already; give yours another name" .name) }}
{{- end }}
{{- $names = append $names .name }}
{{- end }}
{{- end }}

{{/*
Two operators for one namespace take every BatchTest twice and write over each other's status. What an operator watches
stands in its Deployment, whatever installed it. Whoever only renders the chart sees none.
*/}}
{{- define "batchyard.checkOthers" -}}
{{- $mine := .Values.watchNamespaces }}
{{- if and .Values.checkOtherOperators (or .Values.crds.install (not $mine)) }}
{{- range $deployment := (lookup "apps/v1" "Deployment" "" "").items }}
{{- $release := dig "annotations" "meta.helm.sh/release-name" "" .metadata }}
{{- if not (and (eq .metadata.namespace $.Release.Namespace) (eq $release $.Release.Name)) }}
{{- range .spec.template.spec.containers }}
{{- $env := dict }}
{{- range .env }}
{{- $_ := set $env .name (default "" .value) }}
{{- end }}
{{- if hasKey $env "BATCHYARD_RESULTS_URL" }}
{{- $theirs := compact (splitList " " (default "" $env.BATCHYARD_WATCH_NAMESPACES)) }}
{{- $both := list }}
{{- range (default $theirs $mine) }}
{{- if or (not $theirs) (has . $theirs) }}
{{- $both = append $both . }}
{{- end }}
{{- end }}
{{- if or $both (not (or $mine $theirs)) }}
{{- $who := ternary (printf "the release %s in namespace %s" $release $deployment.metadata.namespace) (printf "the Deployment %s in namespace %s" $deployment.metadata.name $deployment.metadata.namespace) (ne $release "") }}
{{- fail (printf "watchNamespaces: %s watches %s too, and both would run the same BatchTests; let watchNamespaces of the two name different namespaces, or remove the other first" $who (default "all namespaces" (join ", " $both))) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
